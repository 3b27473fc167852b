"""macOS 12 to 26: sysadminctl and dscl, launchd, Remote Login.

The account that you log in as is an administrator that is there already, and stays as it is: labfab makes none here. Guide
000's account for JupyterLab is made as the guide has it: standard, hidden, for SSH only.
"""

from __future__ import annotations

import plistlib
from collections.abc import Sequence

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..facts import facts
from ..facts.reader import as_file
from ..host.alias import alias_of
from ..host.changes import change, put
from ..host.session import Host
from ..local_state import passwords, secrets
from ..settings import Settings
from . import launchd as service
from . import programs, sshd
from .pmset import keep_awake  # noqa: F401
from .programs import install  # noqa: F401
from .softwareupdate import reboot, refresh, upgrade, wait_until_settled  # noqa: F401

PATH = service.PATH
HOMES, JUPYTER = (
    "/Users",
    "Library/Jupyter",
)  # where homes are, and where Jupyter keeps its data in one
FILTERS = False  # its firewall knows programs and no ports
# What check.all says of updates, and the commands that it hands to you for what no task mends.
LISTS, WAITING = (
    "Apple's list of updates",
    "updates wait (those that need a restart wait for reboot: true)",
)
UNTOLD = "Apple has not been asked yet"
SET_CLOCK, BIG_FOLDERS, LISTENER = (
    "sntp -sS time.apple.com",
    "du -xh -d 2",
    "lsof -nP -iTCP:{} -sTCP:LISTEN",
)
ADMINS = "admin"  # the group that may use sudo
SECRET = "login-of-lab-user"
# sshd reads every file of the folder, whatever its name.
DROP_IN = "/etc/ssh/sshd_config.d/000-labfab.conf"
INCLUDE = "Include /etc/ssh/sshd_config.d/*"
OWN_SSHD = "org.labfab.sshd"
PLIST = f"/Library/LaunchDaemons/{OWN_SSHD}.plist"
REMOTE_LOGIN, REMOTE_PLIST = "com.openssh.sshd", "/System/Library/LaunchDaemons/ssh.plist"
DOOR = OWN_SSHD  # what an undo takes away last, over another login
PIP_WHEEL = "python3 -c 'import ensurepip, glob; print(*glob.glob(ensurepip.__path__[0] + \"/_bundled/pip-*.whl\"))'"
FIREWALL = ""  # the application firewall is left alone
LAB_USER_LOGS_IN = True  # as in guide 000
# It ends with 0 whatever happens, and tells on stderr what did.
ADD = """\
said=$(sysadminctl -addUser %s -fullName %s -shell /bin/zsh -password - 2>&1)
if [ "$(values /Users/%s UserShell)" != /bin/zsh ] || ! id -u %s >/dev/null 2>&1; then printf '%%s\\n' "$said" >&2; exit 1; fi
case $said in *-14120*) echo "no access" ;; esac
"""
HIDE = "dscl . -create /Users/%s IsHidden 1"
HOME = "createhomedir -c -u %s >/dev/null; [ -d %s ]"
LOGIN_WINDOW = "/Library/Preferences/com.apple.loginwindow"
HIDE_OTHERS = "defaults write %s SHOWOTHERUSERS_MANAGED -bool FALSE"
NO_ACCESS = (
    "macOS keeps who comes in over SSH from its accounts: in System Settings > General > Sharing > Remote Login (i) "
    "switch `Allow full disk access for remote users` on"
)


# Accounts


def add_account(c: Connection, name: str) -> None:
    """Make a standard account, with a password that is kept on the laptop."""
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
        name,
        name,
        name,
        stdin=new_password(c),
        explain=meaning,
        why=f"add the account {name}",
        undo=("account %s", name),
        keep=[f"/Users/{name}"],
        then={f"accounts.{name}.{key}": value for key, value in made.items()},
    )
    if done and done.out.strip():
        console.warn(
            f"[{Host.of(c).label}] the account is there, but {NO_ACCESS}: without it, setup.undo cannot take the account away"
        )


def finish_account(c: Connection, name: str) -> None:
    """Give the account of JupyterLab its home; where labfab made it, the login window neither shows it nor takes its name."""
    account, shown = facts(c).accounts[name], facts(c).system.others_shown
    if not account.home_stat:
        change(
            c,
            HOME,
            name,
            account.home,
            why=f"make {account.home}",
            then={f"accounts.{name}.home_stat": f"750 {name}"},
        )
    if account.ours and not account.hidden:
        why = f"let the login window not show {name}"
        change(
            c, HIDE, name, why=why, undo=("shown %s", name), then={f"accounts.{name}.hidden": "yes"}
        )
    if (account.hidden or account.ours) and shown != "0":
        change(
            c,
            HIDE_OTHERS,
            LOGIN_WINDOW,
            why="let the login window not offer other accounts",
            undo=("others_shown %s", shown),
            keep=[f"{LOGIN_WINDOW}.plist"],
            then={"system.others_shown": "0"},
        )


def new_password(c: Connection) -> str:
    """A password for the account of JupyterLab; generated, for nobody types it, and stored on the laptop."""
    alias = alias_of(c, Settings.of(c))
    kept = secrets.load(alias, SECRET)
    value = kept.reveal() if kept else passwords.generate()
    if not Host.of(c).planning:
        secrets.store(alias, SECRET, value, replace=True)
    return value


def meaning(said: str) -> str:
    """Say what sysadminctl says in the number of a line of its source."""
    if "-14120" in said or "eDSPermissionError" in said:
        return f"{NO_ACCESS}, then the same again"
    lines = [line.rpartition("] ")[2].strip() for line in said.splitlines()]
    return (
        " | ".join(line for line in lines if line.strip("-"))[-300:]
        or "sysadminctl made no account"
    )


def set_password(c: Connection, name: str, value: str) -> None:
    raise SetupError(
        f"{Host.of(c).label}: {name} has no password: give it one at the Mac, in System Settings > Users & Groups"
    )


def join_group(c: Connection, name: str, group: str) -> None:
    raise SetupError(
        f"{Host.of(c).label}: {name} is no administrator of this Mac: log in as one, fab -H ADMIN@… setup.full"
    )


def keep_running(c: Connection, name: str) -> None:
    """Nothing to do: what runs is not ended with the login."""


# sshd


def run_sshd(c: Connection) -> str:
    """Shell text that makes sshd listen as its configuration says: launchd does, and each connection reads the files anew."""
    return "/usr/sbin/sshd -t"


def reload_sshd(c: Connection) -> None:
    """Nothing to do: each connection reads the files anew."""


def venv_packages(c: Connection) -> list[str]:
    """What a virtual environment is made with."""
    return ["python3"]


def guarded_files(c: Connection) -> tuple[str, ...]:
    """The files that decide who gets in."""
    return ("/etc/ssh", "/etc/sudoers", "/etc/sudoers.d", PLIST)


def set_options(c: Connection, options: sshd.Options, why: str) -> None:
    sshd.write(c, DROP_IN, INCLUDE, options, why)


def kept_ports(c: Connection) -> frozenset[int]:
    """Where Remote Login listens, which is Apple's: another port comes beside it."""
    return frozenset({facts(c).ssh.remote_login} - {0})


def listen(c: Connection, ports: frozenset[int] | set[int], why: str) -> None:
    """Have launchd listen for sshd at these ports, but for Remote Login's own."""
    have, own = facts(c).ssh, sorted(ports - kept_ports(c))
    then = sshd.moved(have, sorted(ports))
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
    put(
        c,
        PLIST,
        text,
        why=why,
        old=have.plist,
        check=service.LINT,
        then=as_file("ssh.plist", text, "644", "root"),
    )
    change(
        c,
        "load_daemon %s %s",
        OWN_SSHD,
        PLIST,
        why="have launchd listen there",
        undo=("unload_daemon %s", OWN_SSHD),
        then=then,
    )


def plist(ports: Sequence[int]) -> str:
    """The job for sshd: Apple's own but for the label and the port. The wrapper takes no arguments."""
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


def restrict_logins(c: Connection, names: Sequence[str]) -> None:
    """Let in over SSH administrators, these accounts, and who is on Remote Login's list already, if it is in force."""
    have, ours = facts(c).ssh, [f"group:{ADMINS}", *(f"user:{name}" for name in names)]
    kept = (
        sorted(have.members) if have.access == "on" else []
    )  # else nobody has looked at it for long
    others = "".join(
        f" and the {member.replace(':', ' ')}" for member in kept if member not in ours
    )
    members = dict.fromkeys([*kept, *ours])
    if have.access == "on" and have.members == set(members):
        return
    before = ("set_access %s" + " %s" * len(have.members), have.access, *sorted(have.members))
    change(
        c,
        "set_access on" + " %s" * len(members),
        *members,
        undo=before,
        why=f"let only administrators, {' and '.join(names)}{others} log in over SSH",
        then={
            "ssh.access": "on",
            **{
                f"ssh.member.{member}": "yes" if member in members else None
                for member in {*members, *have.members}
            },
        },
    )


def close_remote_login(c: Connection) -> None:
    """Have Apple's own sshd listen no more, now and after a restart."""
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


# The application firewall asks which programs may listen, and lets those of Apple's, as sshd is one.


def tell_of_firewall(c: Connection) -> None:
    on = facts(c).firewall.active
    console.note(
        f"macOS's own firewall is {'on' if on else 'off'} and stays so: it knows programs and no ports, and lets sshd through"
    )


def allow_port(c: Connection, port: int, comment: str = "") -> None:
    """Nothing to do."""


def close_port(c: Connection, port: int, comment: str = "") -> None:
    """Nothing to do."""


def refuse(c: Connection, want: Settings) -> None:
    """Stop, before the Mac is touched, where the settings want what is for Linux only."""
    label = Host.of(c).label
    programs.refuse(c)
    if c.user == "root":
        raise SetupError(
            f"{label}: root is not the way into a Mac: log in as an administrator, fab -H ADMIN@… setup.full"
        )
    if want.publish == "apache":
        raise SetupError(
            f"{label}: publish: apache is for Debian and Ubuntu: leave publish at tunnel, or take https"
        )
    if want.published and want.certificate == "letsencrypt":
        raise SetupError(
            f"{label}: certificate: letsencrypt is for Debian and Ubuntu: leave certificate at self-signed"
        )
