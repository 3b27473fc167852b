"""A host with a kernel of its own: Debian 13 with real boots, disks and power cuts.

Containers share the kernel, the cgroups and the packet filter of the machine around them. This one
does not, but is slow where KVM does not work: use it for what containers cannot show.
"""

import os
import platform
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from . import accelerator, disk, dockerd, qemu, user_mode_linux
from .guest_agent import GuestAgent
from .host import Host
from .places import RigError
from .tap import Tap

MEMORY = 1500  # megabytes
NICENESS = -5
# Keep little unwritten data in memory: an fsync in a guarded window would wait for all of it.
KERNEL_WORDS = (
    "rw quiet net.ifnames=0 mitigations=off panic=-1 systemd.log_level=warning "
    "sysctl.vm.dirty_background_bytes=8388608 ip=%s::%s:255.255.255.0:machine:%s:none"
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
    """One machine, looked into through qemu's guest agent."""

    boot_timeout = 400  # beside other tests; alone it takes half a minute

    def __init__(self, folder: Path, tap: Tap, found: disk.Disk) -> None:
        self.folder, self.tap, self.kernel = folder, tap, found.kernel
        self.disk = disk.FOLDER / f"{os.getpid()}-{folder.name}{disk.COPY}"
        self.accelerator = accelerator.choose(found.kernel, found.disk)
        self.wheels = found.wheels
        self.agent: GuestAgent | None = None
        self.process: subprocess.Popen | None = None
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
        folder = Path(tempfile.mkdtemp(prefix="lf-machine-", dir="/tmp"))  # sockets: short paths
        host = cls(folder, Tap.make(), found)
        try:
            host.copy_disk(found.disk)
            host.switch_on()
            if host.accelerator == "uml":
                host.run(user_mode_linux.PREPARE)
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
        """Give it power."""
        ours, theirs = socket.socketpair()
        self.agent = GuestAgent(ours)
        with theirs, self.console.open("a") as console:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.tap.namespace, *self.command(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        # It computes while other tests wait; the kernel weighs sessions, not processes.
        with suppress(OSError):
            Path(f"/proc/{self.process.pid}/autogroup").write_text(f"{NICENESS}\n")

    def command(self, agent: int) -> list[str]:
        """Return the command that runs the machine; `agent` is the guest agent's end of the line."""
        way = user_mode_linux if self.accelerator == "uml" else qemu
        words = KERNEL_WORDS % (self.tap.there, self.tap.here, way.NETWORK)
        if self.accelerator == "uml":
            return user_mode_linux.command(self.folder, self.disk, MEMORY, agent, words)
        return qemu.command(self.accelerator, self.kernel, self.disk, MEMORY, agent, words)

    @property
    def console(self) -> Path:
        """What the kernel and systemd said on the console, of all boots."""
        return self.folder / "console"

    def run(self, command: str, input: str | None = None, timeout: float = 300) -> str:
        """Run a shell command inside as root, past sshd, and return what it prints."""
        return self.agent.run(command, input or "", timeout)

    def ask_to_reboot(self) -> None:
        self.run("systemctl --no-block reboot")

    def cut_power(self) -> None:
        """Pull the plug."""
        if self.process:
            self.process.kill()
            self.tap.end_processes()  # those of user-mode Linux
            self.process.wait()
            self.agent.line.close()
            self.process = None

    def switch_on(self, port: int | None = None) -> None:
        """Start the machine if it is off; wait for sshd on the port given, else on either one."""
        if not self.process or self.process.poll() is not None:
            self.start()
        self.wait_for_ssh_on(*([port] if port else [self.port, self.next_port]))

    def kill_power(self, port: int | None = None) -> None:
        """Pull the plug and put it back."""
        self.cut_power()
        self.switch_on(port)

    def pause(self) -> None:
        """Freeze the machine: it takes packets and answers nothing."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen machine go on."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Remove the machine for good."""
        self.cut_power()
        self.tap.remove()
        self.disk.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def has_ended(self) -> bool:
        """Tell whether the machine has ended by itself, or could not be started."""
        return self.process is not None and self.process.poll() is not None

    def last_words(self) -> str:
        """Tell how the machine does and what its console said last."""
        ended = self.process.poll() if self.process else "power cut"
        state = "running" if ended is None else f"off ({ended})"
        with suppress(FileNotFoundError):
            said = self.console.read_text(errors="replace").splitlines()[-10:]
            return f"{state}: {shlex.join(said)}"
        return state
