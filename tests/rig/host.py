"""A disposable machine that boots, and the hands to look inside it."""

import json
import os
import random
import secrets
import time

from . import image, logins, network
from .engine import Engine, find
from .places import CLONE, LABEL, RigError
from .ports import banner, free_port

BOOT_TIMEOUT = 120
# A boot of a container keeps the kernel's boot_id; a machine's changes, so every boot gets one of its own.
FIRST = """\
cat /proc/sys/kernel/random/uuid >/run/boot_id
mount --bind /run/boot_id /proc/sys/kernel/random/boot_id
ssh-keygen -A >/dev/null
exec /sbin/init
"""
MACHINE = (
    "--restart=always",
    "--cap-add=SYS_ADMIN",
    "--cap-add=NET_ADMIN",
    "--cap-add=SYS_PTRACE",
    "--security-opt=seccomp=unconfined",
    # Engines let every account of a container listen on any port; on a machine only root can.
    "--sysctl=net.ipv4.ip_unprivileged_port_start=1024",
    "--security-opt=apparmor=unconfined",
)
DOCKER = ("--tmpfs=/run", "--tmpfs=/run/lock", "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw")
# No way out, and a name server beyond it, so that asking fails at once and is counted.
CUT_OFF = """\
ip route show default >/run/way-out && cp /etc/resolv.conf /run/resolv.conf.kept
ip route del default && echo nameserver 198.51.100.1 >/etc/resolv.conf
"""
RECONNECT = "ip route replace $(cat /run/way-out) && cat /run/resolv.conf.kept >/etc/resolv.conf"
CHECKSUMS = """\
import hashlib, json, os, pwd
skipped = {"__pycache__", ".cache", ".ipython", ".ipynb_checkpoints"}
found = {}
def note(path):
    stat = os.lstat(path)
    try:
        owner = pwd.getpwuid(stat.st_uid).pw_name
    except KeyError:
        owner = str(stat.st_uid)
    text = os.readlink(path) if os.path.islink(path) else ""
    if os.path.isfile(path) and not text:
        with open(path, "rb") as data:
            text = hashlib.sha256(data.read()).hexdigest()
    found[path] = f"{stat.st_mode:o} {owner}:{stat.st_gid} {text}"
os.chdir("/")
for top in ("etc", "root", "home", "var/root", "var/db/dslocal", "Users", "Library"):
    for folder, folders, files in os.walk(top):
        folders[:] = [f for f in folders if f not in skipped and not (folder + "/" + f).endswith((".local/share/jupyter", ".local/state"))]
        for name in folders + [f for f in files if not f.endswith(".log") and (folder, f) != ("etc", "resolv.conf")]:
            note(folder + "/" + name)
print(json.dumps(found))
"""


class Host:
    """One booted machine."""

    boot_timeout = BOOT_TIMEOUT

    def __init__(self, engine: Engine, id: str, address: str, ports: dict[int, int]):
        self.engine = engine
        self.id = id
        self.address = address
        self._ports = ports

    def __repr__(self) -> str:
        return f"<Host {self.id[:12]} {self.address}:{self.port}>"

    @classmethod
    def boot(
        cls,
        flavour: str = "debian12",
        name: str = "host",
        *,
        key: str | None = None,
        password: str | None = None,
        user: str = "",
        nopasswd: bool = True,
        owner: str | None = None,
        engine: Engine | None = None,
    ) -> "Host":
        """Boot a bare machine that lets `user` in by public key line, by password, or both.

        The user is root, on a Mac admin. Another user than root is what cloud images have: sudo (without a password, or
        with `nopasswd=False` with the given one), and root's key answers that one should log in as that user. `owner` is
        the process or purpose that has to stop the host; a host of a dead process is cleared away later.
        """
        engine = engine or find()
        host = cls._start(engine, image.ensure(engine, flavour), name, owner or str(os.getpid()))
        try:
            host.wait_for_ssh()
            host.let_in(
                user or ("admin" if flavour in image.MACS else "root"), key, password, nopasswd
            )
        except BaseException:
            host.stop()
            raise
        return host

    @classmethod
    def copy_of(
        cls, engine: Engine, image_name: str, name: str, port: int, owner: str | None = None
    ) -> "Host":
        """Boot a copy of a host that was saved as an image; its sshd listens on `port`."""
        host = cls._start(engine, image_name, name, owner or str(os.getpid()))
        try:
            host.wait_for_ssh(port)
        except BaseException:
            host.stop()
            raise
        return host

    def save(self, image_name: str, label: str) -> None:
        """Keep the disk as an image, to boot copies of it."""
        self.run("sync")
        change = f"LABEL {label}"
        self.engine.run("commit", "--change", change, self.id, image_name, timeout=300)

    @classmethod
    def _start(cls, engine: Engine, image_name: str, name: str, owner: str) -> "Host":
        """Start a container on the first address that is free."""
        subnet = network.ensure(engine)
        ports = {} if engine.reaches_containers else {22: free_port(), 292: free_port()}
        ports = {22: ports[22], ports[292]: ports[292]} if ports else {}
        publish = [f"--publish=127.0.0.1:{outside}:{inside}" for inside, outside in ports.items()]
        kind = ("--systemd=always",) if engine.is_podman else DOCKER
        for _ in range(30):
            address = str(subnet[random.randint(10, 250)])
            unique = f"labfab-{CLONE}-{name}-{secrets.token_hex(3)}"
            options = [
                f"--name={unique}",
                f"--hostname={name}",
                f"--label={LABEL}",
                f"--label=labfab.owner={owner}",
                f"--network={network.NAME}",
                f"--ip={address}",
                *publish,
            ]
            try:
                id = engine.run(
                    "run", "-d", *MACHINE, *kind, *options, image_name, "/bin/sh", "-c", FIRST
                )
                return cls(engine, id.split()[-1], "127.0.0.1" if ports else address, ports)
            except RigError as error:
                engine.ok("rm", "-f", unique)
                if (
                    "already in use" not in str(error).lower()
                    and "already allocated" not in str(error).lower()
                ):
                    raise
        raise RigError(f"no free address in {subnet}")

    @classmethod
    def existing(cls, engine: Engine, owner: str) -> "list[Host]":
        """Find the hosts of an owner that are there, running or not."""
        mine = ("--filter", f"label={LABEL}", "--filter", f"label=labfab.owner={owner}")
        ids = engine.run("ps", "-aq", "--no-trunc", *mine)
        return [cls._found(engine, id) for id in ids.split()]

    @classmethod
    def _found(cls, engine: Engine, id: str) -> "Host":
        """Read address and published ports of a container from the engine."""
        shown = json.loads(engine.run("inspect", id))[0]
        ports = {
            int(inside.split("/")[0]): int(rows[0]["HostPort"])
            for inside, rows in bindings(shown).items()
        }
        net = shown["NetworkSettings"]["Networks"][network.NAME]
        address = (net.get("IPAMConfig") or {}).get("IPv4Address") or net[
            "IPAddress"
        ]  # the latter is empty when off
        return cls(engine, id, "127.0.0.1" if ports else address, ports)

    @property
    def port(self) -> int:
        """The port sshd answers on after the first boot, as dialed from here."""
        return self._ports.get(22, 22)

    @property
    def next_port(self) -> int:
        """A second port that is the same inside and outside, for sshd to move to."""
        return next((inside for inside in self._ports if inside != 22), 292)

    def run(self, command: str, input: str | None = None, timeout: float = 120) -> str:
        """Run a shell command inside as root, past sshd, and return what it prints."""
        return self.engine.run(
            "exec", "-i", self.id, "/bin/sh", "-c", command, input=input or "", timeout=timeout
        )

    def let_in(
        self, user: str, key: str | None, password: str | None, nopasswd: bool = True
    ) -> None:
        """Give a user a public key, a password, or both."""
        self.run("sh -s", input=logins.script(user, key, password, nopasswd))

    def wait_for_ssh(self, port: int | None = None, timeout: float = 0) -> None:
        """Wait until sshd sends its banner."""
        self.wait_for_ssh_on(port or self.port, timeout=timeout)

    def wait_for_ssh_on(self, *ports: int, timeout: float = 0) -> None:
        """Wait until sshd sends its banner on one of these ports."""
        timeout = timeout or self.boot_timeout
        end = time.monotonic() + timeout
        while time.monotonic() < end and not self.has_ended():
            if any(banner((self.address, port)).startswith(b"SSH-") for port in ports):
                return
            time.sleep(0.1)
        where = f"{self.address}:{' or '.join(map(str, ports))}"
        raise RigError(
            f"no SSH banner from {where} within {timeout:.0f} s; the host is {self.last_words()}"
        )

    def has_ended(self) -> bool:
        """Tell whether there is nothing left to wait for: a container starts again by itself."""
        return False

    def last_words(self) -> str:
        """Tell what state the host is in and what it said last."""
        state = self.engine.run("inspect", "-f", "{{.State.Status}}", self.id)
        return f"{state}: {self.engine.run('logs', '--tail', '5', self.id)}"

    def boot_id(self) -> str:
        """Name the present boot."""
        return self.run("cat /proc/sys/kernel/random/boot_id")

    def reboot(self, port: int | None = None) -> None:
        """Reboot as a machine does and wait for sshd on the given port."""
        before = self.boot_id()
        self.ask_to_reboot()
        self._wait_for_boot_after(before)
        self.wait_for_ssh(port)

    def ask_to_reboot(self) -> None:
        """Tell the host to reboot, without waiting for it."""
        self.engine.ok("exec", self.id, "systemctl", "reboot")

    def _wait_for_boot_after(self, before: str) -> None:
        end = time.monotonic() + self.boot_timeout
        while time.monotonic() < end:
            try:
                if self.boot_id() != before:
                    return
            except RigError:
                pass  # between two boots there is nobody to ask
            time.sleep(0.2)
        raise RigError(f"the host did not come back within {self.boot_timeout} s of a reboot")

    def kill_power(self, port: int | None = None) -> None:
        """Pull the plug and put it back."""
        self.engine.run("kill", self.id)
        self.engine.run("start", self.id)
        self.wait_for_ssh(port)

    def switch_on(self) -> None:
        """Start the host if it is off, and wait for sshd on either of its ports."""
        self.engine.run("start", self.id)
        self.wait_for_ssh_on(self.port, self.next_port)

    def pause(self) -> None:
        """Freeze the host: it takes packets and answers nothing."""
        for _ in range(5):  # a busy kernel may refuse: "unable to freeze"
            if self.engine.ok("pause", self.id):
                return
            time.sleep(0.5)
        self.engine.run("pause", self.id)

    def resume(self) -> None:
        """Let a frozen host go on."""
        self.engine.run("unpause", self.id)

    def stop(self) -> None:
        """Remove the host for good."""
        self.engine.run("rm", "-f", "-v", self.id)

    def host_key(self) -> str:
        """Read the host's own ed25519 key, to be pinned: 'ssh-ed25519 AAAA…'."""
        return " ".join(self.run("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2])

    def host_key_fingerprint(self) -> str:
        """Read the fingerprint of that key: 'SHA256:…'."""
        return self.run("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]

    def checksums(self) -> dict[str, str]:
        """Fingerprint /etc and the homes, by path: modes, owners, contents; no logs, caches or runtime files."""
        return json.loads(self.run("python3 -", input=CHECKSUMS))

    def cut_off(self) -> None:
        """Leave the host only its own subnet: SSH goes on, no mirror is reached."""
        self.run(CUT_OFF)

    def attempts_outside(self) -> int:
        """Count since boot the packets that found no way out: after `cut_off`, every try to reach a mirror."""
        names, values = (line.split() for line in self.run("grep ^Ip: /proc/net/snmp").splitlines())
        return int(values[names.index("OutNoRoutes")])

    def reconnect(self) -> None:
        """Give the host its way out again."""
        self.run(RECONNECT)


def bindings(shown: dict) -> dict:
    """Pick the published ports out of what the engine tells of a container."""
    return shown["HostConfig"].get("PortBindings") or {}
