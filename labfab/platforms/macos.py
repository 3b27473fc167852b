"""macOS 12 to 26: sysadminctl and dscl, launchd, Remote Login.

You log in as an existing administrator, whose account stays as it is. labfab makes JupyterLab's
account as guide 000 does: standard, hidden, for SSH only.
"""

from __future__ import annotations

import plistlib
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..facts import facts
from ..facts.reader import planned_file
from ..host.alias import alias_of
from ..host.changes import change, put
from ..host.remote_file import Values
from ..host.session import Host
from ..local_state import passwords
from ..on_host import loader
from ..settings import Settings
from . import launchd, mac_programs, pmset, softwareupdate, sshd
from .base import Options, Service

# Parts of the interface that other modules implement.
install = mac_programs.install
wait_until_settled = softwareupdate.wait_until_settled
refresh = softwareupdate.refresh
upgrade = softwareupdate.upgrade
reboot = softwareupdate.reboot
keep_awake = pmset.keep_awake

service: Service = launchd
LAB_PATH = launchd.PATH
HOME_ROOT = "/Users"
JUPYTER_DATA = "Library/Jupyter"
FIND_PIP_WHEEL = (
    "python3 -c 'import ensurepip, glob; "
    'print(*glob.glob(ensurepip.__path__[0] + "/_bundled/pip-*.whl"))\''
)

UPDATE_LIST = "Apple's list of updates"
UPDATES_WAIT = "updates wait (those that need a restart wait for reboot: true)"
UPDATES_UNKNOWN = "Apple has not been asked yet"
SET_CLOCK = "sntp -sS time.apple.com"
SHOW_BIG_FOLDERS = "du -xh -d 2"
SHOW_LISTENER = "lsof -nP -iTCP:{} -sTCP:LISTEN"

ADMIN_GROUP = "admin"
FIREWALL_PACKAGE = ""
FIREWALL_CLOSES_PORTS = False  # the application firewall knows programs, not ports

# Our file of sshd options. Here sshd reads every file of the folder, whatever its name.
DROP_IN = "/etc/ssh/sshd_config.d/000-labfab.conf"
INCLUDE = "Include /etc/ssh/sshd_config.d/*"

# Our job for sshd, on the ports that are not Apple's, and Apple's own.
OWN_SSHD = "org.labfab.sshd"
PLIST = f"/Library/LaunchDaemons/{OWN_SSHD}.plist"
REMOTE_LOGIN = "com.openssh.sshd"
REMOTE_PLIST = "/System/Library/LaunchDaemons/ssh.plist"
SSH_JOB = OWN_SSHD
POWERFUL_GROUPS = "admin wheel daemon sys operator kmem"

# The name under which the laptop keeps the password of JupyterLab's account.
SECRET = "login-of-lab-user"
ADD = loader.as_command("add_mac_account", 1)
HIDE = "dscl . -create /Users/%s IsHidden 1"
MAKE_HOME = "createhomedir -c -u %s >/dev/null; [ -d %s ] && run_as %s chmod 700 %s"
LOGIN_WINDOW = "/Library/Preferences/com.apple.loginwindow"
HIDE_OTHERS = "defaults write %s SHOWOTHERUSERS_MANAGED -bool FALSE"
NO_ACCESS = (
    "macOS protects its accounts from logins over SSH: in System Settings > General > Sharing > "
    "Remote Login (i) switch `Allow full disk access for remote users` on"
)


# Packages


def venv_packages(c: Connection) -> list[str]:
    """Return what a virtual environment needs."""
    return ["python3"]


def refuse_unsupported(c: Connection, want: Settings) -> None:
    """Raise SetupError, before the Mac is changed, for settings that are for Linux only."""
    label = Host.of(c).label
    mac_programs.refuse_missing_programs(c)
    if c.user == "root":
        raise SetupError(
            "labfab does not log in to a Mac as root: "
            "use an administrator, fab -H ADMIN@… setup.full",
            host=label,
        )
    if want.publish == "apache":
        raise SetupError(
            "publish: apache is for Debian and Ubuntu: leave publish at tunnel, or take https",
            host=label,
        )
    if want.published and want.certificate == "letsencrypt":
        raise SetupError(
            "certificate: letsencrypt is for Debian and Ubuntu: leave certificate at self-signed",
            host=label,
        )


# Accounts


def add_account(c: Connection, name: str) -> None:
    """Add a standard account, with a password that the laptop keeps."""
    made = {
        "uid": "501",
        "home": f"/Users/{name}",
        "shell": "/bin/zsh",
        "groups": "staff",
        "password": "P",
        "ours": "yes",
    }
    done = change(
        c,
        ADD,
        name,
        stdin=new_password(c),
        explain=explain,
        why=f"add the account {name}",
        undo=("account %s", name),
        keep=[f"/Users/{name}"],
        then={f"accounts.{name}.{key}": value for key, value in made.items()},
    )
    if done and done.out.strip():
        console.warn(
            f"[{Host.of(c).label}] the account was added, but {NO_ACCESS}: "
            "without it, setup.undo cannot delete the account"
        )


def finish_account(c: Connection, name: str) -> None:
    """Make the home of JupyterLab's account, and hide the account if labfab added it."""
    have = facts(c)
    account, shown = have.accounts[name], have.system.others_shown
    if not account.home_stat:
        then = {f"accounts.{name}.home_stat": f"700 {name}"}
        given = (name, account.home, name, account.home)
        change(c, MAKE_HOME, *given, why=f"make {account.home}", then=then)
    if account.ours and not account.hidden:
        why, then = f"hide {name} in the login window", {f"accounts.{name}.hidden": "yes"}
        change(c, HIDE, name, why=why, undo=("shown %s", name), then=then)
    if (account.hidden or account.ours) and shown != "0":
        change(
            c,
            HIDE_OTHERS,
            LOGIN_WINDOW,
            why="stop the login window from offering other accounts",
            undo=("others_shown %s", shown),
            keep=[f"{LOGIN_WINDOW}.plist"],
            then={"system.others_shown": "0"},
        )


def new_password(c: Connection) -> str:
    """Return the password for JupyterLab's account, generated and kept on the laptop.

    Nobody ever types it. A kept one is used again.
    """
    kept = Host.of(c).stored_secret(Settings.of(c), SECRET)
    value = kept.reveal() if kept else passwords.generate()
    if not Host.of(c).planning:
        Host.of(c).keep_secret(alias_of(c, Settings.of(c)), SECRET, value)
    return value


def explain(said: str) -> str:
    """Put in words what sysadminctl reports as an error number and a line of its source."""
    if "-14120" in said or "eDSPermissionError" in said:
        return f"{NO_ACCESS}, then run the same command again"
    lines = [line.rpartition("] ")[2].strip() for line in said.splitlines()]
    told = " | ".join(line for line in lines if line.strip("-"))
    return told[-300:] or "sysadminctl added no account"


def set_password(c: Connection, name: str, password: str) -> None:
    """Refuse: macOS asks for the old password, or for an administrator's, at its screen."""
    raise SetupError(
        f"{name} has no password: set one at the Mac, in System Settings > Users & Groups",
        host=Host.of(c).label,
    )


def join_group(c: Connection, name: str, group: str) -> None:
    """Refuse: labfab makes nobody an administrator of a Mac."""
    raise SetupError(
        f"{name} is not an administrator of this Mac: log in as one, fab -H ADMIN@… setup.full",
        host=Host.of(c).label,
    )


def keep_after_logout(c: Connection, name: str) -> None:
    """Do nothing: macOS does not end processes at logout."""


# sshd


def run_sshd(c: Connection) -> str:
    """Return shell text that checks the configuration: launchd listens, each login reads it."""
    return "/usr/sbin/sshd -t"


def reload_sshd(c: Connection) -> None:
    """Do nothing: each connection reads the configuration."""


def keep_sshd_running(c: Connection) -> None:
    """Do nothing: launchd holds the port and starts an sshd for each login."""


def guarded_files(c: Connection) -> tuple[str, ...]:
    """Return the files that decide who can log in."""
    return ("/etc/ssh", "/etc/sudoers", "/etc/sudoers.d", PLIST)


def set_options(c: Connection, options: Options, why: str, then: Values | None = None) -> None:
    """Set options of sshd in our file. then: facts that become true for everybody."""
    sshd.write(c, DROP_IN, INCLUDE, options, why, then)


def ports_to_keep(c: Connection) -> frozenset[int]:
    """Return the port of Remote Login, which is Apple's: labfab adds its own port to it."""
    return frozenset({facts(c).ssh.remote_login} - {0})


def listen_on(c: Connection, ports: AbstractSet[int], why: str) -> None:
    """Make launchd listen on these ports for sshd, apart from Remote Login's own."""
    have = facts(c).ssh
    own = sorted(ports - {have.remote_login})
    then = sshd.listening_on(have, sorted(ports))
    if not own:
        change(
            c,
            "unload_daemon %s && rm -f %s",
            OWN_SSHD,
            PLIST,
            why=why,
            then=then | {"ssh.plist.stat": None},
            undo=("restore_daemon %s %s", OWN_SSHD, PLIST),
            keep=[PLIST],
        )
        return
    text = plist(own)
    written = planned_file("ssh.plist", text, "644", "root")
    put(c, PLIST, text, why=why, old=have.plist, check=launchd.LINT, then=written)
    change(
        c,
        "load_daemon %s %s",
        OWN_SSHD,
        PLIST,
        why="make launchd listen there",
        undo=("unload_daemon %s", OWN_SSHD),
        then=then,
    )


def plist(ports: Sequence[int]) -> str:
    """Return our job for sshd: Apple's own, except for the label and the ports.

    The wrapper refuses arguments, so only its name is given.
    """
    sockets = [{"SockServiceName": str(port)} for port in ports]
    return plistlib.dumps(
        {
            "Label": OWN_SSHD,
            "Program": "/usr/libexec/sshd-keygen-wrapper",
            "ProgramArguments": ["sshd-keygen-wrapper"],
            "Sockets": {"Listeners": sockets if len(sockets) > 1 else sockets[0]},
            "inetdCompatibility": {"Wait": False, "Instances": 42},
            "StandardErrorPath": "/dev/null",
            "POSIXSpawnType": "Interactive",
            "MaterializeDatalessFiles": True,
        }
    ).decode()


def lets_in(c: Connection, name: str) -> bool:
    """Return whether Remote Login's list, if it is in force, has the account or a group of it."""
    have, account = facts(c).ssh, facts(c).accounts.get(name)
    groups = account.groups if account else frozenset()
    ways = {f"user:{name}", *(f"group:{group}" for group in groups)}
    return have.access != "on" or bool(have.members & ways)


def restrict_logins(c: Connection, names: Sequence[str]) -> None:
    """Let only administrators and these accounts log in over SSH.

    Members of Remote Login's list stay on it if the list is in force. If it is not, it is probably
    out of date, so they are removed.
    """
    have = facts(c).ssh
    ours = [f"group:{ADMIN_GROUP}", *(f"user:{name}" for name in names)]
    kept = sorted(have.members) if have.access == "on" else []
    members = dict.fromkeys([*kept, *ours])
    if have.access == "on" and have.members == set(members):
        return
    others = "".join(
        f" and the {member.replace(':', ' ')}" for member in kept if member not in ours
    )
    then: dict[str, str | None] = {"ssh.access": "on"}
    for member in {*members, *have.members}:
        then[f"ssh.member.{member}"] = "yes" if member in members else None
    change(
        c,
        "set_access on" + " %s" * len(members),
        *members,
        undo=("set_access %s" + " %s" * len(have.members), have.access, *sorted(have.members)),
        why=f"let only administrators, {' and '.join(names)}{others} log in over SSH",
        then=then,
    )


def close_remote_login(c: Connection) -> None:
    """Stop Apple's own SSH listener, now and at boot."""
    port = facts(c).ssh.remote_login
    change(
        c,
        "launchctl disable %s && unload_daemon %s",
        f"system/{REMOTE_LOGIN}",
        REMOTE_LOGIN,
        why=f"close port {port}",
        undo=("load_daemon %s %s", REMOTE_LOGIN, REMOTE_PLIST),
        then={"ssh.remote_login": None, f"ssh.port.{port}": None, f"ssh.listening.{port}": None},
    )


# The application firewall decides which programs may listen. It allows Apple's own, such as sshd.


def report_firewall(c: Connection) -> None:
    """Report that the application firewall stays as it is."""
    state = "on" if facts(c).firewall.active else "off"
    console.note(
        f"macOS's own firewall is {state} and stays so: it knows programs, not ports, "
        "and allows sshd"
    )


def allow_port(
    c: Connection, port: int, comment: str = "", protocol: str = "tcp", action: str = "allow"
) -> None:
    """Do nothing: the application firewall knows no ports."""


def copy_rule(c: Connection, rule: Sequence[str], port: int) -> None:
    """Do nothing: the application firewall knows no ports."""


def delete_rule(c: Connection, rule: Sequence[str], port: int) -> None:
    """Do nothing: the application firewall knows no ports."""


def allow_forwarding(c: Connection) -> None:
    """Do nothing: the application firewall knows no forwarding."""


def close_port(c: Connection, port: int, comment: str = "") -> None:
    """Do nothing: the application firewall knows no ports."""
