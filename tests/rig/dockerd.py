"""An engine of our own, on a private socket, beside any other engine of the machine.

It keeps its images in .cache/engine and its sockets in a short folder under /run: the path of a socket
must stay below 108 characters, however deep the clone lies. It gets no bridge and touches no packet
filter by itself, so two of them never meet; the few rules our networks need are ours (network.py).
"""

import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

from .places import CACHE, CLONE, RigError, locked, say

DATA = CACHE / "engine"
RUN = Path(f"/run/labfab-{CLONE}")
SOCKET = RUN / "docker.sock"
PID = RUN / "pid"

START = """\
mkdir -p %(data)s %(run)s && chmod 711 %(run)s || exit
PATH=$PATH:/usr/sbin:/sbin setsid dockerd --data-root %(data)s --exec-root %(run)s/exec --pidfile %(run)s/pid \
    -H unix://%(run)s/docker.sock -G %(group)s --bridge=none --iptables=false \
    --containerd-namespace labfab-%(clone)s --containerd-plugins-namespace labfab-%(clone)s-plugins \
    >%(run)s/log 2>&1 </dev/null &
"""
STOP = """\
pid=$(cat %(run)s/pid) && tr '\\0' ' ' </proc/$pid/cmdline | grep -qF -- %(data)s || exit 0
kill $pid
n=0; while kill -0 $pid 2>/dev/null; do sleep 0.2; n=$((n+1)); [ $n -lt 150 ] || exit 1; done
umount %(run)s/exec/netns/* 2>/dev/null
rm -rf %(run)s
"""


def as_root(script: str, timeout: float = 600) -> subprocess.CompletedProcess:
    """Run a script as root, through sudo where needed."""
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    return subprocess.run([*sudo, "sh", "-c", script], timeout=timeout, check=False)


def possible() -> bool:
    """Tell whether an engine can be installed and started: Debian or Ubuntu, and root or sudo."""
    return is_debian() and (os.geteuid() == 0 or shutil.which("sudo") is not None)


def is_debian() -> bool:
    """Tell whether apt's packages are Debian's or Ubuntu's."""
    release = Path("/etc/os-release")
    return (
        release.exists() and "debian" in release.read_text() and shutil.which("apt-get") is not None
    )


def which(program: str) -> str | None:
    """Find a program, also where only root looks."""
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def install_packages(*packages: str) -> None:
    """Install packages of the distribution, saying so."""
    say(f"installing with apt-get: {' '.join(packages)}")
    names = " ".join(packages)
    script = (
        "export DEBIAN_FRONTEND=noninteractive; "
        "install='apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=600'; "
        f"$install {names} >/dev/null 2>&1 || "
        f"{{ apt-get update -qq && $install {names} >/dev/null; }}"
    )
    with locked("apt"):
        done = as_root(script)
    if done.returncode:
        raise RigError(f"installing failed, see `apt-get install {names}`")


def install() -> None:
    """Get Debian's engine where there is none."""
    wanted = {"dockerd": "docker.io", "docker": "docker.io", "iptables": "iptables"}
    missing = {package for tool, package in wanted.items() if not which(tool)}
    if missing:
        install_packages(*sorted(missing))


def start() -> None:
    """Start the engine in a session of its own and wait until it answers."""
    if as_root(START % words()).returncode:
        raise RigError(f"no engine could be started in {RUN}")
    (CACHE / "engine.run").write_text(f"{RUN}\n")
    docker = ["docker", "-H", f"unix://{SOCKET}", "info"]
    for _ in range(120):
        if (
            SOCKET.exists()
            and subprocess.run(docker, capture_output=True, check=False).returncode == 0
        ):
            return
        time.sleep(0.5)
    raise RigError(f"the engine does not answer within 60 s; its log is {RUN}/log")


def stop() -> bool:
    """Stop our engine, if it runs; the images it made stay in .cache."""
    if not PID.exists():
        return False
    if as_root(STOP % words(), timeout=60).returncode:
        raise RigError(f"the engine of {RUN}/pid does not stop")
    return True


def words() -> dict[str, str]:
    """Give the quoted words of the scripts above."""
    return {
        "data": shlex.quote(str(DATA)),
        "run": str(RUN),
        "clone": CLONE,
        "group": str(os.getegid()),
    }
