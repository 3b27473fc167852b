"""Debian and Ubuntu: apt, adduser, systemd, ufw."""

from __future__ import annotations

from collections.abc import Sequence

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..facts import facts
from ..host import journal
from ..host.changes import change
from ..host.session import Host
from ..settings import Settings
from . import sshd
from . import systemd as service  # noqa: F401  who starts JupyterLab at boot
from .restart import restart

PATH = "/usr/local/bin:/usr/bin:/bin"  # of JupyterLab and its kernels, after that of its Python
HOMES, JUPYTER = (
    "/home",
    ".local/share/jupyter",
)  # where homes are, and where Jupyter keeps its data in one
FILTERS = True  # its firewall closes ports
# What check.all says of updates, and the commands that it hands to you for what no task mends.
LISTS, WAITING, UNTOLD = (
    "the package lists",
    "packages wait",
    "apt cannot tell what it would upgrade",
)
SET_CLOCK, BIG_FOLDERS, LISTENER = (
    "timedatectl set-ntp true",
    "du -xh -d 2 -t 100M",
    "ss -ltnp 'sport = :{}'",
)
ADMINS = "sudo"  # the group that may use sudo
# It comes before cloud-init's file.
DROP_IN = "/etc/ssh/sshd_config.d/00-labfab.conf"
INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf"
DOORS, WALLS = (
    ("/etc/ssh", "/etc/sudoers", "/etc/sudoers.d"),
    ("/etc/ufw", "/etc/default/ufw"),
)  # the files that decide who gets in
DOOR = ""  # sshd changes ports without ending the login that it is told by
FIREWALL = "ufw"
LAB_USER_LOGS_IN = False
# NEEDRESTART_MODE and the conffile options keep apt from asking; it waits for dpkg's lock by itself.
APT = (
    "DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a apt-get -y -q -o DPkg::Lock::Timeout=600 "
    "-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "
)
# DPkg::Lock::Timeout does nothing for the lock of the lists (tried with apt 2.6), so update is tried again. The translations of
# what packages say of themselves are a third of it, and no part of what is installed: those that are there stay.
UPDATE = (
    "tries=60; until out=$("
    + APT
    + "-o Acquire::Languages=none -o APT::Get::List-Cleanup=false update 2>&1); do "
    "case $out in *lists/lock*) ;; *) printf '%%s\\n' \"$out\"; exit 100 ;; esac; "
    "tries=$((tries - 1)); [ $tries -gt 0 ] || { printf '%%s\\n' \"$out\"; exit 100; }; echo waiting for another apt; sleep 5; done; "
    "mkdir -p /var/cache/labfab && touch /var/cache/labfab/updated"
)
# Where the wheel of pip is. Who is quicker than apt installs it takes it out of its package, once apt has fetched its lists.
PIP_WHEEL = (
    "tries=100; end=$(( $(date +%%s) + 600 )); while [ $tries -gt 0 ] && [ $(date +%%s) -lt $end ]; do "
    "ls /usr/share/python-wheels/pip-*.whl ~/.cache/labfab/pip/usr/share/python-wheels/pip-*.whl 2>/dev/null | grep -m 1 . && break; "
    "if pgrep -f '^apt-get .* Acquire::Languages=none .*update$' >/dev/null; then sleep 0.1; continue; fi; tries=$((tries - 1)); "
    "(mkdir -p ~/.cache/labfab/pip && cd ~/.cache/labfab/pip && apt-get -q download python3-pip-whl && "
    "dpkg-deb -x python3-pip-whl_*.deb .) >/dev/null 2>&1 || sleep 0.5; done"
)
# Several restarts within seconds count as a crash loop, and systemd would refuse the next one.
UNBLOCK = "systemctl reset-failed ssh.service ssh.socket 2>/dev/null"
FINISH = (
    "DEBIAN_FRONTEND=noninteractive dpkg --configure -a --force-confdef --force-confold || true"
)
# A socket-activated sshd cannot bind anew after SIGHUP (Debian 13), and where none runs the next one reads the file.
RELOAD = (
    "mkdir -p /run/sshd && /usr/sbin/sshd -t && if systemctl is-active -q ssh; then how=reload; "
    "if systemctl is-active -q ssh.socket; then how=try-restart; fi; systemctl $how ssh; fi"
)
# For the way back: what is installed already, and what apt hands to dpkg.
NOTE_PACKAGES = "dpkg-query -W -f '${db:Status-Status} ${Package}\\n' >\"$KEPT.packages\"; "
HOOK = '-o DPkg::Pre-Install-Pkgs::="cat >>$KEPT.debs" '
# useradd and its kin keep a copy of each of their files beside it.
ACCOUNTS = [
    f"/etc/{name}-" for name in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid")
]
FETCH, LATER = "fetch the package lists", "which packages are upgraded is known only after that"
# ufw says so, and succeeds, where there is no such rule.
DELETE_RULE, DELETED = (
    "said=$(LC_ALL=C ufw delete",
    '); case $said in *eleted* | *updated*) ;; *) echo "$said" >&2; exit 1 ;; esac',
)


def wait_until_settled(c: Connection) -> None:
    """Let a machine that was just made finish its own first setup."""
    if facts(c).system.settling:
        wait = "cloud-init status --wait >/dev/null || true"
        change(c, wait, why="wait for cloud-init", long=True, then={"system.settling": None})


def refresh(c: Connection, max_age: int = 0) -> None:
    """Fetch the package lists when they are older than *max_age* hours."""
    if facts(c).updates.older_than(max_age):
        change(c, UPDATE, why=FETCH, long=True, then={"updates.age": "0"})
        if Host.of(c).planning:
            console.note(LATER)


def mend(c: Connection) -> None:
    """Finish what dpkg was stopped in, by a power cut or a lost connection."""
    if facts(c).updates.interrupted:
        # It fails where a package still lacks another, which the second command brings, or while another apt works.
        change(c, FINISH, why="finish what dpkg was stopped in", long=True)
        change(
            c,
            APT + "-f install",
            why="mend broken dependencies",
            long=True,
            then={"updates.interrupted": None},
        )


def upgrade(c: Connection) -> None:
    """Install every upgrade and remove what nothing needs any more."""
    mend(c)
    pending = facts(c).pending
    if pending is None:
        raise SetupError(
            f"{Host.of(c).label}: apt cannot tell what to upgrade: see `apt-get -s dist-upgrade` there"
        )
    if pending:
        command = f"{APT} upgrade && {APT} dist-upgrade && {APT} --purge autoremove"
        change(
            c,
            command,
            why=f"upgrade the system ({pending} packages)",
            long=True,
            then={"upgrades.pending": "0"},
        )


def install(c: Connection, *packages: str, undo: str = "packages") -> None:
    """Install the packages that are missing. undo: command of undo.sh that takes them away again."""
    missing = [name for name in packages if name not in facts(c).system.packages]
    if not missing:
        return
    interrupted = facts(c).updates.interrupted  # asked before, for the lists do not change it
    refresh(c, Settings.of(c).update_max_age)
    if interrupted:
        mend(c)
    # Set free of suggestions; a missing package stops here with apt's own words.
    command = (
        NOTE_PACKAGES
        + "NEEDRESTART_SUSPEND=1 "
        + APT
        + HOOK
        + "install --no-install-recommends"
        + " %s" * len(missing)
    )
    then = {f"system.package.{name}": "yes" for name in missing}
    change(
        c,
        command,
        *missing,
        why=f"install {', '.join(missing)}",
        undo=(undo,),
        long=True,
        then=then,
    )


def venv_packages(c: Connection) -> list[str]:
    """What a virtual environment is made with; python3-venv would bring a dozen more. Ubuntu 22.04's pip imports distutils."""
    return [
        "python3",
        "python3-pip-whl",
        *["python3-distutils"] * (facts(c).system.version == "22.04"),
    ]


def add_account(c: Connection, name: str) -> None:
    """Make an account with a home and no password."""
    made = {
        "uid": "1000",
        "home": f"/home/{name}",
        "shell": "/bin/bash",
        "groups": name,
        "home_stat": f"755 {name}",
    }
    change(
        c,
        "useradd --create-home --shell /bin/bash %s",
        name,
        why=f"add the account {name}",
        undo=("account %s", name),
        keep=[*ACCOUNTS, f"/home/{name}"],
        then={f"accounts.{name}.{key}": value for key, value in made.items()},
    )


def finish_account(c: Connection, name: str) -> None:
    """Nothing is left to do: useradd does it all."""


def set_password(c: Connection, name: str, password: str) -> None:
    """Set a password, handed over on standard input."""
    change(
        c,
        "chpasswd",
        stdin=f"{name}:{password}\n",
        why=f"give {name} a password for sudo",
        undo=("password %s", name),
        keep=["/etc/shadow", *ACCOUNTS],
        then={f"accounts.{name}.password": "P"},
    )


def join_group(c: Connection, name: str, group: str) -> None:
    groups = " ".join([*facts(c).accounts[name].groups, group])
    change(
        c,
        "usermod --append --groups %s %s",
        group,
        name,
        why=f"add {name} to the group {group}",
        undo=("group %s %s", name, group),
        keep=ACCOUNTS,
        then={f"accounts.{name}.groups": groups},
    )


def keep_running(c: Connection, name: str) -> None:
    """Let an account's processes outlive its logins."""
    change(
        c,
        "loginctl enable-linger %s",
        name,
        why=f"let {name}'s programs run on after logout",
        undo=("linger %s", name),
        then={f"accounts.{name}.linger": "yes"},
    )


def run_sshd(c: Connection) -> str:
    """Shell text that makes sshd listen as its configuration says; sessions that are open stay open.

    Ubuntu from 22.10 on lets systemd listen: there a generator writes the socket from sshd's configuration at
    daemon-reload, and only the socket's restart makes it listen anew.
    """
    if not facts(c).system.systemd:
        return "/usr/sbin/sshd -t && service ssh restart"
    if facts(c).ssh.socket_activated:
        return f"/usr/sbin/sshd -t && systemctl daemon-reload && {{ {UNBLOCK}; systemctl restart ssh.socket; }}"
    return f"/usr/sbin/sshd -t && {{ {UNBLOCK}; systemctl restart ssh; }}"


def guarded_files(c: Connection) -> tuple[str, ...]:
    """The files that decide who gets in. Those of a firewall that is not there may come with its package meanwhile."""
    return DOORS + WALLS * (FIREWALL in facts(c).system.packages)


def set_options(c: Connection, options: sshd.Options, why: str) -> None:
    sshd.write(c, DROP_IN, INCLUDE, options, why)


def kept_ports(c: Connection) -> frozenset[int]:
    """The ports of sshd that are not to be left: none."""
    return frozenset()


def listen(c: Connection, ports: frozenset[int] | set[int], why: str) -> None:
    """Make sshd listen at these ports and no other."""
    command = run_sshd(c)
    set_options(c, {"Port": [str(port) for port in sorted(ports)]}, why)
    change(c, command, why="make sshd listen anew", undo=(journal.SSHD_READS,))


def reload_sshd(c: Connection) -> None:
    """Make sshd read its configuration, without touching what it listens on."""
    change(c, RELOAD, why="make sshd read it", undo=(journal.SSHD_READS,))


def restrict_logins(c: Connection, names: Sequence[str]) -> None:
    raise SetupError(
        f"{Host.of(c).label}: only macOS has Remote Login's list of accounts; here sshd's AllowUsers is yours to write"
    )


def allow_port(c: Connection, port: int, comment: str = "") -> None:
    """Let a TCP port through the firewall. comment: by which the rule is known again."""
    undo = ("firewall delete allow %s/tcp", str(port))
    rule = f"allow {port}/tcp" + f" comment={comment.encode().hex()}" * bool(comment)
    words = ("comment", comment) if comment else ()
    change(
        c,
        "ufw allow %s/tcp" + " %s" * len(words),
        port,
        *words,
        why=f"open port {port}",
        undo=undo,
        then={f"firewall.allowed.{port}": rule},
    )


def close_port(c: Connection, port: int, comment: str = "") -> None:
    """Take a TCP port out of the firewall's rules, as far as they are for this port alone. comment: only those with this one."""
    have = [
        rule
        for rule in facts(c).firewall.rules[port]
        if not comment or rule[-2:] == ("comment", comment)
    ]
    for rule in have:
        bare = rule[: rule.index("comment")] if "comment" in rule else rule
        why = f"close port {port}" + f" ({' '.join(bare)})" * (len(have) > 1)
        undo = ("firewall" + " %s" * len(rule), *rule)
        change(
            c,
            DELETE_RULE + " %s" * len(bare) + DELETED,
            *bare,
            why=why,
            undo=undo,
            then={f"firewall.allowed.{port}": None},
        )
    if not have:
        console.note(
            f"port {port} stays open in the firewall: the rule that opens it is for other ports too"
        )


def refuse(c: Connection, want: Settings) -> None:
    """Everything that can be set is for here; warn where nothing starts services."""
    if not facts(c).system.systemd:
        console.warn("systemd does not run here: services may not start")


def keep_awake(c: Connection) -> None:
    """Say that there is nothing to do."""
    console.note("a server of Debian or Ubuntu does not go to sleep by itself")


def reboot(c: Connection) -> None:
    """Restart the machine and wait until a new boot answers."""
    restart(c, "systemctl reboot")
