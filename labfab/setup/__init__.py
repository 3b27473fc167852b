"""Setup: turns a bare machine into your own JupyterLab, stage by stage, and undoes that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from fabric import Connection

from ..certificates import acme
from ..errors import SetupError
from ..facts import facts
from ..host.alias import alias_of
from ..host.session import Host
from ..local_state import ssh_config
from ..local_state.aliases import find_alias, ssh_config_path
from ..platforms import family, platform
from ..run import recipe as recipes
from ..run.runner import Runner
from ..run.task import host_task
from ..settings import Settings
from ..stages import firewall, proxy, tunnel, user
from ..stages.keys import admission, authorized_keys
from ..stages.ssh import hardening
from ..stages.system import packages, surveying
from .sequences import SEQUENCES, SetupSequence, skipped
from .summary import stopped, summarize

RECIPE = {"recipe": "Name of a ready recipe, like -f config/NAME.yaml in a checkout"}
JSON = {"json": "Print JSON; docs/undo.md describes it"}


@host_task(default=True, first=tunnel.probe_in_background, help=RECIPE)
def full(c: Connection, recipe: str = "") -> None:
    """Turn a bare machine into your own JupyterLab."""
    run_sequence(c, SEQUENCES[family(c)])


@host_task(help=RECIPE)
def ubuntu(c: Connection, recipe: str = "") -> None:
    """Set up Debian or Ubuntu, stage by stage."""
    refuse_other(c, "debian", "setup.ubuntu is for Debian and Ubuntu")
    run_sequence(c, SEQUENCES["debian"])


@host_task(name="macos", help=RECIPE)
def macos_(c: Connection, recipe: str = "") -> None:
    """Set up a Mac, stage by stage."""
    refuse_other(c, "macos", "setup.macos is for Macs")
    run_sequence(c, SEQUENCES["macos"])


@host_task(name="plan", reads=True, connects_itself=True, help=JSON | RECIPE)
def plan_(c: Connection, json: bool = False, recipe: str = "") -> None:
    """Show what setup.full would change; change nothing.

    Exits with 0 if there is nothing to do, and with 2 if there is.
    """
    from . import plan

    plan.plan(c, full, json)


@host_task(name="journal", reads=True, connects_itself=True, help=JSON)
def journal_(c: Connection, json: bool = False) -> None:
    """Show what labfab has done to the host."""
    from . import history

    history.show(c, json)


@host_task(
    reads=True,
    connects_itself=True,
    help={
        "to": "Oldest stage to undo; everything after it is undone too",
        "force": "Also undo what has been changed by hand since",
        "yes": "Do not ask first, even if kernels are busy",
    },
)
def undo(c: Connection, to: str = "", force: bool = False, yes: bool = False) -> None:
    """Undo what labfab did; asks first."""
    from . import history

    history.undo(c, to, force, yes)


def refuse_other(c: Connection, wanted: str, problem: str) -> None:
    """Raise SetupError if the host is not of this family of systems."""
    if family(c) != wanted:
        name = facts(c).system.name
        text = f"{problem}, this is {name}: use setup.full"
        raise SetupError(text, host=Host.of(c).label)


def run_sequence(c: Connection, sequence: SetupSequence) -> None:
    """Run those stages of a sequence that the settings ask for, and print a summary."""
    want, host = Settings.of(c), Host.of(c)
    preflight(c, want)
    packages.wait_for_first_boot(c)
    in_apache = facts(c).proxy.enabled
    stages = [stage for stage in sequence.stages if not skipped(stage[0], want, in_apache)]
    if not host.planning:
        # Before the first change: a run that dies leaves it for the next one.
        recipes.store(c, alias_of(c, want))
    runner = Runner(c, stages, sequence.ahead)
    with told_if_stopped(c, want, runner):
        took = runner.run()
    if not host.planning:
        alias = alias_of(c, want)
        block = find_alias(c)
        admin = block.admin_name if block else alias
        summarize(host, want, alias, facts(c).system.reboot_required, took, admin)


@contextlib.contextmanager
def told_if_stopped(c: Connection, want: Settings, runner: Runner) -> Iterator[None]:
    """If the block does not come to its end, say what stays on the host and how to go on."""
    host, firewall_on = Host.of(c), facts(c).firewall.active
    try:
        yield
    # Ctrl-C and defects of ours too.
    except BaseException:
        if not host.planning:
            firewall_on |= any(one.why == firewall.ON for one in host.changes)
            block = find_alias(c)
            name = block.admin_name if block else ""
            stopped(host, want, alias_of(c, want), runner.completed, firewall_on, name)
        raise


def refuse_taken_name(c: Connection, want: Settings) -> None:
    """Raise SetupError if the alias that this host would get is a Host of the user's own."""
    if find_alias(c) is None:
        name = alias_of(c, want)
        for one in (name, f"{name}-admin") if want.lab_user else (name,):
            ssh_config.refuse_foreign(ssh_config_path(c), one)


def preflight(c: Connection, want: Settings) -> None:
    """Raise SetupError for what would stop a later stage, before the host is changed."""
    system = platform(c)
    system.refuse_unsupported(c, want)
    refuse_taken_name(c, want)
    authorized_keys.keys_from_settings(want)
    user.refuse_accounts(c, want)
    user.refuse_to_move(c, want)
    user.name_log_of_sudo(c, want, token=facts(c).jupyter.config is None)
    if want.published and want.certificate == "letsencrypt":
        acme.require_email(c, want)
    if want.publish == "apache":
        proxy.refuse_to_publish(c)
    accounts = authorized_keys.accounts_to_open(want)
    admission.refuse_accounts(c, accounts, system.ADMIN_GROUP)
    if want.firewall:
        firewall.refuse_another(c)
    port = hardening.wanted_port(c, want)
    if hardening.must_move(c, port):
        hardening.refuse_port(c, port)
        hardening.refuse_fixed_way(c, port)
    hardening.before_passwords(c)
    hardening.before_root(c)
    firewall.name_endings(c, want)
    if surveying.is_new(c):
        surveying.warn(c)
