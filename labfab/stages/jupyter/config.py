"""Jupyter: a private server with a password.

Owns: its keys in ~/.jupyter/jupyter_server_config.json; all others stay.  Undo: delete those keys
"""

from __future__ import annotations

import json
from secrets import token_hex
from typing import TYPE_CHECKING, TypeGuard

from fabric import Connection

from ... import console, decode
from ...errors import SetupError
from ...facts import facts
from ...facts.reader import planned_file
from ...host.account_files import close_folder, is_open, private_folder, refuse_link
from ...host.alias import alias_of
from ...host.changes import change, put
from ...host.remote_file import File
from ...host.session import Host
from ...local_state import passwords, secrets
from ...run.task import host_task
from ...server.process import socket_path
from ...settings import Settings
from .. import user
from . import limit, publishing
from .publishing import Config

if TYPE_CHECKING:
    from ...facts.records import Account

# Over TCP, any account of the host could read what kernels compute. The sockets are in a folder
# that only JupyterLab's account can enter.
KERNELS: Config = {"KernelManager": {"transport": "ipc"}}


@host_task(default=True)
def configure(c: Connection) -> None:
    """Configure Jupyter: loopback, password, options."""
    user.add(c)
    want, label, have = Settings.of(c), Host.of(c).label, facts(c)
    refuse_link(c, want.jupyter_user, have.jupyter.link)
    publishing.refuse_without_certificate(c, want)
    config = merged(parsed(have.jupyter.config, want, label), wanted(c, want))
    publishing.update(c, want, config)
    remove_other_address(config, want)
    identity = config.setdefault("IdentityProvider", {})
    identity["hashed_password"] = hashed(c, want, config)
    identity.setdefault("token", token_hex(24))
    warn_of_others(have.jupyter.others)
    limit.ensure(c, want, facts(c).accounts[want.jupyter_user])
    write(c, want, config, why="write Jupyter's configuration")


def wanted(c: Connection, want: Settings) -> Config:
    """Make the notebook folder; return what the configuration must say."""
    account = facts(c).accounts[want.jupyter_user]
    refuse_long_home(c, account)
    server = {
        # Otherwise Jupyter tries other ports, and the tunnel leads nowhere.
        "port_retries": 0,
        "open_browser": False,
        "base_url": want.base_url,
        "root_dir": make_root_dir(c, want, account),
    }
    config = merged(
        {"ServerApp": server | publishing.server_keys(c, want)}, listening(want, account)
    )
    return merged(merged(config, KERNELS), want.jupyter_options)


def refuse_long_home(c: Connection, account: Account) -> None:
    """Raise SetupError if the path of a kernel's socket would be too long for the system."""
    longest = account.longest_home(facts(c).system.kernel)
    if len(account.home) > longest:
        raise SetupError(
            f"the home {account.home} is too long for the sockets of kernels: "
            f"give {account.name} a home of at most {longest} characters",
            host=Host.of(c).label,
        )


def listening(want: Settings, account: Account | None) -> Config:
    """Return the options for where JupyterLab listens."""
    if want.lab_socket:
        return {"ServerApp": {"sock": socket_path(want, account), "sock_mode": "0600"}}
    ip = "*" if want.publish == "https" else "127.0.0.1"
    return {"ServerApp": {"ip": ip, "port": want.lab_port}}


def remove_other_address(config: Config, want: Settings) -> None:
    """Remove the options of the other `listen`: Jupyter refuses to start with both."""
    for name in ("ip", "port") if want.lab_socket else ("sock", "sock_mode"):
        config["ServerApp"].pop(name, None)


def make_root_dir(c: Connection, want: Settings, account: Account) -> str:
    """Make the notebook folder, closed to other accounts; return its absolute path."""
    path, have = want.notebooks(account.home), facts(c).jupyter
    if not have.root_dir:
        change(
            c,
            "umask 077; mkdir -p %s",
            path,
            user=account.name,
            why=f"make {path}",
            undo=("folder %s", path),
            then={"jupyter.root_dir": account.name, "jupyter.root_dir_mode": "700"},
        )
    elif have.root_dir == account.name and is_open(have.root_dir_mode) and below(account, path):
        close_folder(c, account.name, path, "700", "jupyter.root_dir_mode", "700")
    return path


def below(account: Account, path: str) -> bool:
    """Return whether a path is below an account's home. A folder elsewhere may be shared."""
    return path.startswith(f"{account.home}/")


def merged(below: Config, above: Config) -> Config:
    """Merge two configurations, class by class; *above* wins."""
    return {name: {**below.get(name, {}), **above.get(name, {})} for name in {**below, **above}}


def parsed(file: File | None, want: Settings, label: str) -> Config:
    """Parse the host's configuration; return an empty one if there is none.

    label: the host's, for the SetupError raised if Jupyter could not read it either.
    """
    try:
        config = decode.parsed(file.content) if file else {}
    except ValueError:
        config = None
    if not is_config(config):
        path = f"~{want.jupyter_user}/.jupyter/jupyter_server_config.json"
        raise SetupError(
            f"{path} is not JSON that Jupyter can read: correct it or move it away", host=label
        )
    return config


def is_config(found: object) -> TypeGuard[Config]:
    """Return whether a JSON document is a configuration: classes, each with its options."""
    return isinstance(found, dict) and all(isinstance(part, dict) for part in found.values())


def hashed(c: Connection, want: Settings, config: Config) -> str:
    """Return the hash to write.

    The present hash stays unless LABFAB_JUPYTER_PASSWORD holds another password. Without a hash,
    the password is that one, else the one kept on this laptop, else a new one; it is kept here.
    """
    alias, old = alias_of(c, want), publishing.hash_of(config)
    given = secrets.take_from_environment("jupyter-password")
    if old and (given is None or passwords.verify(old, given.reveal())):
        publishing.refuse_weak(c, want, config, alias)
        return old
    stored = Host.of(c).stored_secret(want, "jupyter-password")
    value = given or stored or secrets.Secret(passwords.generate())
    if want.published:
        publishing.refuse_short(c, want, value)
    if not Host.of(c).planning:
        Host.of(c).keep_secret(alias, "jupyter-password", value)
    return passwords.hash(value.reveal())


def write(c: Connection, want: Settings, config: Config, why: str) -> None:
    """Write the configuration if it differs, readable only by its account."""
    have, label, config = (
        facts(c),
        Host.of(c).label,
        publishing.with_long_password_note(want, config),
    )
    old, account = have.jupyter.config, have.accounts[want.jupyter_user]
    folder_stat = have.jupyter.folder_stat
    private_folder(c, account.name, account.home, ".jupyter", folder_stat, "jupyter.folder_stat")
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    # A different order or indentation does not count.
    if old and parsed(old, want, label) == config:
        text = old.content
    put(
        c,
        f"{account.home}/.jupyter/jupyter_server_config.json",
        text,
        why=why,
        old=old,
        mode="600",
        owner=account.name,
        secret=True,
        then=planned_file("jupyter.config", text, "600", account.name),
    )


def warn_of_others(names: tuple[str, ...]) -> None:
    """Warn of files in ~/.jupyter that may override what is written."""
    for name in names:
        console.warn(
            f"~/.jupyter/{name} exists too: its settings may win; "
            "move it away if JupyterLab behaves differently"
        )
