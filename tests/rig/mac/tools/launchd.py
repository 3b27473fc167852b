"""launchd for the system's own domain: loads jobs at boot, listens for them, starts them, and starts them again.

Run by systemd as root; `launchctl` asks it over a socket, one JSON object each way.
"""

import ctypes
import errno
import grp
import json
import os
import plistlib
import pwd
import resource
import selectors
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

from . import state

SOCKET = "/var/run/launchd.sock"
OVERRIDES = Path("/var/db/com.apple.xpc.launchd/disabled.plist")
FOLDERS = (Path("/System/Library/LaunchDaemons"), Path("/Library/LaunchDaemons"))
PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
THROTTLE = 10
EXIT_TIMEOUT = 5
INSTANCES = 42
OPEN_FILES = 256
CONFIG_ERROR = 78  # what a job that cannot be started ends with


class Refused(Exception):
    """What launchd answers instead: a number as errno has it."""


class Service:
    """One loaded job."""

    def __init__(self, plist: dict, path: str):
        self.plist, self.path, self.label = plist, path, plist["Label"]
        self.sockets: dict[str, list[socket.socket]] = {}
        self.pid = 0
        self.instances: set[int] = set()  # one for each connection, where launchd accepts them
        self.runs = 0
        self.last_exit: int | None = None
        self.last_start = 0.0
        self.due: float | None = None

    @property
    def per_connection(self) -> bool:
        compatible = self.plist.get("inetdCompatibility")
        return compatible is not None and not compatible.get("Wait", False)

    @property
    def at_load(self) -> bool:
        keep = self.plist.get("KeepAlive", False)
        return (
            bool(self.plist.get("RunAtLoad"))
            or keep is True
            or isinstance(keep, dict)
            and "SuccessfulExit" in keep
        )

    @property
    def throttle(self) -> float:
        return float(self.plist.get("ThrottleInterval", THROTTLE))

    def again(self, status: int) -> bool:
        """Tell whether the job is to be started again after it ended."""
        keep = self.plist.get("KeepAlive", False)
        if not isinstance(keep, dict):
            return bool(keep)
        wanted = []
        if "SuccessfulExit" in keep:
            wanted.append((status == 0) == bool(keep["SuccessfulExit"]))
        if "Crashed" in keep:
            wanted.append((os.WIFSIGNALED(status)) == bool(keep["Crashed"]))
        return any(wanted)

    def schedule(self) -> None:
        """Start as soon as the throttle allows."""
        self.due = (
            max(time.monotonic(), self.last_start + self.throttle)
            if self.last_start
            else time.monotonic()
        )

    def arguments(self) -> tuple[str, list[str]]:
        words = [
            str(word)
            for word in self.plist.get("ProgramArguments") or [self.plist.get("Program", "")]
        ]
        return self.plist.get("Program") or words[0], words


def listen(entry: dict) -> list[socket.socket]:
    """Open the sockets that an entry of Sockets asks for; a port that is taken is left out, as launchd does."""
    name = str(entry.get("SockServiceName", "0"))
    try:
        port = int(name) if name.isdigit() else socket.getservbyname(name, "tcp")
    except OSError:
        return []
    node = entry.get("SockNodeName")
    families = {"IPv4": [socket.AF_INET], "IPv6": [socket.AF_INET6]}.get(
        entry.get("SockFamily"), [socket.AF_INET, socket.AF_INET6]
    )
    found = []
    for family in families:
        if node and (":" in node) != (family == socket.AF_INET6):
            continue
        with suppress(OSError):
            made = socket.socket(family, socket.SOCK_STREAM)
            found.append(made)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind((node or ("::" if family == socket.AF_INET6 else "0.0.0.0"), port))
            made.listen(128)
            made.setblocking(False)
            continue
        found.pop().close()
    return found


def load(path: str) -> dict:
    """Read a job's property list; refuse what launchd refuses: another's file, one that others may write, nonsense."""
    try:
        about = os.stat(path)
        plist = plistlib.loads(Path(path).read_bytes())
    except Exception as problem:  # whatever a file may hold
        raise Refused(errno.EIO) from problem
    if (
        about.st_uid != 0
        or about.st_gid != 0
        or about.st_mode & 0o022
        or not isinstance(plist, dict)
    ):
        raise Refused(errno.EIO)
    program = plist.get("Program") or (plist.get("ProgramArguments") or [""])[0]
    if (
        not isinstance(plist.get("Label"), str)
        or not plist["Label"]
        or not isinstance(program, str)
        or not program
    ):
        raise Refused(errno.EIO)
    return plist


class Launchd:
    """The daemon."""

    def __init__(self):
        self.services: dict[str, Service] = {}
        self.selector = selectors.DefaultSelector()
        self.wake, self.waker = socket.socketpair()
        for end in (self.wake, self.waker):
            end.setblocking(False)
        signal.set_wakeup_fd(self.waker.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with suppress(FileNotFoundError):
            os.unlink(SOCKET)
        self.control.bind(SOCKET)
        os.chmod(SOCKET, 0o666)
        self.control.listen(64)
        self.selector.register(self.wake, selectors.EVENT_READ, self.reap)
        self.selector.register(self.control, selectors.EVENT_READ, self.answer)

    def boot(self) -> None:
        for folder in FOLDERS:
            for path in sorted(folder.glob("*.plist")):
                with suppress(Refused):
                    self.bootstrap(str(path))

    def run(self) -> None:
        while True:
            dues = [service.due for service in self.services.values() if service.due is not None]
            wait = max(0.0, min(dues) - time.monotonic()) if dues else None
            for key, _ in self.selector.select(wait):
                key.data()
            self.reap()
            now = time.monotonic()
            for service in list(self.services.values()):
                if service.due is not None and service.due <= now:
                    service.due = None
                    interval = service.plist.get("StartInterval")
                    if interval:
                        service.due = now + float(interval)
                    if not service.pid:
                        self.start(service)

    # Jobs

    def start(self, service: Service, connection: socket.socket | None = None) -> int:
        """Start a job's program, for a connection where launchd accepts them."""
        pid = os.fork()
        if pid == 0:
            try:
                self.become(service, connection)
            except BaseException:
                os._exit(CONFIG_ERROR)
        service.runs += 1
        if connection:
            service.instances.add(pid)
        else:
            service.pid, service.last_start = pid, time.monotonic()
        return pid

    def become(self, service: Service, connection: socket.socket | None) -> None:
        """Turn the child into the job."""
        plist = service.plist
        ctypes.CDLL(None).prctl(15, b"xpcproxy", 0, 0, 0)
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (
            signal.SIGCHLD,
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGPIPE,
        ):
            signal.signal(number, signal.SIG_DFL)
        soft = int(plist.get("SoftResourceLimits", {}).get("NumberOfFiles", OPEN_FILES))
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard), hard))
        umask = plist.get("Umask", 0o022)
        os.umask(int(umask, 8) if isinstance(umask, str) else umask)
        account = pwd.getpwnam(plist["UserName"]) if "UserName" in plist else None
        gid = (
            grp.getgrnam(plist["GroupName"]).gr_gid
            if "GroupName" in plist
            else account.pw_gid
            if account
            else 0
        )
        uid = account.pw_uid if account else 0
        self.streams(plist, connection, uid, gid)
        if account:
            os.initgroups(account.pw_name, gid)
        if uid or gid:
            os.setgid(gid)
            os.setuid(uid)
        env = {"PATH": PATH, "XPC_SERVICE_NAME": service.label, "XPC_FLAGS": "0x0"}
        if account:  # no HOME: a job that needs one has to say so
            env |= {"USER": account.pw_name, "LOGNAME": account.pw_name}
        env |= {
            str(key): str(value) for key, value in plist.get("EnvironmentVariables", {}).items()
        }
        os.chdir(plist.get("WorkingDirectory", "/"))
        program, words = service.arguments()
        os.execvpe(program, words, env)

    def streams(self, plist: dict, connection: socket.socket | None, uid: int, gid: int) -> None:
        """Give the job its stdin, stdout and stderr; a file that is missing is made, as the job's own."""
        null = os.open(os.devnull, os.O_RDWR)
        places = [
            plist.get("StandardInPath"),
            plist.get("StandardOutPath"),
            plist.get("StandardErrorPath"),
        ]
        for number, place in enumerate(places):
            source = connection.fileno() if connection else null
            if place and not (connection and number < 2):
                missing = not os.path.exists(place)
                with suppress(OSError):
                    source = os.open(
                        place,
                        os.O_RDWR | os.O_CREAT | os.O_APPEND if number else os.O_RDONLY,
                        0o644,
                    )
                    if missing:
                        os.chown(place, uid, gid)
            os.dup2(source, number)
        os.closerange(3, 256)

    def reap(self) -> None:
        """Take note of what has ended."""
        with suppress(OSError):
            while self.wake.recv(64):
                pass
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                self.ended(pid, status)

    def ended(self, pid: int, status: int) -> None:
        for service in self.services.values():
            if pid != service.pid and pid not in service.instances:
                continue
            if not service.plist.get("AbandonProcessGroup"):
                with suppress(OSError):
                    os.killpg(pid, signal.SIGTERM)
            service.last_exit = status
            if pid in service.instances:
                service.instances.discard(pid)
                self.watch(service)
                return
            service.pid = 0
            if service.again(status):
                service.schedule()

    # Sockets

    def watch(self, service: Service) -> None:
        """Take connections, as long as there is room for one more."""
        limit = (service.plist.get("inetdCompatibility") or {}).get("Instances", INSTANCES)
        room = len(service.instances) < limit
        for made in [made for group in service.sockets.values() for made in group]:
            watched = made.fileno() in self.selector.get_map()
            if room and not watched:
                self.selector.register(
                    made, selectors.EVENT_READ, lambda made=made: self.incoming(service, made)
                )
            elif not room and watched:
                self.selector.unregister(made)

    def incoming(self, service: Service, made: socket.socket) -> None:
        if not service.per_connection:  # the program would ask launchd for the socket itself
            if not service.pid and service.due is None:
                service.schedule()
            return
        with suppress(OSError):
            connection, _ = made.accept()
            connection.setblocking(True)
            self.start(service, connection)
            connection.close()
        self.watch(service)

    # What launchctl asks

    def answer(self) -> None:
        client, _ = self.control.accept()
        with client:
            client.settimeout(5)
            try:
                uid = struct.unpack(
                    "3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                )[1]
                asked = json.loads(client.makefile().readline())
                client.settimeout(None)
                client.sendall(json.dumps(self.ask(asked, uid == 0)).encode() + b"\n")
            except (OSError, ValueError):
                return

    def ask(self, asked: dict, root: bool) -> dict:
        """Do what is asked; the answer has an errno, or what was to be read."""
        operation = asked["operation"]
        try:
            if operation not in ("print", "print-disabled", "list") and not root:
                raise Refused(errno.EIO if operation == "bootstrap" else errno.EPERM)
            return {
                "code": 0,
                "value": getattr(self, operation.replace("-", "_"))(*asked.get("words", [])),
            }
        except Refused as refused:
            return {"code": refused.args[0]}

    def find(self, label: str) -> Service:
        if label not in self.services:
            raise Refused(errno.ESRCH)
        return self.services[label]

    def overrides(self) -> dict[str, bool]:
        try:
            return plistlib.loads(OVERRIDES.read_bytes())
        except (OSError, ValueError):
            return {}

    def bootstrap(self, path: str) -> None:
        refusals = int(state.switch("bootstrap-refusals"))
        if refusals:
            (state.FOLDER / "bootstrap-refusals").write_text(str(refusals - 1))
            raise Refused(errno.EIO)
        plist = load(path)
        label = plist["Label"]
        if label in self.services or self.overrides().get(label, plist.get("Disabled", False)):
            raise Refused(errno.EIO)
        service = self.services[label] = Service(plist, path)
        for name, entries in plist.get("Sockets", {}).items():
            group = entries if isinstance(entries, list) else [entries]
            service.sockets[name] = [made for entry in group for made in listen(entry)]
        self.watch(service)
        if service.at_load:
            service.schedule()
        elif "StartInterval" in plist:
            service.due = time.monotonic() + float(plist["StartInterval"])

    def bootout(self, label: str, sessions: bool = False) -> None:
        service = self.find(label)
        for made in [made for group in service.sockets.values() for made in group]:
            with suppress(KeyError):
                self.selector.unregister(made)
            made.close()
        del self.services[label]
        pids = {service.pid} - {0} | (service.instances if sessions else set())
        self.end(
            pids,
            float(service.plist.get("ExitTimeOut", EXIT_TIMEOUT)),
            bool(service.plist.get("AbandonProcessGroup")),
        )

    def end(self, pids: set[int], patience: float, abandon: bool) -> None:
        """End processes: ask them first, and wait until they are gone."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in pids:
                with suppress(OSError):
                    os.kill(pid, number)
            until = time.monotonic() + patience
            while pids and time.monotonic() < until:
                for pid in list(pids):
                    with suppress(ChildProcessError):
                        if not os.waitpid(pid, os.WNOHANG)[0]:
                            continue
                    pids.discard(pid)
                    if not abandon:
                        with suppress(OSError):
                            os.killpg(pid, signal.SIGTERM)
                time.sleep(0.02)

    def enable(self, label: str) -> None:
        self.override(label, False)

    def disable(self, label: str) -> None:
        self.override(label, True)

    def override(self, label: str, disabled: bool) -> None:
        OVERRIDES.parent.mkdir(parents=True, exist_ok=True)
        OVERRIDES.write_bytes(plistlib.dumps(self.overrides() | {label: disabled}))

    def kickstart(self, label: str, again: bool = False) -> int:
        service = self.find(label)
        if service.pid and again:
            pid, service.pid = service.pid, 0
            self.end(
                {pid},
                float(service.plist.get("ExitTimeOut", EXIT_TIMEOUT)),
                bool(service.plist.get("AbandonProcessGroup")),
            )
        if not service.pid:
            service.due = None
            self.start(service)
        return service.pid

    def kill(self, number: int, label: str) -> None:
        service = self.find(label)
        if not service.pid:
            raise Refused(errno.ESRCH)
        os.kill(service.pid, number)

    def print_disabled(self) -> dict[str, bool]:
        return self.overrides()

    def list(self) -> list:
        return [self.told(service) for service in self.services.values()]

    def print(self, label: str) -> dict:
        return self.told(self.find(label))

    def told(self, service: Service) -> dict:
        """What launchctl shows of a service."""
        return {
            "label": service.label,
            "path": service.path,
            "pid": service.pid,
            "active": bool(service.pid) + len(service.instances),
            "runs": service.runs,
            "last": service.last_exit,
            "plist": json.loads(json.dumps(service.plist, default=str)),
            "sockets": {
                name: [made.fileno() for made in group] for name, group in service.sockets.items()
            },
            "waits": service.due is not None,
        }


def wait_for_unlock() -> None:
    """With FileVault on, nothing of the data volume is there until somebody gives a password, or gave it before the restart."""
    once = state.FOLDER / "authrestart"
    here = Path("/run/double-was-unlocked")  # /run lasts as long as a boot
    while state.on("filevault") and not here.exists() and not once.exists():
        time.sleep(0.1)
    once.unlink(missing_ok=True)
    here.touch()


def main(words: list[str]) -> int:
    ctypes.CDLL(None).prctl(15, b"launchd", 0, 0, 0)  # what lsof shows
    os.umask(0o022)
    wait_for_unlock()
    daemon = Launchd()
    daemon.boot()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    daemon.run()
    return 0
