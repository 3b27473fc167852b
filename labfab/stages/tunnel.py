"""Tunnel: a local port of your laptop that leads to JupyterLab's loopback port.

Owns: one ssh process for each lab, its control socket, ~/.config/labfab/<alias>/tunnel.json; with
tunnel.keep, what starts that ssh again.  Undo: tunnel.close, tunnel.forget
These tasks use -H only as a name: the host may be down.
"""

from __future__ import annotations

import json as to_json
from collections.abc import Callable
from typing import TypeVar

from fabric import Connection
from invoke import Context

from .. import console, fabric_internals
from ..errors import SetupError
from ..host import dial_limit, login_errors
from ..host.alias import alias_of
from ..host.session import Host
from ..laptop import kept_tunnel, tunnel
from ..local_state import ssh_config
from ..local_state.aliases import keys_of, ssh_config_path, way
from ..run import background
from ..run.task import laptop_task
from ..settings import Settings

Answer = TypeVar("Answer")
JSON_HELP = (
    "Print JSON: alias, open, url, pid, kept (by what), jupyter_server (the version that answers)"
)


@laptop_task(name="open", default=True)
def open_(c: Context) -> str:
    """Open the tunnel to JupyterLab unless it is open."""
    want, target = Settings.of(c), target_of(c)
    if c.config.run.dry:
        if not tunnel.status(target.alias):
            console.planned(
                target.alias,
                f"open a tunnel from port {want.local_port} to the host's {want.lab_place}",
            )
        return ""
    found = opened(c, want)
    url = want.lab_url(found.local_port)
    how = "is open already" if found.reused else "is open"
    console.say(f"[{target.alias}] the tunnel {how}: {url}lab{moved(found, want)}")
    return url


@laptop_task(help={"json": JSON_HELP})
def status(c: Context, json: bool = False) -> None:
    """Show whether the tunnel is open and answers."""
    want, alias = Settings.of(c), target_of(c).alias
    found, keeping = tunnel.status(alias), tunnel.kept_by(tunnel.load(alias))
    keeper_name = keeping.NAME if keeping else ""
    root = want.lab_url(found.local_port) if found else ""
    version = tunnel.answers(root) if found else ""
    if json:
        document = {
            "alias": alias,
            "open": bool(found),
            "url": f"{root}lab" if found else "",
            "pid": found.pid if found else None,
            "kept": keeper_name,
            "jupyter_server": version or "",
        }
        console.say(to_json.dumps(document))
    elif found:
        answers = f"jupyter_server {version} answers"
        silence = "nothing answers behind it: lab.status, then tunnel.open"
        kept = f", kept by {found.kept}" if found.kept else ""
        console.say(
            f"[{alias}] the tunnel is open (ssh, pid {found.pid}{kept}): {root}lab; "
            f"{answers if version else silence}"
        )
    elif keeper_name:
        console.say(
            f"[{alias}] the tunnel that {keeper_name} keeps is not open: "
            "it tries again, or was closed: tunnel.open"
        )
    else:
        console.say(f"[{alias}] no tunnel is open: tunnel.open")


@laptop_task
def close(c: Context) -> None:
    """Close the tunnel; works with the host down."""
    alias = target_of(c).alias
    if c.config.run.dry:
        if tunnel.status(alias):
            console.planned(alias, "close the tunnel")
        return
    closed, keeping = tunnel.close(alias), tunnel.kept_by(tunnel.load(alias))
    later = ""
    if keeping:
        later = f"; {keeping.NAME} opens it again at your next login: tunnel.forget ends that"
    console.say(f"[{alias}] {'the tunnel is closed' if closed else 'no tunnel was open'}{later}")


@laptop_task
def keep(c: Context) -> None:
    """Keep the tunnel open: after sleep, reboots, other networks.

    systemd (Linux) or launchd (macOS) starts its ssh again whenever it ends, and when you log in.
    """
    want, target = Settings.of(c), target_of(c)
    if c.config.run.dry:
        console.planned(
            target.alias,
            f"keep a tunnel from port {want.local_port} to the host's {want.lab_place}",
        )
        return
    block = found_in_config(c)
    if block is None:
        raise SetupError(
            "a kept tunnel uses the alias that setup gives a host: lab.open or setup.full first",
            host=target.alias,
        )
    remote = remote_place(want)
    found = kept_tunnel.keep(target, want.local_port, remote, want.connect_timeout, block.identity)
    how = "is kept already" if found.reused else "is kept"
    console.say(
        f"[{target.alias}] the tunnel {how} by {found.kept}: "
        f"{want.lab_url(found.local_port)}lab{moved(found, want)}"
    )


@laptop_task
def forget(c: Context) -> None:
    """Stop keeping the tunnel; works with the host down."""
    alias = target_of(c).alias
    if c.config.run.dry:
        if kept_tunnel.here().path(alias).exists():
            console.planned(alias, "close the tunnel and stop keeping it")
        return
    if kept_tunnel.forget(alias):
        console.say(f"[{alias}] the tunnel is closed and no longer kept")
    else:
        console.say(f"[{alias}] no tunnel was kept")


def probe_in_background(c: Connection) -> None:
    """Ask JupyterLab through an open tunnel, in the background while the host is read."""
    want = Settings.of(c)
    if found_in_config(c) and want.publish != "https":
        Host.of(c).start_background(background.start(answer_now, target_of(c), want))


def answer_now(target: tunnel.Target, want: Settings) -> tuple[tunnel.Tunnel, str] | None:
    """Return the open tunnel and the version that answers behind it; None if either is missing."""
    found = tunnel.find_open(target, want.local_port, remote_place(want))
    version = tunnel.answers(want.lab_url(found.local_port)) if found else None
    return (found, version) if found and version else None


def seen(c: Context) -> tuple[tunnel.Tunnel, str] | None:
    """Return what probe_in_background() found; None if the host has changed since."""
    host = Host.of(c) if isinstance(c, Connection) else None
    if not host or not host.background or host.changes:
        return None
    found: tuple[tunnel.Tunnel, str] | None = host.background.result()
    return found


def opened(c: Context, want: Settings) -> tunnel.Tunnel:
    """Open the tunnel unless it is open. Raises SetupError if no JupyterLab answers behind it."""
    target = target_of(c)
    known = seen(c)
    if not known and isinstance(c, Connection):
        dial_limit.wait_for_turn(c.host)
    found, version = known if known else ask_through_tunnel(target, want, tunnel.answers)
    if not version:
        if not found.kept:
            tunnel.close(target.alias)
        has_alias = found_in_config(c)
        fab = f"{target.alias} lab.start" if has_alias else f"{login(c)} setup.full"
        raise SetupError(
            f"JupyterLab does not answer on the host's {want.lab_place}: fab -H {fab}",
            host=target.alias,
        )
    return found


def ask_through_tunnel(
    target: tunnel.Target, want: Settings, question: Callable[[str], Answer]
) -> tuple[tunnel.Tunnel, Answer]:
    """Open the tunnel unless it is open; return what the far end answers to a question.

    question: takes JupyterLab's URL on this laptop; returns a false value if there is no answer.
    """
    found = dial(target, want)
    answer = question(want.lab_url(found.local_port))
    # The host may have rebooted, and ssh has not noticed.
    if not answer and found.reused:
        tunnel.close(target.alias)
        found = dial(target, want)
        answer = question(want.lab_url(found.local_port))
    return found, answer


def dial(target: tunnel.Target, want: Settings) -> tunnel.Tunnel:
    """Open the tunnel unless it is open, whatever answers behind it."""
    return tunnel.open(target, want.local_port, remote_place(want), want.connect_timeout)


def remote_place(want: Settings) -> int | str:
    """Return where the tunnel ends on the host: a port, or a Unix socket below the home."""
    return want.lab_socket or want.lab_port


def moved(found: tunnel.Tunnel, want: Settings) -> str:
    """Return why the local port is not the one in the settings; empty if it is."""
    return f" (port {want.local_port} is busy here)" if found.moved else ""


def url(alias: str, want: Settings) -> str:
    """Return JupyterLab's address on this laptop, or an empty string if no tunnel is open."""
    found = tunnel.status(alias)
    return f"{want.lab_url(found.local_port)}lab" if found else ""


def target_of(c: Context) -> tunnel.Target:
    """Return what ssh should call: the alias of this host, else the login given with -H."""
    block, want = found_in_config(c), Settings.of(c)
    config = str(fabric_internals.ssh_config_file(c.config) or "")
    if block:
        return tunnel.Target(block.name, config=config)
    if not isinstance(c, Connection):
        raise SetupError(
            f"no host is known as {want.alias}: "
            "name one with -H, or begin with fab -H root@ADDRESS setup.full"
        )
    return tunnel.Target(
        alias=alias_of(c, want),
        hostname=c.host,
        # Nobody else can open a socket.
        user=want.jupyter_user if want.lab_socket else c.user,
        port=c.port,
        identity=(keys_of(c) or [""])[0],
        config=config,
    )


def found_in_config(c: Context) -> ssh_config.Alias | None:
    """Return the block that setup wrote for this host; without -H, that of the setting `alias`."""
    path = ssh_config_path(c)
    if isinstance(c, Connection):
        return ssh_config.find(path, c.user, c.host, c.port, way(c))
    name = Settings.of(c).alias
    return next((block for block in ssh_config.read(path) if block.name == name), None)


def login(c: Context) -> str:
    """Return the host in the form that -H takes."""
    return login_errors.address(c) if isinstance(c, Connection) else Settings.of(c).alias
