"""Sequences: the stages of a setup in order, like the guide's table of contents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..run.ahead import Ahead
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
from ..stages.lab import lifecycle
from ..stages.system import packages

Stages = tuple[tuple[str, Any], ...]  # a name and a task

DEBIAN: Stages = (
    ("user", user.add),
    ("keys", keys.copy),
    ("passwords off", ssh.disable_passwords),
    ("root off", ssh.disable_root),
    ("port", ssh.change_port),
    ("algorithms", ssh.harden),
    # Packages are installed early, because upgrades can only be listed once dpkg is idle.
    ("packages", packages.install),
    ("update", system.update),
    ("firewall", firewall.enable),
    ("Python", python.install),
    ("login shells", python.init_shell),
    # JupyterLab cannot start with a configuration that names a missing certificate.
    ("certificate", https.issue),
    ("Jupyter", jupyter.configure),
    ("Lab", lab.start),
    ("Apache", proxy.publish_or_remove),
    ("tunnel", tunnel.open_),
)
MACOS: Stages = (
    ("update", system.update),
    ("user", user.add),
    ("keys", keys.copy),
    ("Remote Login", ssh.restrict),
    ("passwords off", ssh.disable_passwords),
    ("root off", ssh.disable_root),
    ("port", ssh.change_port),
    ("port 22", ssh.close_port_22),
    ("algorithms", ssh.harden),
    ("firewall", firewall.enable),
    ("Python", python.install),
    ("login shells", python.init_shell),
    ("certificate", https.issue),
    ("Jupyter", jupyter.configure),
    ("Lab", lab.start),
    ("power", power.keep_awake),
    ("tunnel", tunnel.open_),
)
# What may start early. A guard may revert another stage in the meantime, so this early work touches
# none of the files that a guard restores.
AHEAD = {
    "packages": Ahead(after=(), due=packages.can_prepare_early, do=packages.prepare),
    "Python": Ahead(after=("keys",), due=python.can_install_early, do=python.prepare),
    "Jupyter": Ahead(after=("port",), due=lifecycle.can_start_early, do=jupyter.configure),
    "Lab": Ahead(
        after=("port", "update"),
        due=lifecycle.can_start_early,
        do=lifecycle.start_early,
        needs=("Python", "Jupyter"),
    ),
}


class SetupSequence(NamedTuple):
    """How one family of systems is set up."""

    stages: Stages
    ahead: Mapping[str, Ahead]


# By the family of the system.
SEQUENCES = {
    "debian": SetupSequence(stages=DEBIAN, ahead=AHEAD),
    "macos": SetupSequence(stages=MACOS, ahead={}),
}


def skipped(name: str, want: Settings, in_apache: bool = False) -> bool:
    """Return whether the settings leave a stage out.

    in_apache: whether Apache serves our site on this host, wanted or not.
    """
    wanted = {
        "update": want.update,
        "Remote Login": want.restrict_logins,
        "port 22": want.close_port_22,
        "algorithms": want.harden_ssh,
        "firewall": want.firewall,
        "certificate": want.published,
        "Apache": want.publish == "apache" or in_apache,
        # A JupyterLab that serves TLS itself needs no tunnel.
        "tunnel": want.publish != "https",
    }
    return not wanted.get(name, True)
