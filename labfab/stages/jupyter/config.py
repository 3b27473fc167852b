"""Jupyter: a private server with a password.

Owns: its keys in ~/.jupyter/jupyter_server_config.json; all others stay.  Undo: delete those keys
"""

from __future__ import annotations

import json
import secrets as random
from typing import Any

from fabric import Connection

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...facts.reader import as_file
from ...host.account_files import private_folder, refuse_link
from ...host.alias import alias_of
from ...host.changes import change, put
from ...host.remote_file import File
from ...host.session import Host
from ...local_state import passwords, secrets
from ...run.task import host_task
from ...settings import Settings
from .. import user
from . import publishing
from .publishing import known, refuse_short

__all__ = ["configure", "known", "refuse_short"]

Config = dict[str, Any]


@host_task(default=True)
def configure(c: Connection) -> None:
    """Configure Jupyter: loopback, password, options."""
    user.add(c)
    want = Settings.of(c)
    refuse_link(c, want.jupyter_user, facts(c).jupyter.link)
    publishing.refuse_unready(c, want)
    config = merged(parsed(c, facts(c).jupyter.config), wanted(c, want))
    publishing.fit(c, want, config)
    forsake(config, want)
    identity = config.setdefault("IdentityProvider", {})
    identity["hashed_password"] = hashed(c, want, config)
    identity.setdefault("token", random.token_hex(24))
    warn_of_others(c)
    write(c, want, config, why="write Jupyter's configuration")


def wanted(c: Connection, want: Settings) -> Config:
    """What the configuration must say, whatever else it says."""
    server = {
        "port_retries": 0,  # another port would break the tunnel without a word
        "open_browser": False,
        "base_url": want.base_url,
        "root_dir": make_root_dir(c, want),
    }
    return merged(
        merged({"ServerApp": server | publishing.published(c, want)}, listening(c, want)),
        want.jupyter_options,
    )


def listening(c: Connection, want: Settings) -> Config:
    """Where it is to listen; on a socket even its kernels need no port."""
    if want.lab_socket:
        return {
            "ServerApp": {"sock": socket(c, want), "sock_mode": "0600"},
            "KernelManager": {"transport": "ipc"},
        }
    return {
        "ServerApp": {"ip": "*" if want.publish == "https" else "127.0.0.1", "port": want.lab_port}
    }


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


def make_root_dir(c: Connection, want: Settings) -> str:
    """Have the folder of the notebooks; give its absolute path."""
    account = want.jupyter_user
    path = want.notebooks(facts(c).accounts[account].home)
    if not facts(c).jupyter.root_dir:
        change(
            c,
            "mkdir -p %s",
            path,
            user=account,
            why=f"make {path}",
            undo=("folder %s", path),
            then={"jupyter.root_dir": account},
        )
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
        raise SetupError(
            f"{Host.of(c).label}: {path} is not the JSON that Jupyter reads: mend it or move it away"
        )
    return config


def hashed(c: Connection, want: Settings, config: Config) -> str:
    """The hash to write: the one that is there where it is still right, else that of the password given or generated."""
    alias, old = alias_of(c, want), publishing.hash_of(config)
    given = secrets.take_from_environment("jupyter-password")
    if old and (given is None or passwords.verify(old, given.reveal())):
        publishing.refuse_weak(c, want, config, alias)
        return old
    value = given or secrets.load(alias, "jupyter-password") or secrets.Secret(passwords.generate())
    if want.published:
        refuse_short(c, want, value)
    if not Host.of(c).planning:
        secrets.store(alias, "jupyter-password", value, replace=True)
    return passwords.hash(value.reveal())


def write(c: Connection, want: Settings, config: Config, why: str) -> None:
    """Write the configuration where it differs, for its owner only."""
    have, account, config = facts(c).jupyter, want.jupyter_user, publishing.marked(want, config)
    home = facts(c).accounts[account].home
    private_folder(c, account, home, ".jupyter", have.folder_stat, "jupyter.folder_stat")
    same = (
        have.config and parsed(c, have.config) == config
    )  # another order or indent is no difference
    text = (
        have.config.content
        if have.config and same
        else json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    )
    put(
        c,
        f"{home}/.jupyter/jupyter_server_config.json",
        text,
        why=why,
        old=have.config,
        mode="600",
        owner=account,
        secret=True,
        then=as_file("jupyter.config", text, "600", account),
    )


def warn_of_others(c: Connection) -> None:
    """Name the files that may overrule or confuse what was written."""
    for name in facts(c).jupyter.others:
        console.warn(
            f"~/.jupyter/{name} is there too: what it sets may win; move it away if Lab does not behave"
        )
