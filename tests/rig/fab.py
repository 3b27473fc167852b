"""The real `fab`, run the way a user does, from a throwaway home and without a terminal."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .host import Host
from .places import REPO

BIN = Path(sys.executable).parent
# A home's environment must not lead out of it; LABFAB_* are given call by call.
FORGOTTEN = (
    "SSH_AUTH_SOCK",
    "SSH_ASKPASS",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "XDG_CACHE_HOME",
)


@dataclass
class Run:
    """How a command ended and what it said."""

    words: tuple[str, ...]
    rc: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    def ok(self) -> "Run":
        """Insist that it went well."""
        assert self.rc == 0, f"fab {' '.join(self.words)} ended with {self.rc}:\n{self.text}"
        return self

    def fails(self, *words: str) -> "Run":
        """Insist that it failed without a traceback and that the message has these words."""
        assert self.rc != 0, f"fab {' '.join(self.words)} went well:\n{self.text}"
        assert "Traceback" not in self.text, self.text
        for word in words:
            assert word in self.text, f"{word!r} is not in:\n{self.text}"
        return self


class Fab:
    """`fab` with a home of its own."""

    def __init__(self, home: Path, log: Path | None = None):
        self.home = home
        self.log = log
        self.secrets: set[str] = set()

    @property
    def key(self) -> str:
        """The public line of the home's key."""
        return (self.home / ".ssh" / "id_ed25519.pub").read_text().strip()

    def __call__(
        self,
        *words: str,
        env: dict[str, str] | None = None,
        timeout: float = 600,
        cwd: Path = REPO,
        command: str = "fab",
        input: str | None = None,
    ) -> Run:
        """Run fab with these words; kill it after the timeout."""
        env = env or {}
        self.secrets |= {
            value
            for name, value in env.items()
            if name.endswith(("_PASSWORD", "_PASSPHRASE")) and value
        }
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            # Files, not pipes: a tunnel that stays behind would hold a pipe open.
            process = subprocess.Popen(
                [str(BIN / command), *words],
                cwd=cwd,
                env=self.environment(env),
                stdout=out,
                stderr=err,
                text=True,
                stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
                start_new_session=True,
            )
            rc = self._wait(process, input, timeout)
            out.seek(0), err.seek(0)
            run = Run(words, rc, out.read(), err.read())
        self._note(run)
        return run

    def on(
        self,
        host: Host,
        *words: str,
        user: str = "root",
        port: int | None = None,
        env=None,
        **options,
    ) -> Run:
        """Run fab against a host whose key is known to us."""
        port = port or host.port
        place = f"{user}@{host.address}" + (f":{port}" if port != 22 else "")
        trusted = {"LABFAB_HOST_KEY": host.host_key_fingerprint()}
        if host.next_port != 292:
            trusted["LABFAB_SSH_PORT"] = str(host.next_port)
        return self("-H", place, *words, env=trusted | (env or {}), **options)

    def environment(self, extra: dict[str, str]) -> dict[str, str]:
        """Give a child process its environment."""
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith("LABFAB_") and k not in FORGOTTEN
        }
        path = f"{BIN}{os.pathsep}{kept.get('PATH', '')}"
        return (
            kept | {"HOME": str(self.home), "PATH": path, "TERM": "dumb", "COLUMNS": "200"} | extra
        )

    def _wait(self, process: subprocess.Popen, input: str | None, timeout: float) -> int:
        try:
            process.communicate(input, timeout=timeout)
        except subprocess.TimeoutExpired as late:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise AssertionError(
                f"fab {' '.join(late.cmd[1:])} took longer than {timeout:.0f} s"
            ) from None
        return process.returncode

    def _note(self, run: Run) -> None:
        if self.log:
            with self.log.open("a") as log:
                log.write(f"$ fab {' '.join(run.words)}\n{run.out}{run.err}\n")

    def all_secrets(self) -> set[str]:
        """List the secrets that were given, and those labfab made and stored in this home."""
        stored = (self.home / ".config" / "labfab").rglob("*")
        private = [path for path in (self.home / ".ssh").glob("id_*") if path.suffix != ".pub"]
        texts = [
            path.read_text().strip()
            for path in stored
            if path.is_file() and "password" in path.name
        ]
        return (
            self.secrets
            | set(texts)
            | {line for path in private for line in path.read_text().splitlines()[1:-1]}
        )


@contextmanager
def fab_with_home(log: Path | None = None):
    """Give a Fab with a new home under /tmp: paths of control sockets must stay short."""
    home = Path(tempfile.mkdtemp(prefix="lf-", dir="/tmp"))
    try:
        make_key(home)
        yield Fab(home, log)
    finally:
        end_processes(home)
        shutil.rmtree(home, ignore_errors=True)


def make_key(home: Path) -> None:
    """Give a home its ~/.ssh and a key without a passphrase, unless it has them."""
    (home / ".ssh").mkdir(mode=0o700, parents=True, exist_ok=True)
    key = home / ".ssh" / "id_ed25519"
    if not key.exists():
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "labfab", "-f", str(key)],
            check=True,
        )


def end_processes(home: Path) -> None:
    """End what still runs with this home (tunnels); on Linux only, where its processes can be told."""
    mark = f"HOME={home}".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environ.read_bytes().split(b"\0"):
                os.kill(int(environ.parent.name), signal.SIGTERM)
                time.sleep(0.05)
        except OSError:
            continue  # ended meanwhile, or somebody else's
