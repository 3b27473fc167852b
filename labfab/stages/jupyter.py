"""Jupyter: a private server with a password.

Owns: its keys in ~/.jupyter/jupyter_server_config.json; all others stay.  Undo: delete those keys
"""

from __future__ import annotations

import json
import secrets as random
from pathlib import PurePosixPath
from typing import Any

from fabric import Connection

from .. import screen
from ..errors import SetupError
from ..facts import File, as_file, facts
from ..home import private_folder, refuse_link
from ..host import Host, alias_of, change, put
from ..laptop import password as passwords
from ..laptop import secrets
from ..settings import Settings, is_address
from ..task import host_task
from . import user

Config = dict[str, Any]

SECURE = {"xsrf_cookie_kwargs": {"secure": True}}  # its other cookies are so by themselves
STRONG = 14  # letters that a password needs where everybody may try one


@host_task(default=True)
def configure(c: Connection) -> None:
    """Configure Jupyter: loopback, password, options."""
    user.add(c)
    want = Settings.of(c)
    refuse_link(c, want.jupyter_user, facts(c).jupyter.link)
    old = parsed(c, facts(c).jupyter.config)
    config = merged(old, wanted(c, want))
    if want.publish == "https":
        config["ServerApp"]["tornado_settings"] = {**SECURE, **config["ServerApp"].get("tornado_settings", {})}
    else:
        withdraw(c, want, config["ServerApp"])
    forsake(config, want)
    identity = config.setdefault("IdentityProvider", {})
    already = "local_hostnames" in old.get("ServerApp", {})  # then its password was looked at when it was published
    identity["hashed_password"] = hashed(c, want, identity.get("hashed_password", ""), already)
    identity.setdefault("token", random.token_hex(24))
    write(c, want, config, why="write Jupyter's configuration")
    warn_of_others(c)


def wanted(c: Connection, want: Settings) -> Config:
    """What the configuration must say, whatever else it says."""
    server = {
        "port_retries": 0,  # another port would break the tunnel without a word
        "open_browser": False,
        "base_url": want.base_url,
        "root_dir": make_root_dir(c, want),
    }
    return merged(merged({"ServerApp": server | published(c, want)}, listening(c, want)), want.jupyter_options)


def listening(c: Connection, want: Settings) -> Config:
    """Where it is to listen; on a socket even its kernels need no port."""
    if want.lab_socket:
        return {"ServerApp": {"sock": socket(c, want), "sock_mode": "0600"}, "KernelManager": {"transport": "ipc"}}
    return {"ServerApp": {"ip": "*" if want.publish == "https" else "127.0.0.1", "port": want.lab_port}}


def socket(c: Connection, want: Settings) -> str:
    """The path of JupyterLab's socket; empty where it listens on TCP."""
    account = facts(c).accounts.get(want.jupyter_user)
    return f"{account.home}/{want.lab_socket}" if want.lab_socket and account else ""


def forsake(config: Config, want: Settings) -> None:
    """Take out where it listened under the other `listen`; Jupyter refuses to start with both."""
    for name in ("ip", "port") if want.lab_socket else ("sock", "sock_mode"):
        config["ServerApp"].pop(name, None)
    if not want.lab_socket and config.get("KernelManager", {}).get("transport") == "ipc":
        del config["KernelManager"]["transport"]


def published(c: Connection, want: Settings) -> Config:
    """What it must say besides when browsers come without SSH."""
    if not want.published:
        return {}
    names = want.reached_by(c.host)
    # Jupyter looks for the Host of a request in local_hostnames, but never for an address.
    server: Config = {"local_hostnames": ["localhost", *names], "allow_remote_access": any(map(is_address, names))}
    if want.publish == "apache":
        return server | {"trust_xheaders": True}  # nobody but Apache reaches it, so what Apache says of the caller is true
    return server | tls(c, want)


def tls(c: Connection, want: Settings) -> Config:
    """Where JupyterLab finds its certificate; the stage https puts it there."""
    folder = f"{facts(c).accounts[want.jupyter_user].home}/.jupyter/tls"
    return {"certfile": f"{folder}/cert.pem", "keyfile": f"{folder}/key.pem"}


def withdraw(c: Connection, want: Settings, server: Config) -> None:
    """Take our certificate out of a configuration that served it; one of somebody else stays."""
    if tls(c, want).items() <= server.items():
        del server["certfile"], server["keyfile"]
        if server.get("tornado_settings") == SECURE:
            del server["tornado_settings"]


def make_root_dir(c: Connection, want: Settings) -> str:
    """Have the folder of the notebooks; give its absolute path."""
    account = want.jupyter_user
    path = str(PurePosixPath(facts(c).accounts[account].home) / want.root_dir)
    if not facts(c).jupyter.root_dir:
        change(c, "mkdir -p %s", path, user=account, why=f"make {path}", undo=("folder %s", path), then={"jupyter.root_dir": account})
    return path


def merged(below: Config, above: Config) -> Config:
    """Join two configurations, class by class; *above* wins."""
    return {name: {**below.get(name, {}), **above.get(name, {})} for name in {**below, **above}}


def parsed(c: Connection, file: File | None) -> Config:
    """Read the configuration that is there. Raises SetupError when it is not Jupyter's JSON."""
    try:
        config = json.loads(file.content) if file else {}
    except json.JSONDecodeError as error:
        config = str(error)
    if not isinstance(config, dict) or not all(isinstance(part, dict) for part in config.values()):
        path = f"~{Settings.of(c).jupyter_user}/.jupyter/jupyter_server_config.json"
        raise SetupError(f"{Host.of(c).label}: {path} is not the JSON that Jupyter reads: mend it or move it away")
    return config


def hashed(c: Connection, want: Settings, old: str, already: bool) -> str:
    """The hash to write: the old one where it is still right, else that of the password given or generated."""
    alias = alias_of(c, want)
    given = secrets.take_from_environment("jupyter-password")
    if want.published and given:
        refuse_short(c, want, given)
    elif want.published and old and not already:
        refuse_short(c, want, known(alias, old))
    if old and (given is None or passwords.verify(old, given.reveal())):
        return old
    value = given or secrets.load(alias, "jupyter-password") or secrets.Secret(passwords.generate())
    if not Host.of(c).planning:
        secrets.store(alias, "jupyter-password", value, replace=True)
    return passwords.hash(value.reveal())


def known(alias: str, hash: str) -> secrets.Secret | None:
    """The password that made this hash, if it is kept on this laptop."""
    value = secrets.load(alias, "jupyter-password")
    return value if value and passwords.verify(hash, value.reveal()) else None


def refuse_short(c: Connection, want: Settings, password: secrets.Secret | None) -> None:
    """Stop where everybody could try a password that is short, or that nobody here knows."""
    if password is None or len(password.reveal()) < STRONG:
        how = "is shorter" if password else "is not known here"
        raise SetupError(
            f"{Host.of(c).label}: publish: {want.publish} needs a password of at least {STRONG} letters, and JupyterLab's {how}: "
            "give one in LABFAB_JUPYTER_PASSWORD"
        )


def write(c: Connection, want: Settings, config: Config, why: str) -> None:
    """Write the configuration where it differs, for its owner only."""
    have, account = facts(c).jupyter, want.jupyter_user
    home = facts(c).accounts[account].home
    private_folder(c, account, home, ".jupyter", have.folder_stat, "jupyter.folder_stat")
    same = have.config and parsed(c, have.config) == config  # another order or indent is no difference
    text = have.config.content if have.config and same else json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    put(
        c, f"{home}/.jupyter/jupyter_server_config.json", text, why=why, old=have.config, mode="600", owner=account,
        secret=True, then=as_file("jupyter.config", text, "600", account),
    )  # fmt: skip


def warn_of_others(c: Connection) -> None:
    """Name the files that may overrule or confuse what was written."""
    for name in facts(c).jupyter.others:
        screen.warn(f"~/.jupyter/{name} is there too: what it sets may win; move it away if Lab does not behave")
