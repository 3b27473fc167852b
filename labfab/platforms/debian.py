"""Debian and Ubuntu: apt, useradd, systemd, ufw."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..facts import facts
from ..facts.reader import APT_AUTOREMOVE, APT_UPGRADE, planned_file
from ..host import journal
from ..host.changes import change, put
from ..host.remote_file import Values
from ..host.session import Host
from ..on_host import loader
from ..settings import Settings
from ..text import counted, printable
from . import sshd, systemd
from .base import Options, Service
from .restart import restart

service: Service = systemd
LAB_PATH = "/usr/local/bin:/usr/bin:/bin"
HOME_ROOT = "/home"
JUPYTER_DATA = ".local/share/jupyter"
FIND_PIP_WHEEL = loader.as_command("find_pip_wheel")

UPDATE_LIST = "the package lists"
UPDATES_WAIT = "packages wait"
UPDATES_UNKNOWN = "apt cannot tell what it would upgrade"
SET_CLOCK = "timedatectl set-ntp true"
SHOW_BIG_FOLDERS = "du -xh -d 2 -t 100M"
SHOW_LISTENER = "ss -ltnp 'sport = :{}'"

ADMIN_GROUP = "sudo"
POWERFUL_GROUPS = (
    "sudo admin wheel root "
    # They start containers and machines, which can mount the host's disks.
    "docker podman lxd incus incus-admin microk8s libvirt libvirt-qemu kvm vboxusers "
    # They read disks, passwords, logs, memory and keyboards, or write programs that root runs.
    "disk shadow adm systemd-journal kmem input tty staff src netdev lpadmin"
)
SSH_JOB = ""  # sshd changes its ports without ending open sessions
FIREWALL_PACKAGE = "ufw"
FIREWALL_CLOSES_PORTS = True

# Our file of sshd options. Its name sorts before cloud-init's, and the first value wins.
DROP_IN = "/etc/ssh/sshd_config.d/00-labfab.conf"
INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf"

# Debian's unit restarts sshd only if it fails, and not if its port is taken (255). SIGTERM is no
# failure. Without a limit of restarts, sshd is back as soon as the port is free.
SSHD_UNIT = "/etc/systemd/system/ssh.service.d"
RESTARTS = f"{SSHD_UNIT}/labfab.conf"
ALWAYS = """\
# Written by labfab.
[Unit]
StartLimitIntervalSec=0

[Service]
Restart=always
RestartSec=1
RestartPreventExitStatus=
"""
# The empty line takes back the ports of the unit itself.
STREAM_HEAD = "# Written by labfab.\n[Socket]\nListenStream=\n"
# Where ssh.socket listens, if it listens for sshd and no generator tells it sshd's ports.
SOCKET_UNIT = "/etc/systemd/system/ssh.socket.d"
STREAMS = f"{SOCKET_UNIT}/labfab.conf"
# What the guard restores: who may log in and use sudo, and ufw's rules.
SSH_AND_SUDO = ("/etc/ssh", "/etc/sudoers", "/etc/sudoers.d")
UFW = ("/etc/ufw", "/etc/default/ufw")
UFW_RULES = ("/etc/ufw/user.rules", "/etc/ufw/user6.rules")

# NEEDRESTART_MODE and the options for conffiles keep apt from asking; it waits for dpkg's lock.
APT = (
    "DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a apt-get -y -q -o DPkg::Lock::Timeout=600 "
    "-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "
)
UPDATE = loader.as_command("apt_update")
FINISH = (
    "DEBIAN_FRONTEND=noninteractive dpkg --configure -a --force-confdef --force-confold || true"
)
# For the undo, in the journal's folder: what was installed before, and what apt passed to dpkg.
NOTE_PACKAGES = "dpkg-query -W -f '${db:Status-Status} ${Package}\\n' >\"$KEPT.packages\"; "
NOTE_NEW = '-o DPkg::Pre-Install-Pkgs::="cat >>$KEPT.debs" '
FETCH_LISTS = "fetch the package lists"
UNFETCHED = "labfab-unfetched: "  # apt_update.sh begins with it what apt could not fetch
UPGRADES_LATER = "which packages are upgraded is known only after that"

RUN_SSHD = loader.as_command("run_sshd")
# A socket-activated sshd cannot bind its port again after SIGHUP (Debian 13), so it is restarted.
# If no sshd runs, the next one reads the files anyway.
RELOAD = (
    "mkdir -p /run/sshd && /usr/sbin/sshd -t && if systemctl is-active -q ssh; then how=reload; "
    "if systemctl is-active -q ssh.socket; then how=try-restart; fi; systemctl $how ssh; fi"
)
# useradd and the like leave a copy of each file they change, under its name and a dash.
ACCOUNT_BACKUPS = [
    f"/etc/{name}-" for name in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid")
]
# The two halves of a command, around ufw's words for a rule. ufw also succeeds if there is
# no such rule, so its answer decides.
DELETE_RULE = "said=$(LC_ALL=C ufw delete"
DELETED = '); case $said in *eleted* | *updated*) ;; *) echo "$said" >&2; exit 1 ;; esac'


# Packages


def wait_until_settled(c: Connection) -> None:
    """Wait until cloud-init has finished."""
    if facts(c).system.settling:
        wait = "cloud-init status --wait >/dev/null || true"
        change(c, wait, why="wait for cloud-init", long=True, then={"system.settling": None})


def refresh(c: Connection, max_age: int = 0) -> None:
    """Fetch the package lists if they are older than *max_age* hours."""
    if facts(c).updates.older_than(max_age):
        done = change(
            c,
            UPDATE,
            why=FETCH_LISTS,
            long=True,
            then={"updates.age": "0"},
            explain=why_not_fetched,
            caveat=UPGRADES_LATER,
        )
        for line in unfetched(done.out) if done else ():
            console.warn(f"[{Host.of(c).label}] apt cannot fetch {line}")


def unfetched(out: str) -> list[str]:
    """Return the repositories that could not be fetched: file, address and reason."""
    lines = [line for line in out.splitlines() if line.startswith(UNFETCHED)]
    return [printable(line.removeprefix(UNFETCHED)) for line in lines]


def why_not_fetched(out: str) -> str:
    """Return why no package lists were fetched, in apt's words."""
    errors = [line.removeprefix("E: ") for line in out.splitlines() if line.startswith("E: ")]
    return printable("; ".join(unfetched(out)[:1] or errors[:1] or out.splitlines()[-1:]))


def repair(c: Connection) -> None:
    """Finish what dpkg had begun before a power cut or a lost connection stopped it."""
    if not facts(c).updates.interrupted:
        return
    # FINISH fails if a package lacks a dependency, which the second command installs, or if
    # another apt is at work.
    change(c, FINISH, why="finish the interrupted dpkg run", long=True)
    done = {"updates.interrupted": None}
    change(
        c, APT + "--no-remove -f install", why="repair broken dependencies", long=True, then=done
    )


def upgrade(c: Connection) -> None:
    """Install all upgrades. Packages are removed only with the setting `autoremove`."""
    repair(c)
    pending = facts(c).pending
    if pending is None:
        raise SetupError(
            "apt cannot tell what to upgrade: see `apt-get -s upgrade` there",
            host=Host.of(c).label,
        )
    if pending:
        command = APT + (APT_AUTOREMOVE if Settings.of(c).autoremove else APT_UPGRADE)
        which = "; ".join(part for part in (counted(pending, "package"), facts(c).upgrades) if part)
        why = f"upgrade the system ({which})"
        then = {"upgrades.pending": "0"}
        change(c, command, why=why, long=True, then=then, permanent=True)


def install(c: Connection, *packages: str, undo: str = "") -> None:
    """Install the packages that are missing.

    undo: the command of undo.sh that removes them; empty: packages.
    """
    have = facts(c)
    missing = [name for name in packages if name not in have.system.packages]
    if not missing:
        return
    # Taken now: fetching the lists does not change it, but would make labfab read it again.
    interrupted = have.updates.interrupted
    refresh(c, Settings.of(c).update_max_age)
    if interrupted:
        repair(c)
    # Without recommended packages. If a package does not exist, apt's own error names it.
    command = (
        f"{NOTE_PACKAGES}NEEDRESTART_SUSPEND=1 {APT}{NOTE_NEW}install --no-remove "
        "--no-install-recommends" + " %s" * len(missing)
    )
    then = {f"system.package.{name}": "yes" for name in missing}
    why = f"install {', '.join(missing)}"
    change(c, command, *missing, why=why, undo=(undo or "packages",), long=True, then=then)


def venv_packages(c: Connection) -> list[str]:
    """Return what a virtual environment needs; python3-venv would bring a dozen more packages."""
    packages = ["python3", "python3-pip-whl"]
    if facts(c).system.version == "22.04":
        packages.append("python3-distutils")  # its pip imports distutils
    return packages


def refuse_unsupported(c: Connection, want: Settings) -> None:
    """Warn if nothing starts services; everything else works."""
    if not facts(c).system.systemd:
        console.warn("systemd does not run here: services may not start")


# Accounts


def add_account(c: Connection, name: str) -> None:
    """Add an account with a home that only it can enter, and without a password."""
    found = facts(c).leftovers.get(name)
    home = found.home if found else f"/home/{name}"
    made = {
        "uid": "1000",
        "home": home,
        "shell": "/bin/bash",
        "groups": name,
        "home_stat": f"700 {name}",
        "ours": "yes",
    }
    change(
        c,
        "useradd --create-home -K HOME_MODE=0700 --shell /bin/bash %s",
        name,
        why=f"add the account {name}",
        undo=("account %s", name),
        keep=[*ACCOUNT_BACKUPS, home],
        then={f"accounts.{name}.{key}": value for key, value in made.items()},
    )


def finish_account(c: Connection, name: str) -> None:
    """Do nothing: useradd does it all."""


def set_password(c: Connection, name: str, password: str) -> None:
    """Set a password, passed on standard input."""
    change(
        c,
        "chpasswd",
        stdin=f"{name}:{password}\n",
        why=f"give {name} a password for sudo",
        undo=("password %s", name),
        keep=["/etc/shadow", *ACCOUNT_BACKUPS],
        then={f"accounts.{name}.password": "P"},
        explain=why_password_is_refused,
    )


def why_password_is_refused(out: str) -> str:
    """Return PAM's reasons, and what to do about them."""
    bad = [line.partition("BAD PASSWORD:")[2].strip() for line in out.splitlines()]
    words = "; ".join(dict.fromkeys(filter(None, bad))) or " | ".join(out.splitlines()[-3:])
    return f"{printable(words)}: give another one, in LABFAB_SUDO_PASSWORD"


def join_group(c: Connection, name: str, group: str) -> None:
    """Add an account to a group."""
    groups = " ".join([*facts(c).accounts[name].groups, group])
    change(
        c,
        "usermod --append --groups %s %s",
        group,
        name,
        why=f"add {name} to the group {group}",
        undo=("group %s %s", name, group),
        keep=ACCOUNT_BACKUPS,
        then={f"accounts.{name}.groups": groups},
    )


def keep_after_logout(c: Connection, name: str) -> None:
    """Let systemd keep the account's processes after logout."""
    change(
        c,
        "loginctl enable-linger %s",
        name,
        why=f"keep {name}'s programs running after logout",
        undo=("linger %s", name),
        then={f"accounts.{name}.linger": "yes"},
    )


# sshd


def run_sshd(c: Connection) -> str:
    """Return shell text that makes sshd listen as configured; open sessions stay open.

    It fails unless sshd listens then. On Ubuntu, from 22.10 on, a generator writes the ports of
    ssh.socket from sshd's configuration at daemon-reload.
    """
    return RUN_SSHD if facts(c).system.systemd else "/usr/sbin/sshd -t && service ssh restart"


def lets_in(c: Connection, name: str) -> bool:
    """Return True: there is no list beside sshd's own options, which a login proves."""
    return True


def keep_sshd_running(c: Connection) -> None:
    """Make systemd start sshd again whenever it ends, whoever ended it."""
    if not facts(c).system.systemd:
        return
    why = "let systemd start sshd again whenever it ends"
    old, then = facts(c).ssh.restarts, planned_file("ssh.restarts", ALWAYS, "644", "root")
    if old and (old.content, old.mode, old.owner) == (ALWAYS, "644", "root"):
        return
    make_folder(c, SSHD_UNIT)
    put(c, RESTARTS, ALWAYS, why=why, old=old, then=then)
    change(c, "systemctl daemon-reload", why="reload systemd", undo=(journal.SSHD_READS,))


def make_folder(c: Connection, folder: str) -> None:
    """Make a folder for systemd's options of a unit of sshd."""
    change(
        c,
        "mkdir -p %s",
        folder,
        why="make a folder for systemd's options of sshd",
        undo=("folder %s", folder),
        keep=[folder],
    )


def guarded_files(c: Connection) -> tuple[str, ...]:
    """Return the files that decide who can log in.

    ufw's files count only if it is installed: its package may add them while the guard is armed.
    """
    have = facts(c).system
    units = (SSHD_UNIT, SOCKET_UNIT) if have.systemd else ()
    return SSH_AND_SUDO + units + (UFW if FIREWALL_PACKAGE in have.packages else ())


def set_options(c: Connection, options: Options, why: str, then: Values | None = None) -> None:
    """Set options of sshd in our file. then: facts that become true for everybody."""
    sshd.write(c, DROP_IN, INCLUDE, options, why, then)


def reload_sshd(c: Connection) -> None:
    """Reload sshd; its ports stay as they are."""
    change(c, RELOAD, why="reload sshd", undo=(journal.SSHD_READS,))


def ports_to_keep(c: Connection) -> frozenset[int]:
    """Return no ports: sshd may leave any of them."""
    return frozenset()


def listen_on(c: Connection, ports: AbstractSet[int], why: str) -> None:
    """Make sshd listen on these ports and no others."""
    set_options(c, {"Port": [str(port) for port in sorted(ports)]}, why)
    if facts(c).ssh.socket_needs_ports:
        open_socket(c, ports, why)
    change(c, run_sshd(c), why="restart sshd", undo=(journal.SSHD_READS,))


def open_socket(c: Connection, ports: AbstractSet[int], why: str) -> None:
    """Tell ssh.socket the ports: nothing on this system takes them from sshd's configuration."""
    text = STREAM_HEAD + "".join(f"ListenStream={port}\n" for port in sorted(ports))
    old = facts(c).ssh.streams
    if not old:
        make_folder(c, SOCKET_UNIT)
    then = planned_file("ssh.streams", text, "644", "root")
    put(c, STREAMS, text, why=f"{why} (ssh.socket)", old=old, then=then)


def restrict_logins(c: Connection, names: Sequence[str]) -> None:
    """Refuse: sshd's AllowUsers is for the user to set."""
    raise SetupError(
        "only macOS has Remote Login's list of accounts; here, write AllowUsers for sshd yourself",
        host=Host.of(c).label,
    )


def close_remote_login(c: Connection) -> None:
    """Refuse: there is no Remote Login here."""
    raise SetupError("only macOS has Remote Login", host=Host.of(c).label)


# Firewall


def report_firewall(c: Connection) -> None:
    """Report nothing: labfab sets up ufw itself."""


def allow_port(
    c: Connection, port: int, comment: str = "", protocol: str = "tcp", action: str = "allow"
) -> None:
    """Open a port. comment: marks the rule, so that close_port() finds it.

    action: allow, or limit: five new connections in 30 s from one address.
    """
    rule = f"{action} {port}/{protocol}"
    words: tuple[str, ...] = ()
    if comment:
        rule, words = f"{rule} comment={comment.encode().hex()}", ("comment", comment)
    is_tcp = protocol == "tcp"
    change(
        c,
        "ufw %s %s/%s" + " %s" * len(words),
        action,
        port,
        protocol,
        *words,
        why=(f"open port {port}" if is_tcp else f"open UDP port {port}")
        + (" (ufw limit)" if action == "limit" else ""),
        undo=("firewall delete %s %s/%s", action, str(port), protocol),
        keep=UFW_RULES,
        then={f"firewall.allowed{'' if is_tcp else '_udp'}.{port}": rule},
    )


def copy_rule(c: Connection, rule: Sequence[str], port: int) -> None:
    """Write a rule for some senders once more, for another port."""
    words = for_port(rule, port)
    if tuple(words) in facts(c).firewall.partial.get(port, ()):
        return
    change(
        c,
        "ufw" + " %s" * len(words),
        *words,
        why=f"keep the firewall's rule: {' '.join(bare(words))}",
        undo=("firewall delete" + " %s" * len(bare(words)), *bare(words)),
        keep=UFW_RULES,
        then={f"firewall.partial.{port}": as_fact(facts(c).firewall.partial.get(port, ()), words)},
    )


def for_port(rule: Sequence[str], port: int) -> list[str]:
    """Return the words of a rule with another port. A profile of ufw stands for its own port."""
    words, comment = bare(rule), rule[len(bare(rule)) :]
    at = max(at for at, word in enumerate(words) if word in ("port", "app"))
    if words[at] == "app":
        first = words.index("from")
        words[first:first] = ["proto", "tcp"]
        at += 2
    words[at : at + 2] = ["port", str(port)]
    return [*words, *comment]


def bare(rule: Sequence[str]) -> list[str]:
    """Return a rule without its comment."""
    return list(rule[: list(rule).index("comment")] if "comment" in rule else rule)


def as_fact(known: Sequence[Sequence[str]], new: Sequence[str]) -> str:
    """Return the rules of a port as facts.linux.sh prints them, without comments."""
    return ";".join(" ".join(bare(rule)).replace(";", " ") for rule in (*known, new))


def delete_rule(c: Connection, rule: Sequence[str], port: int) -> None:
    """Delete a rule for some senders of this port, if it is for no other port."""
    if "app" not in rule and str(port) not in rule:
        return
    left = [other for other in facts(c).firewall.partial.get(port, ()) if other != tuple(rule)]
    fact = ";".join(" ".join(bare(other)) for other in left)
    why = f"delete the firewall's rule: {' '.join(bare(rule))}"
    drop_rule(c, rule, why, {f"firewall.partial.{port}": fact or None})


def drop_rule(c: Connection, rule: Sequence[str], why: str, then: dict[str, str | None]) -> None:
    """Delete a rule of ufw. then: the facts that a plan assumes."""
    words, again = bare(rule), ("firewall" + " %s" * len(rule), *rule)
    change(c, DELETE_RULE + " %s" * len(words) + DELETED, *words, why=why, undo=again, then=then)


def allow_forwarding(c: Connection) -> None:
    """Let the firewall pass what the host forwards for others."""
    change(
        c,
        "ufw default allow routed",
        why="let the firewall pass what this host forwards",
        undo=("firewall default %s routed", facts(c).firewall.forward or "deny"),
        then={"firewall.forward": "allow"},
    )


def close_port(c: Connection, port: int, comment: str = "") -> None:
    """Delete the rules that open this TCP port alone. comment: only rules marked with it."""
    rules = facts(c).firewall.rules[port]
    if comment:
        rules = [rule for rule in rules if rule[-2:] == ("comment", comment)]
    if not rules:
        console.note(
            f"port {port} stays open in the firewall: the rule that opens it also opens other ports"
        )
    for rule in rules:
        which = f" ({' '.join(bare(rule))})" if len(rules) > 1 else ""
        drop_rule(c, rule, f"close port {port}{which}", {f"firewall.allowed.{port}": None})


# Power


def keep_awake(c: Connection) -> None:
    """Report that there is nothing to do."""
    console.note("servers running Debian or Ubuntu do not go to sleep")


def reboot(c: Connection) -> None:
    """Restart the machine and wait until the new boot answers."""
    restart(c, "systemctl reboot")
