"""Setup: the recipes, each a plain list of stages that reads like the guide's table of contents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fabric import Connection

from .. import console
from ..certificates import acme
from ..errors import SetupError
from ..facts import facts
from ..host.alias import alias_of
from ..host.session import Host
from ..local_state import secrets
from ..platforms import family, platform
from ..run import recipe as recipes
from ..run.ahead import Ahead
from ..run.runner import Runner, Stages, Took, describe
from ..run.task import host_task
from ..settings import Settings
from ..stages import (
    firewall,
    https,
    jupyter,
    keys,
    lab,
    power,
    proxy,
    python,
    ssh,
    system,
    tunnel,
    user,
)
from ..stages.keys import authorized_keys
from ..stages.lab import lifecycle
from ..stages.ssh import hardening
from ..stages.system import packages

UBUNTU = (
    ("user", user.add),
    ("keys", keys.copy),
    ("passwords off", ssh.disable_passwords),
    ("root off", ssh.disable_root),
    ("port", ssh.change_port),
    ("packages", packages.install),
    (
        "update",
        system.update,
    ),  # after the packages, which are installed ahead: what to upgrade is asked when dpkg is at rest
    ("firewall", firewall.enable),
    ("Python", python.install),
    ("login shells", python.init_shell),
    (
        "certificate",
        https.issue,
    ),  # first: with a configuration that names one that is not there, Lab could not start
    ("Jupyter", jupyter.configure),
    ("Lab", lab.start),
    ("Apache", proxy.follow),
    ("tunnel", tunnel.open_),
)
MACOS = (
    ("update", system.update),
    ("user", user.add),
    ("keys", keys.copy),
    ("Remote Login", ssh.restrict),
    ("passwords off", ssh.disable_passwords),
    ("root off", ssh.disable_root),
    ("port", ssh.change_port),
    ("port 22", ssh.close_port_22),
    ("firewall", firewall.enable),
    ("Python", python.install),
    ("login shells", python.init_shell),
    ("certificate", https.issue),
    ("Jupyter", jupyter.configure),
    ("Lab", lab.start),
    ("power", power.keep_awake),
    ("tunnel", tunnel.open_),
)
# What may begin before its turn. The guard of another stage may take a change back meanwhile, which none of this touches.
AHEAD = {
    "packages": Ahead((), packages.due, packages.prepare),
    "Python": Ahead(("keys",), python.due, python.prepare),
    "Jupyter": Ahead(("port",), lifecycle.due, jupyter.configure),
    "Lab": Ahead(
        ("port", "update"), lifecycle.due, lifecycle.start_early, needs=("Python", "Jupyter")
    ),
}
RECIPES = {"debian": (UBUNTU, AHEAD), "macos": (MACOS, {})}
RECIPE = {"recipe": "Ready settings by name, as -f config/NAME.yaml in a checkout"}


@host_task(default=True, first=tunnel.look, help=RECIPE)
def full(c: Connection, recipe: str = "") -> None:
    """Turn a bare machine into your own JupyterLab."""
    follow(c, *RECIPES[family(c)])


@host_task(help=RECIPE)
def ubuntu(c: Connection, recipe: str = "") -> None:
    """Set up Debian or Ubuntu, stage by stage."""
    refuse_other(c, "debian", "setup.ubuntu is for Debian and Ubuntu")
    follow(c, *RECIPES["debian"])


@host_task(name="macos", help=RECIPE)
def macos_(c: Connection, recipe: str = "") -> None:
    """Set up a Mac, stage by stage."""
    refuse_other(c, "macos", "setup.macos is for Macs")
    follow(c, *RECIPES["macos"])


def refuse_other(c: Connection, wanted: str, problem: str) -> None:
    """Stop where the host is another one than the recipe is for."""
    if family(c) != wanted:
        raise SetupError(
            f"{Host.of(c).label}: {problem}, this is {facts(c).system.name}: setup.full knows what to do"
        )


def follow(c: Connection, stages: Stages, ahead: Mapping[str, Ahead]) -> None:
    """Go through the stages of a recipe. ahead: what some of them may begin before their turn."""
    want = Settings.of(c)
    look_ahead(c, want)
    packages.settle(c)
    in_apache = facts(c).proxy.enabled
    wanted = [(name, stage) for name, stage in stages if not skipped(name, want, in_apache)]
    took = Runner(c, wanted, ahead).run()
    if not Host.of(c).planning:
        recipes.remember(c, alias_of(c, want))
    summary(c, want, took)


def look_ahead(c: Connection, want: Settings) -> None:
    """Refuse, before the host is touched, what would stop a later stage."""
    platform(c).refuse(c, want)
    authorized_keys.given_lines(want)
    if want.published and want.certificate == "letsencrypt":
        acme.refuse(c, want)
    if want.publish == "apache":
        proxy.refuse(c)
    if facts(c).ssh.ports - platform(c).kept_ports(c) != {want.ssh_port}:
        hardening.refuse(c, want.ssh_port)


@host_task(
    name="plan",
    reads=True,
    dials=True,
    help={"json": "Print JSON, as docs/undo.md describes it", **RECIPE},
)
def plan_(c: Connection, json: bool = False, recipe: str = "") -> None:
    """Show what setup.full would change; change nothing.

    Ends with 0 when there is nothing to do, and with 2 when there is.
    """
    from . import plan

    plan.plan(c, full, json)


@host_task(
    name="journal",
    reads=True,
    dials=True,
    help={"json": "Print JSON, as docs/undo.md describes it"},
)
def journal_(c: Connection, json: bool = False) -> None:
    """Show what labfab has done to the host."""
    from . import history

    history.show(c, json)


@host_task(
    reads=True,
    dials=True,
    help={
        "to": "Oldest stage to take back, with all that came after it",
        "force": "Also what was changed by hand since",
    },
)
def undo(c: Connection, to: str = "", force: bool = False) -> None:
    """Take back what labfab did, newest first."""
    from . import history

    history.undo(c, to, force)


def skipped(name: str, want: Settings, in_apache: bool = False) -> bool:
    """Whether the settings leave a stage out; where JupyterLab itself is published, there is no need of a tunnel.

    in_apache: Apache has a site of ours, wanted or not.
    """
    return not {
        "update": want.update,
        "Remote Login": want.restrict_logins,
        "port 22": want.close_port_22,
        "firewall": want.firewall,
        "certificate": want.published,
        "Apache": want.publish == "apache" or in_apache,
        "tunnel": want.publish != "https",
    }.get(name, True)


def summary(c: Connection, want: Settings, took: Sequence[Took]) -> None:
    """Tell what there is now, where its secrets are and what is left to do."""
    host, alias = Host.of(c), alias_of(c, want)
    if host.planning:
        return
    if host.changes:
        console.say()
        console.say(f"time: {'; '.join(describe(took))}")
    console.say()
    for label, text in [*doors(c, alias, want), *kept(alias, want)]:
        console.say(f"{label:<14}{text}")
    console.say(f"{'next time':<14}fab -H {alias} lab.open")
    console.say(f"{'shell':<14}ssh {alias}")
    console.say(f"{'tasks':<14}fab -H {alias} …")
    if host.changes:
        ports = ", ".join(map(str, [host.login.port, *want.public_ports]))
        many = "s" * bool(want.public_ports)
        console.say(
            f"{'left to you':<14}let TCP port{many} {ports} through, if a router or cloud firewall stands before the host"
        )
        if want.published and want.certificate == "self-signed":
            console.say(
                f"{'left to you':<14}let your browsers trust this lab: fab -H {alias} https.trust"
            )
    if facts(c).system.reboot_required:
        console.say(f"{'left to you':<14}a reboot is pending: fab -H {alias} system.reboot")


def doors(c: Connection, alias: str, want: Settings) -> Iterator[tuple[str, str]]:
    """Where JupyterLab is reached."""
    if want.published:
        yield "JupyterLab", f"{want.public_url(c.host)}lab"
    if want.publish != "https":
        yield (
            "by tunnel" if want.published else "JupyterLab",
            tunnel.url(alias, want) or "no tunnel is open: tunnel.open",
        )


def kept(alias: str, want: Settings) -> Iterator[tuple[str, str]]:
    """The secrets of this lab: themselves on a terminal, elsewhere only their place."""
    known = {
        "jupyter-password": "password",
        "sudo-password": f"sudo of {want.user}",
        "login-of-lab-user": f"login of {want.lab_user}",
    }
    for name, label in known.items():
        value, place = secrets.load(alias, name), secrets.place(alias, name)
        if value:
            yield (
                label,
                f"{value.reveal()}  (kept in {place})" if console.terminal() else f"in {place}",
            )
