"""Base: the interface that every platform module implements, for type checkers and readers.

`debian` and `macos` are modules, not classes: a module that has all these names is a Platform.
tests/platforms/test_parity.py compares the modules with this file, name by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from fabric import Connection

from ..host.remote_file import Values
from ..settings import Settings

# Options of sshd_config; one with several values gets a line for each.
Options = Mapping[str, str | Sequence[str]]


class Service(Protocol):
    """The system's own way to run JupyterLab, from boot on: systemd or launchd."""

    # What messages call it.
    NAME: str
    # The `if … then` part of a shell conditional that starts an installed service or says how.
    # launchlab.py adds `else … fi`. It must contain no %s.
    START_BY_HAND: str

    def require(self, c: Connection) -> None:
        """Raise SetupError if this host cannot run services."""

    def unit_text(self, c: Connection) -> str:
        """Return the text that the unit or property list should have."""

    def install(self, c: Connection) -> None:
        """Write the unit and enable it at boot; start() starts it."""

    def start(self, c: Connection) -> None:
        """Start JupyterLab now."""

    def stop(self, c: Connection) -> None:
        """Stop JupyterLab now; it starts again at the next boot."""

    def remove(self, c: Connection) -> None:
        """Stop JupyterLab and delete the unit."""


class Platform(Protocol):
    """How things are done on one kind of system."""

    # Folders and programs ---------------------------------------------------------------------

    # The part of PATH that follows the folder of JupyterLab's Python.
    LAB_PATH: str
    # The folder that holds the homes.
    HOME_ROOT: str
    # Jupyter's data folder, relative to a home.
    JUPYTER_DATA: str
    # Shell text that prints the path of a pip wheel; %% for a percent sign.
    FIND_PIP_WHEEL: str
    # What runs JupyterLab as a service.
    service: Service

    # Words for check.all ----------------------------------------------------------------------

    # What the age in host-updates refers to.
    UPDATE_LIST: str
    # Follows the number of pending updates.
    UPDATES_WAIT: str
    # Shown if the number of pending updates is unknown.
    UPDATES_UNKNOWN: str
    # Commands that the user can type where no task helps; {} in LISTENER is the port.
    SET_CLOCK: str
    SHOW_BIG_FOLDERS: str
    SHOW_LISTENER: str

    # Packages ---------------------------------------------------------------------------------

    def wait_until_settled(self, c: Connection) -> None:
        """Wait until a new machine has finished its own first setup."""

    def refresh(self, c: Connection, max_age: int = 0) -> None:
        """Fetch the list of updates if it is older than *max_age* hours."""

    def upgrade(self, c: Connection) -> None:
        """Install the pending updates."""

    def install(self, c: Connection, *packages: str, undo: str = "") -> None:
        """Install the packages that are missing.

        undo: the command of undo.sh that removes them; empty: the platform's own.
        """

    def venv_packages(self, c: Connection) -> list[str]:
        """Return the packages that `python3 -m venv` needs."""

    def refuse_unsupported(self, c: Connection, want: Settings) -> None:
        """Raise SetupError, before any change, if this system cannot do what the settings ask."""

    # Accounts ---------------------------------------------------------------------------------

    # The group that may use sudo.
    ADMIN_GROUP: str
    # Groups whose members are root, or can become it, separated by blanks.
    POWERFUL_GROUPS: str

    def lets_in(self, c: Connection, name: str) -> bool:
        """Return whether the system's own list, if it has one, lets an account log in over SSH."""

    def add_account(self, c: Connection, name: str) -> None:
        """Add an account."""

    def finish_account(self, c: Connection, name: str) -> None:
        """Complete JupyterLab's account, whether labfab added it or not."""

    def set_password(self, c: Connection, name: str, password: str) -> None:
        """Set the password of an account."""

    def join_group(self, c: Connection, name: str, group: str) -> None:
        """Add an account to a group."""

    def keep_after_logout(self, c: Connection, name: str) -> None:
        """Let the processes of an account outlive its logins."""

    # sshd -------------------------------------------------------------------------------------

    # The journal's name for the job that listens for SSH. setup.undo may be logged in through
    # that job, so it removes it last. Empty: no such job.
    SSH_JOB: str

    def run_sshd(self, c: Connection) -> str:
        """Return shell text that makes sshd listen as configured; open sessions stay open."""

    def guarded_files(self, c: Connection) -> tuple[str, ...]:
        """Return the files and folders that decide who can log in: the guard restores these."""

    def set_options(
        self, c: Connection, options: Options, why: str, then: Values | None = None
    ) -> None:
        """Set options of sshd in labfab's own file. then: facts that become true for everybody."""

    def reload_sshd(self, c: Connection) -> None:
        """Reload sshd; its ports stay as they are."""

    def keep_sshd_running(self, c: Connection) -> None:
        """Make the system start sshd again whenever it ends, whoever ended it."""

    def ports_to_keep(self, c: Connection) -> frozenset[int]:
        """Return the SSH ports that belong to the system and stay open."""

    def listen_on(self, c: Connection, ports: AbstractSet[int], why: str) -> None:
        """Make sshd listen on these ports and no others."""

    def restrict_logins(self, c: Connection, names: Sequence[str]) -> None:
        """Let only administrators and these accounts log in over SSH (macOS)."""

    def close_remote_login(self, c: Connection) -> None:
        """Stop the system's own SSH listener, now and at boot (macOS)."""

    # Firewall ---------------------------------------------------------------------------------

    # The firewall's package. Empty: labfab leaves the system's own firewall alone.
    FIREWALL_PACKAGE: str
    # Whether that firewall closes ports.
    FIREWALL_CLOSES_PORTS: bool

    def report_firewall(self, c: Connection) -> None:
        """Report that labfab leaves the system's own firewall alone (macOS)."""

    def allow_port(
        self,
        c: Connection,
        port: int,
        comment: str = "",
        protocol: str = "tcp",
        action: str = "allow",
    ) -> None:
        """Open a port. comment: marks the rule, so that close_port() finds it."""

    def copy_rule(self, c: Connection, rule: Sequence[str], port: int) -> None:
        """Write a rule for some senders once more, for another port."""

    def delete_rule(self, c: Connection, rule: Sequence[str], port: int) -> None:
        """Delete a rule for some senders of this port, if it is for no other port."""

    def allow_forwarding(self, c: Connection) -> None:
        """Let the firewall pass what the host forwards for others."""

    def close_port(self, c: Connection, port: int, comment: str = "") -> None:
        """Delete the rules that open this TCP port alone. comment: only rules marked with it."""

    # Power ------------------------------------------------------------------------------------

    def keep_awake(self, c: Connection) -> None:
        """Keep the machine from sleeping if the settings ask for it, or warn that it sleeps."""

    def reboot(self, c: Connection) -> None:
        """Restart the machine and wait until the new boot answers."""
