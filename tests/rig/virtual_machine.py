"""A host with a kernel of its own: Debian 13 in qemu, with real boots, disks and power cuts.

Containers share the kernel, the cgroups and the packet filter of the machine around them. A virtual
machine does not, but takes minutes where it is emulated: use it for what containers cannot show.
"""

import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from . import accelerator, disk, dockerd
from .guest_agent import GuestAgent
from .host import Host
from .places import RigError
from .tap import Tap

MEMORY = 1500  # megabytes
# Keep little unwritten data in memory: an fsync in a guarded window would wait for all of it.
KERNEL_WORDS = (
    "root=/dev/nvme0n1 rw console=ttyS0 quiet net.ifnames=0 nowatchdog mitigations=off nokaslr "
    "panic=-1 systemd.log_level=warning sysctl.vm.dirty_background_bytes=8388608 "
    "ip=%s::%s:255.255.255.0:machine:eth0:none"
)


def refusal() -> str:
    """Say why no machine can be booted here; empty where one can."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return "a machine with a kernel of its own takes Linux on x86_64"
    if os.geteuid():
        return "a machine with a kernel of its own takes root (a tap and a network namespace)"
    if not dockerd.is_debian():
        return "a machine with a kernel of its own takes Debian's mmdebstrap"
    return ""


class VirtualMachine(Host):
    """One machine in qemu, looked into through its guest agent."""

    boot_timeout = 400  # in emulation, beside other tests; alone it takes half a minute

    def __init__(self, folder: Path, tap: Tap, found: disk.Disk) -> None:
        self.folder, self.tap, self.kernel = folder, tap, found.kernel
        self.disk = disk.FOLDER / f"{os.getpid()}-{folder.name}{disk.COPY}"
        self.accelerator = accelerator.choose(found.kernel, found.disk)
        self.wheels = found.wheels
        self.agent = GuestAgent(folder / "agent")
        self.qemu: subprocess.Popen | None = None
        super().__init__(None, tap.namespace, tap.there, {})

    @classmethod
    def boot(
        cls,
        *,
        key: str | None = None,
        password: str | None = None,
        user: str = "root",
        nopasswd: bool = True,
    ) -> "VirtualMachine":
        """Boot a bare machine that lets `user` in by public key line, by password, or both."""
        if refusal():
            raise RigError(refusal())
        found = disk.ensure()
        folder = Path(tempfile.mkdtemp(prefix="lf-machine-", dir="/tmp"))  # for short sockets
        host = cls(folder, Tap.make(), found)
        try:
            host.copy_disk(found.disk)
            host.switch_on()
            host.let_in(user, key, password, nopasswd)
        except BaseException:
            host.stop()
            raise
        return host

    def copy_disk(self, base: Path) -> None:
        """Give the machine a disk of its own, sharing with the common one what can be shared."""
        command = ["cp", "--sparse=always", "--reflink=auto", str(base), str(self.disk)]
        subprocess.run(command, check=True)

    def start(self) -> None:
        """Give it power.

        What the guest has written to its disk outlives a power cut, what is still in its memory
        does not: each write reaches a file of this machine. cache=unsafe means that nobody waits
        until that file is on the real disk.
        """
        drive = f"file={self.disk},if=none,id=disk,format=raw,cache=unsafe"
        words = [
            *("ip", "netns", "exec", self.tap.namespace, "qemu-system-x86_64"),
            *("-nodefaults", "-no-user-config", "-display", "none"),
            *accelerator.WORDS[self.accelerator],
            *("-smp", "2", "-m", str(MEMORY), "-pidfile", str(self.folder / "pid")),
            *("-serial", f"file:{self.folder / 'console'}"),
            *("-chardev", f"socket,id=agent,path={self.agent.path},server=on,wait=off"),
            *("-device", "virtio-serial-pci"),
            *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
            *("-netdev", "tap,id=net,ifname=tap,script=no,downscript=no"),
            *("-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"),
            *("-drive", drive, "-device", "nvme,drive=disk,serial=rig"),
            *("-kernel", str(self.kernel)),
            *("-append", KERNEL_WORDS % (self.tap.there, self.tap.here)),
        ]
        with (self.folder / "qemu.log").open("a") as log:
            self.qemu = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def run(self, command: str, input: str | None = None, timeout: float = 300) -> str:
        """Run a shell command inside as root, past sshd, and return what it prints."""
        return self.agent.run(command, input or "", timeout)

    def ask_to_reboot(self) -> None:
        self.run("systemctl --no-block reboot")

    def cut_power(self) -> None:
        """Pull the plug."""
        if self.qemu:
            self.qemu.kill()
            self.qemu.wait()
            self.qemu = None

    def switch_on(self, port: int | None = None) -> None:
        """Start the machine if it is off; wait for sshd on the port given, else on either one."""
        if not self.qemu or self.qemu.poll() is not None:
            self.start()
        self.wait_for_ssh_on(*([port] if port else [self.port, self.next_port]))

    def kill_power(self, port: int | None = None) -> None:
        """Pull the plug and put it back."""
        self.cut_power()
        self.switch_on(port)

    def pause(self) -> None:
        """Freeze the machine: it takes packets and answers nothing."""
        self.qemu.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen machine go on."""
        self.qemu.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Remove the machine for good."""
        self.cut_power()
        self.tap.remove()
        self.disk.unlink(missing_ok=True)
        shutil.rmtree(self.folder)

    def has_ended(self) -> bool:
        """Tell whether qemu has ended by itself, or could not be started."""
        return self.qemu is not None and self.qemu.poll() is not None

    def last_words(self) -> str:
        """Tell how qemu does and what the machine's console said last."""
        ended = self.qemu.poll() if self.qemu else "power cut"
        state = "running" if ended is None else f"off ({ended})"
        said = []
        for name in ("qemu.log", "console"):
            with suppress(FileNotFoundError):
                said += (self.folder / name).read_text(errors="replace").splitlines()[-5:]
        return f"{state}: {shlex.join(said)}"
