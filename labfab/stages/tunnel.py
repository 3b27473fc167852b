"""Tunnel: a local port of your laptop that leads to JupyterLab's loopback port.

Owns: one ssh process for each lab, its control socket, ~/.config/labfab/<alias>/tunnel.json; with tunnel.keep, what
starts that ssh again.  Undo: tunnel.close, tunnel.forget
These tasks take -H as a name: the host may be down.
"""

from __future__ import annotations

import json as to_json
from collections.abc import Callable
from typing import TypeVar

from fabric import Connection
from invoke import Context

from .. import console, fabric_internals
from ..errors import SetupError
from ..host import login_errors
from ..host.alias import alias_of
from ..host.session import Host
from ..laptop import keeper, tunnel
from ..local_state import ssh_config
from ..local_state.aliases import config_path, jump
from ..run import background
from ..run.task import laptop_task
from ..settings import Settings

Answer = TypeVar("Answer")


@laptop_task(name="open", default=True)
def open_(c: Context) -> str:
    """Open the tunnel to JupyterLab, or find it open."""
    want, target = Settings.of(c), target_of(c)
    if c.config.run.dry:
        if not tunnel.status(target.alias):
            console.planned(
                target.alias,
                f"open a tunnel from port {want.local_port} to the host's {want.lab_place}",
            )
        return ""
    found = opened(c, want)
    how = "is open already" if found.reused else "is open"
    console.say(
        f"[{target.alias}] the tunnel {how}: {want.lab_url(found.local_port)}lab{moved(found, want)}"
    )
    return want.lab_url(found.local_port)


@laptop_task(
    help={
        "json": "Print JSON: alias, open, url, pid, kept (by what), jupyter_server (the version that answers)"
    }
)
def status(c: Context, json: bool = False) -> None:
    """Tell whether the tunnel is open and answers."""
    want, alias = Settings.of(c), target_of(c).alias
    found, by = tunnel.status(alias), tunnel.kept_by(tunnel.load(alias))
    version = tunnel.answers(want.lab_url(found.local_port)) if found else ""
    if json:
        there = (
            {"url": f"{want.lab_url(found.local_port)}lab", "pid": found.pid}
            if found
            else {"url": "", "pid": None}
        )
        there |= {"kept": by.NAME if by else "", "jupyter_server": version or ""}
        return console.say(to_json.dumps({"alias": alias, "open": bool(found), **there}))
    if not found:
        away = (
            f"the tunnel that {by.NAME} keeps is not open: it tries again, or was closed: tunnel.open"
            if by
            else ""
        )
        return console.say(f"[{alias}] {away or 'no tunnel is open: tunnel.open'}")
    lab = (
        f"jupyter_server {version} answers"
        if version
        else "nothing answers behind it: lab.status, then tunnel.open"
    )
    kept = f", kept by {found.kept}" if found.kept else ""
    console.say(
        f"[{alias}] the tunnel is open (ssh, pid {found.pid}{kept}): {want.lab_url(found.local_port)}lab; {lab}"
    )


@laptop_task
def close(c: Context) -> None:
    """Close the tunnel; works with the host down."""
    alias = target_of(c).alias
    if c.config.run.dry:
        if tunnel.status(alias):
            console.planned(alias, "close the tunnel")
        return
    closed, by = tunnel.close(alias), tunnel.kept_by(tunnel.load(alias))
    later = (
        f"; {by.NAME} opens it again when you log in next: tunnel.forget ends that" if by else ""
    )
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
            f"{target.alias}: a kept tunnel goes by the name that setup gives to a host: lab.open or setup.full first"
        )
    found = keeper.keep(
        target,
        want.local_port,
        want.lab_socket or want.lab_port,
        want.connect_timeout,
        block.identity,
    )
    how = "is kept already" if found.reused else "is kept"
    console.say(
        f"[{target.alias}] the tunnel {how} by {found.kept}: {want.lab_url(found.local_port)}lab{moved(found, want)}"
    )


@laptop_task
def forget(c: Context) -> None:
    """Keep the tunnel no longer; works with the host down."""
    alias = target_of(c).alias
    if c.config.run.dry:
        if keeper.here().path(alias).exists():
            console.planned(alias, "close the tunnel and keep it no longer")
        return
    console.say(
        f"[{alias}] the tunnel is closed and kept no longer"
        if keeper.forget(alias)
        else f"[{alias}] no tunnel was kept"
    )


def look(c: Connection) -> None:
    """Begin to ask JupyterLab behind a tunnel that is open, while the host is asked for all the rest."""
    want = Settings.of(c)
    if found_in_config(c) and want.publish != "https":
        Host.of(c).start_background(background.start(answer_now, target_of(c), want))


def answer_now(target: tunnel.Target, want: Settings) -> tuple[tunnel.Tunnel, str] | None:
    """The tunnel and what answers behind it; None where one is still to be opened."""
    found = tunnel.found(target, want.local_port, want.lab_socket or want.lab_port)
    version = tunnel.answers(want.lab_url(found.local_port)) if found else None
    return (found, version) if found and version else None


def seen(c: Context) -> tuple[tunnel.Tunnel, str] | None:
    """What look() found; None where the host was changed since."""
    host = Host.of(c) if isinstance(c, Connection) else None
    return host.background.result() if host and host.background and not host.changes else None


def opened(c: Context, want: Settings) -> tunnel.Tunnel:
    """Have the tunnel open, and JupyterLab answer behind it."""
    target = target_of(c)
    found, version = seen(c) or reach(target, want, tunnel.answers)
    if not version:
        if not found.kept:
            tunnel.close(target.alias)
        name, task = (target.alias, "lab.start") if found_in_config(c) else (login(c), "setup.full")
        raise SetupError(
            f"{target.alias}: JupyterLab does not answer on the host's {want.lab_place}: fab -H {name} {task}"
        )
    return found


def reach(
    target: tunnel.Target, want: Settings, answer: Callable[[str], Answer]
) -> tuple[tunnel.Tunnel, Answer]:
    """Open the tunnel, or find it open; give what the far end answers to a question, asked with the URL."""
    found = tunnel.open(
        target, want.local_port, want.lab_socket or want.lab_port, want.connect_timeout
    )
    said = answer(want.lab_url(found.local_port))
    if (
        not said and found.reused
    ):  # it may have survived the host's reboot as a mere shell of itself
        tunnel.close(target.alias)
        found = tunnel.open(
            target, want.local_port, want.lab_socket or want.lab_port, want.connect_timeout
        )
        said = answer(want.lab_url(found.local_port))
    return found, said


def moved(found: tunnel.Tunnel, want: Settings) -> str:
    return f" (port {want.local_port} is busy here)" if found.moved else ""


def url(alias: str, want: Settings) -> str:
    """Where JupyterLab is reached from this laptop; empty while no tunnel is open."""
    found = tunnel.status(alias)
    return f"{want.lab_url(found.local_port)}lab" if found else ""


def target_of(c: Context) -> tunnel.Target:
    """Whom ssh has to call: the alias of this host, else the login given with -H."""
    block = found_in_config(c)
    config = str(fabric_internals.ssh_config_file(c.config) or "")
    if block:
        return tunnel.Target(block.name, config=config)
    if not isinstance(c, Connection):
        raise SetupError(
            f"no host is known as {Settings.of(c).alias}: name one with -H, or begin with fab -H root@ADDRESS setup.full"
        )
    key = (c.connect_kwargs.get("key_filename") or [""])[0]
    return tunnel.Target(alias_of(c, Settings.of(c)), c.host, c.user, c.port, key, config)


def found_in_config(c: Context) -> ssh_config.Alias | None:
    """The block that setup wrote for this host; without -H, the one of the setting `alias`."""
    path = config_path(c)
    if isinstance(c, Connection):
        return ssh_config.find(path, c.user, c.host, c.port, jump(c))
    return next(
        (block for block in ssh_config.read(path) if block.name == Settings.of(c).alias), None
    )


def login(c: Context) -> str:
    return login_errors.address(c) if isinstance(c, Connection) else Settings.of(c).alias
