"""The disk of a machine with a kernel of its own: Debian 13, made once, kept in .cache/machines.

The kernel has the driver of the disk built in, so it needs no initrd. The packages that setup.full
installs by apt are on the disk already: in emulation apt takes minutes, and it is tested elsewhere.
"""

import shlex
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from . import compile_wheels, dockerd, image, machine, user_mode_linux, wheels
from .leftovers import alive
from .places import CACHE, RigError, locked, say

FOLDER = CACHE / "machines"
SUITE, PYTHON = "trixie", "3.13"
COMPILE = Path(compile_wheels.__file__)
COPY = ".copy"  # of one machine, named after the process that booted it
SIZE = "6G"  # sparse
BARE = f"{image.PACKAGES},linux-image-cloud-amd64,kmod,udev,netbase,qemu-guest-agent"
WANTED = "curl,tmux,ufw,python3-venv,python3-pip-whl"  # by setup.full, with Python from venv
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "mkfs.ext4": "e2fsprogs",
    "ip": "iproute2",
    "iptables": "iptables",
}
RESOLVED = Path("/run/systemd/resolve/resolv.conf")  # the servers behind a resolver on loopback
ENABLED = (  # the first two read ip= of the kernel
    "systemd-networkd.service systemd-network-generator.service rig-agent.service"
)
# Each login of an account without another one would start and stop its systemd: seconds of work
# in emulation.
MANAGERS = "[Login]\nUserStopDelaySec=infinity\n"
# Without qemu there is no port that the agent's own service waits for.
AGENT = """\
[Unit]
ConditionVirtualization=uml
[Service]
ExecStart=/usr/sbin/qemu-ga -m isa-serial -p /dev/ttyS0
Restart=always
[Install]
WantedBy=multi-user.target
"""
# Timers that would start work of their own in the middle of a test, and what nobody looks at.
MASKED = (
    "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer "
    "e2scrub_reap.service fstrim.timer getty.target console-getty.service"
)
MAKE = """\
set -e
rm -rf %(tree)s
mmdebstrap --quiet --variant=minbase --include=%(packages)s --keyring=%(keyring)s \
  --customize-hook='cp -r --preserve=mode,links %(files)s/. "$1/"' \
  --customize-hook='chroot "$1" update-ca-certificates >/dev/null 2>&1' \
  --customize-hook='chroot "$1" systemctl enable --quiet %(enabled)s' \
  --customize-hook='chroot "$1" systemctl mask --quiet %(masked)s' \
  --customize-hook='chroot "$1" ssh-keygen -A >/dev/null' \
  --customize-hook='[ ! -d %(modules)s ] || cp -r %(modules)s/. "$1/usr/lib/modules"' \
  %(suite)s %(tree)s %(lines)s >&2
cd %(tree)s
mkdir wheels && cp -L %(collected)s/*.whl wheels
chroot . python3 - wheels <%(compile)s
mv wheels %(wheels)s
: >etc/machine-id
touch etc/.updated var/.updated # else the first boot rebuilds caches
cp boot/vmlinuz-* %(kernel)s
truncate -s %(size)s %(disk)s
mkfs.ext4 -q -F -d . %(disk)s
cd / && rm -rf %(tree)s
chmod 644 %(kernel)s
"""


class Disk(NamedTuple):
    """What a machine is booted from."""

    kernel: Path
    disk: Path
    wheels: Path  # of JupyterLab, with bytecode


def ensure() -> Disk:
    """Return the kernel and the disk, made if they are not there."""
    with locked("machines"):
        install_tools()
        return found_or_made()


def found_or_made() -> Disk:
    files = dict(contents())
    lines, collected = machine.apt_lines(SUITE), wheels.collect(PYTHON)
    compiled = [COMPILE.read_text(), *sorted(path.name for path in collected.iterdir())]
    parts = [f"{name} {text}" for name, text in sorted(files.items())]
    folder = FOLDER / image.digest(
        *(MAKE, BARE, WANTED, SIZE, MASKED, ENABLED),
        *(*user_mode_linux.versions(), *lines, *compiled, *parts),
    )
    for path in FOLDER.glob(f"*{COPY}"):
        if not alive(int(path.name.split("-")[0])):
            path.unlink()
    if not folder.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        for old in [path for path in FOLDER.iterdir() if path.is_dir()]:
            shutil.rmtree(old)
        make(folder, files, lines, collected)
    return Disk(folder / "vmlinuz", folder / "disk", folder / "wheels")


def contents() -> Iterator[tuple[str, str]]:
    """Yield path and text of every file that Debian's packages do not bring."""
    yield from machine.files().items()
    yield "etc/resolv.conf", name_servers()
    yield "etc/systemd/logind.conf.d/rig.conf", MANAGERS
    yield "etc/systemd/system/rig-agent.service", AGENT
    yield "etc/hostname", "machine\n"
    yield "etc/hosts", "127.0.0.1 localhost machine\n::1 localhost\n"


def name_servers() -> str:
    """Write the name servers of this machine, as far as a guest can ask them."""
    text = Path("/etc/resolv.conf").read_text()
    if "nameserver 127." in text and RESOLVED.exists():
        text = RESOLVED.read_text()
    return "".join(f"{line}\n" for line in text.splitlines() if "nameserver" in line.split()[:1])


def install_tools() -> None:
    """Get the packages whose programs are missing."""
    missing = [package for tool, package in TOOLS.items() if not dockerd.which(tool)]
    if not Path(KEYRING).exists():
        missing.append("debian-archive-keyring")
    if missing:
        dockerd.install_packages(*missing)
    if not user_mode_linux.PROGRAM.exists():
        with suppress(RigError):  # not every distribution has it
            dockerd.install_packages(user_mode_linux.PACKAGE)


def make(folder: Path, files: dict[str, str], lines: list[str], collected: Path) -> None:
    """Install Debian into a folder, and a file system with that folder's contents into a file."""
    say("making a disk with Debian 13 and a kernel of its own (a minute, once)")
    half = folder.with_name(f"{folder.name}.half")
    for name, text in files.items():
        path = half / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    words = {
        "tree": half / "tree",
        "files": half / "files",
        "collected": collected,
        "compile": COMPILE,
        "wheels": half / "wheels",
        "kernel": half / "vmlinuz",
        "disk": half / "disk",
        "keyring": KEYRING,
        "packages": f"{BARE},{WANTED}",
        "masked": MASKED,
        "enabled": ENABLED,
        "suite": SUITE,
        "size": SIZE,
        "modules": user_mode_linux.MODULES,
        "lines": " ".join(shlex.quote(line) for line in lines),
    }
    if dockerd.as_root("PATH=$PATH:/usr/sbin:/sbin\n" + MAKE % words, timeout=1200).returncode:
        raise RigError("no disk could be made, see above: is the package mirror reachable?")
    shutil.rmtree(half / "files")
    half.rename(folder)
