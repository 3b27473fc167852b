"""Sabotages: for each row of check.all something that breaks it and nothing else, and what mends it."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import squatter
from .fab import Fab
from .host import Host

DROP_IN = "/etc/ssh/sshd_config.d/00-labfab.conf"
JUPYTER = "/home/lab/.jupyter"
CONFIG = f"{JUPYTER}/jupyter_server_config"
KERNEL = "/home/lab/jupyter-venv/share/jupyter/kernels/python3/kernel.json"
PACKAGES = "/home/lab/jupyter-venv/lib/python3*/site-packages"
PASSWORD = ".config/labfab/homelab/jupyter-password"
GUARD, LINGER, VERDICT = (
    "/var/lib/labfab/guard",
    "/var/lib/systemd/linger/lab",
    "/var/cache/labfab/verdict",
)
KEEP, BACK = f"cp -p {DROP_IN} /run/kept", f"cp -p /run/kept {DROP_IN}"
RELOAD = "systemctl reload ssh; sleep 0.3"
SERVE = """
nohup python3 -m http.server --bind %s %s >/dev/null 2>&1 & echo $! >/run/server
for i in $(seq 100); do ss -Hltnp | grep -q "pid=$(cat /run/server)," && exit 0; sleep 0.1; done; exit 1
"""
UNSERVE = "kill $(cat /run/server)"
RESTART = r"""
gone() { for i in $(seq 100); do "$@" >/dev/null 2>&1 || return 0; sleep 0.1; done; exit 1; }
pid=$(ss -Hltnp 'sport = :9999' | sed -nE 's/.*pid=([0-9]+).*/\1/p'); kill $pid; gone kill -0 $pid
gone runuser -u lab -- tmux has-session -t =jupyter
cd /home/lab
HOME=/home/lab runuser -u lab -- sh -c "umask 077; tmux new-session -d -s jupyter 'exec ~/jupyter-venv/bin/jupyter-lab --no-browser'"
for i in $(seq 200); do curl -s http://127.0.0.1:9999/api >/dev/null && exit 0; sleep 0.1; done; exit 1
"""
# The JSON beside it wins, but not over a class of its own.
ANY_PASSWORD = """
from jupyter_server.auth.identity import PasswordIdentityProvider
class Any(PasswordIdentityProvider):
    def passwd_check(self, password):
        return True
c.ServerApp.identity_provider_class = Any
"""
NO_PASSWORD = """
from jupyter_server.auth.identity import PasswordIdentityProvider
class Open(PasswordIdentityProvider):
    pass
c.ServerApp.identity_provider_class = Open
c.Open.token = c.Open.hashed_password = ""
"""
SLOW_DATE = """
printf '#!/bin/sh\\n[ "$*" = +%%s ] && exec /bin/date -d "now + 90 seconds" +%%s; exec /bin/date "$@"\\n' >/usr/local/bin/date
chmod 755 /usr/local/bin/date
"""


@dataclass
class Place:
    """The machine that is set up, and the laptop it was set up from."""

    host: Host
    fab: Fab
    env: dict[str, str]  # the settings it was set up with

    @property
    def home(self) -> Path:
        return self.fab.home


Act = str | Callable[[Place], None]  # a command for root on the host, or something to do from here


@dataclass
class Case:
    """What breaks one row, what mends it, the state that it turns to and what it says then."""

    row: str
    breaks: Act
    mends: Act
    state: str = "fail"
    says: str = ""
    also: dict[str, str] = field(
        default_factory=dict
    )  # other rows that ask the same, and their states


def do(place: Place, act: Act) -> None:
    place.host.run(act) if isinstance(act, str) else act(place)


def sshd(line: str) -> str:
    """Put a line first in sshd's first file and reload sshd."""
    return f"{KEEP}; {{ echo {line!r}; cat /run/kept; }} >{DROP_IN}; {RELOAD}"


def lab(text: str) -> str:
    """Run Lab with a configuration in Python beside ours."""
    return f"cat >{CONFIG}.py <<'E'\n{text}\nE\n{RESTART}"


def squat(place: Place) -> None:
    """End JupyterLab and let another account answer in its place; the tmux session stays."""
    place.host.run("pkill -u lab -f bin/jupyter-lab")
    squatter.take(place.host, "side")
    place.host.run("runuser -u lab -- tmux new-session -d -s jupyter 'sleep 600'")


def unsquat(place: Place) -> None:
    """Undo squat()."""
    place.host.run(f"runuser -u lab -- tmux kill-session -t =jupyter; {RESTART}")
    squatter.leave(place.host, "side")


def laptop(relative: str, change: Callable[[Path], None]) -> Callable[[Place], None]:
    """Change a file of the laptop."""
    return lambda place: change(place.home / relative)


def forget_pin(place: Place) -> None:
    path = place.home / ".ssh" / "known_hosts"
    shutil.copy(path, place.home / "known_hosts.kept")
    path.write_text("")


def pin_again(place: Place) -> None:
    shutil.copy(place.home / "known_hosts.kept", place.home / ".ssh" / "known_hosts")


def moved(path: str, to: str) -> tuple[str, str]:
    """Move something away, and back."""
    return f"mv {path} {to}", f"mv {to} {path}"


def mode(path: str, wrong: int, right: int) -> tuple[str, str]:
    return f"chmod {wrong} {path}", f"chmod {right} {path}"


def edited(path: str, command: str) -> tuple[str, str]:
    """Change a file with sed, and bring it back."""
    return f"sed -i.kept -E '{command}' {path}", f"mv {path}.kept {path}"


def disk(size: int) -> tuple[str, str]:
    """Have a small disk in the notebooks' folder and write that many kilobytes of its 400 on it."""
    folder = "/home/lab/notebooks"
    return (
        f"mount -t tmpfs -o size=400k none {folder}; head -c {size}k /dev/zero >{folder}/big || true",
        f"umount {folder}",
    )


NO_BOOT = """\
for unit in ssh.service ssh.socket; do ! systemctl is-enabled -q $unit || echo $unit; done >/root/enabled
xargs systemctl disable -q </root/enabled"""

CASES = [
    Case("ssh-reach", "systemctl stop ssh", "systemctl start ssh"),
    Case("ssh-host-key", forget_pin, pin_again),
    Case("ssh-login", *moved("/home/lab/.ssh/authorized_keys", "/home/lab/keys")),
    Case("ssh-password", sshd("PasswordAuthentication yes"), f"{BACK}; {RELOAD}"),
    Case("ssh-root", sshd("PermitRootLogin prohibit-password"), f"{BACK}; {RELOAD}"),
    Case(
        "ssh-offered",
        sshd("HostbasedAuthentication yes"),
        f"{BACK}; {RELOAD}",
        "warn",
        "keys of other hosts",
    ),
    Case(
        "ssh-config",
        f"{KEEP}; printf 'Match User side\\nPasswordAuthentication yes\\n' >>{DROP_IN}",
        BACK,
    ),
    Case(
        "ssh-algorithms", sshd("MACs hmac-sha1,hmac-sha2-256-etm@openssh.com"), f"{BACK}; {RELOAD}"
    ),
    Case(
        "ssh-port",
        f"{KEEP}; echo 'Port 2222' >>{DROP_IN}",
        BACK,
        "warn",
        "take port 2222",
        also={"ssh-boot": "fail"},
    ),
    Case("ssh-boot", NO_BOOT, "xargs systemctl enable -q </root/enabled", says="after a boot"),
    Case("secrets-keys", "mkdir -m 777 /home/side/.ssh", "rmdir /home/side/.ssh"),
    Case("secrets-keys", *mode("/home/lab/.ssh/authorized_keys", 644, 600)),
    Case("secrets-jupyter", *mode(f"{CONFIG}.json", 644, 600)),
    Case("secrets-jupyter", *mode(f"{JUPYTER}/lab.log", 640, 600)),
    Case("secrets-notebooks", *mode("/home/lab/notebooks", 755, 700)),
    Case("secrets-notebooks", *mode("/home/lab", 750, 700)),
    Case(
        "secrets-sudo",
        "echo >/etc/sudoers.d/more; chmod 446 /etc/sudoers.d/more",
        "rm /etc/sudoers.d/more",
    ),
    Case("secrets-journal", *mode("/var/lib/labfab", 755, 700)),
    Case("secrets-host-keys", *mode("/etc/ssh/ssh_host_rsa_key", 640, 600)),
    Case(
        "secrets-laptop",
        laptop(PASSWORD, lambda path: path.chmod(0o644)),
        laptop(PASSWORD, lambda path: path.chmod(0o600)),
    ),
    Case(
        "ports-answering",
        "iptables -t nat -A PREROUTING -p tcp --dport 8888 -j REDIRECT --to-ports 292",
        "iptables -t nat -F PREROUTING",
    ),
    Case(
        "ports-answering",
        f"iptables -I INPUT -p tcp --dport 8765 -j ACCEPT; {SERVE % ('0.0.0.0', 8765)}",
        f"{UNSERVE}; iptables -D INPUT 1",
    ),
    Case("ports-listening", SERVE % ("0.0.0.0", 8765), UNSERVE),
    Case("ports-firewall", "ufw disable", "ufw --force enable"),
    Case("ports-firewall", "ufw default allow incoming", "ufw default deny incoming"),
    Case("ports-firewall", "ufw allow 8765/tcp", "ufw delete allow 8765/tcp", "warn"),
    Case(
        "lab-api",
        "iptables -I INPUT -i lo -p tcp --dport 9999 -j REJECT --reject-with tcp-reset",
        "iptables -D INPUT 1",
    ),
    Case("lab-owner", squat, unsquat, says="held by python3 of side: no secret was sent there"),
    Case("lab-loopback", SERVE % ("$(hostname -i)", 9999), UNSERVE),
    Case(
        "lab-version",
        f"cd {PACKAGES}; mv jupyter_server-2.*-info /run/info; mkdir jupyter_server-2.10.0.dist-info",
        f"cd {PACKAGES}; rmdir jupyter_server-2.10.0.dist-info; mv /run/info $(cat /run/version)",
    ),
    Case(
        "lab-version",
        f"cd {PACKAGES}; mv jupyterlab-4.*-info /run/lab; mkdir jupyterlab-4.6.3.dist-info",
        f"cd {PACKAGES}; rmdir jupyterlab-4.6.3.dist-info; mv /run/lab $(cat /run/lab-version)",
    ),
    Case(
        "lab-session",
        *(
            f"runuser -u lab -- tmux rename-session -t ={a} {b}"
            for a, b in (("jupyter", "other"), ("other", "jupyter"))
        ),
    ),
    Case("lab-linger", *moved(LINGER, "/run/linger")),
    Case("lab-token", *edited(f"{CONFIG}.json", 's/"token": "/&0/')),
    Case(
        "lab-password",
        laptop(PASSWORD, lambda path: path.write_text(f"x{path.read_text()}")),
        laptop(PASSWORD, lambda path: path.write_text(path.read_text()[1:])),
    ),
    Case("lab-kernel", *edited(KERNEL, 's/"[^"]*python[0-9.]*",/"\\/nonexistent",/')),
    Case(
        "lab-terminal", lab("c.ServerApp.terminals_enabled = False"), ":"
    ),  # mended by the next one's restart
    Case("lab-wrong-password", lab(ANY_PASSWORD), ":"),
    Case("lab-closed", lab(NO_PASSWORD), f"rm {CONFIG}.py; {RESTART}"),
    Case(
        "host-revert",
        f"mkdir {GUARD}; printf '1\\nmove the port\\n' >{GUARD}/armed",
        f"rm -r {GUARD}",
    ),
    Case(
        "host-sudo",
        "umask 337; echo 'side ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/side",
        "rm /etc/sudoers.d/side",
        "warn",
    ),
    Case("host-updates", *edited(VERDICT, "2s/.*/pending=3/"), "warn"),
    Case("host-reboot", "touch /run/reboot-required", "rm /run/reboot-required", "warn"),
    Case("host-disk", *disk(376), "warn"),
    Case("host-disk", *disk(500)),
    Case("host-clock", SLOW_DATE, "rm /usr/local/bin/date", "warn"),
]


def token(place: Place) -> str:
    """Read the token that must never be shown."""
    return re.search(r'"token": "(\w+)"', place.host.run(f"cat {CONFIG}.json"))[1]
