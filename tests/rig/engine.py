"""The container engine: docker or podman, whichever runs, else one of our own."""

import json
import os
import shutil
import subprocess
from functools import cached_property

from . import dockerd
from .places import RigError, say

NOTHING = "no container engine answers: start docker or install podman (as root on Debian or Ubuntu it is done for you)"


class Engine:
    """One engine and the way to talk to it."""

    def __init__(self, command: str, socket: str = ""):
        self.command = command
        self.env = {**os.environ, **({"DOCKER_HOST": socket} if socket else {})}

    def ok(self, *args: str, timeout: float = 120) -> bool:
        """Tell whether a command of the engine succeeds."""
        try:
            self.run(*args, timeout=timeout)
        except RigError:
            return False
        return True

    def run(self, *args: str, input: str | bytes | None = None, timeout: float = 120) -> str:
        """Run a command of the engine and return what it prints."""
        data = input.encode() if isinstance(input, str) else input
        shown = " ".join([self.command, *args[:3]])
        try:
            done = subprocess.run(
                [self.command, *args],
                input=data,
                capture_output=True,
                timeout=timeout,
                env=self.env,
                **({"stdin": subprocess.DEVNULL} if data is None else {}),
            )
        except subprocess.TimeoutExpired as late:
            raise RigError(f"`{shown} …` gave no answer within {timeout:.0f} s") from late
        if done.returncode:
            words = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise RigError(f"`{shown} …` failed with status {done.returncode}: {words[-1500:]}")
        return done.stdout.decode(errors="replace").strip()

    def answers(self) -> bool:
        """Tell whether there is an engine behind the command: a client alone is no engine."""
        try:
            return bool(self.info.get("ServerVersion") or self.is_podman)
        except (RigError, ValueError):
            return False

    @cached_property
    def info(self) -> dict:
        """What the engine says about itself."""
        return json.loads(self.run("info", "--format", "{{json .}}", timeout=15))

    @property
    def is_ours(self) -> bool:
        """Whether it is an engine of a labfab clone, which leaves the packet filter to us."""
        return self.env.get("DOCKER_HOST", "").startswith("unix:///run/labfab-")

    @property
    def is_podman(self) -> bool:
        return os.path.basename(self.command) == "podman"

    @cached_property
    def reaches_containers(self) -> bool:
        """Whether the addresses of containers can be dialed from here (not from macOS, nor without root)."""
        if os.environ.get("RIG_PUBLISH"):
            return False
        if self.is_podman:
            host = self.info["host"]
            return not host["security"]["rootless"] and not host.get("serviceIsRemote")
        rootless = any("rootless" in option for option in self.info.get("SecurityOptions") or [])
        return not rootless and "Docker Desktop" not in self.info.get("OperatingSystem", "")


def running() -> Engine | None:
    """Find an engine that answers."""
    candidates = []
    if shutil.which("docker"):
        if not os.environ.get("DOCKER_HOST") and dockerd.SOCKET.exists():
            candidates.append(Engine("docker", f"unix://{dockerd.SOCKET}"))
        candidates.append(Engine("docker"))
    if shutil.which("podman"):
        candidates.append(Engine("podman"))
    return next((engine for engine in candidates if engine.answers()), None)


def find() -> Engine:
    """Return an engine that answers; start one where that is possible."""
    engine = running()
    if engine:
        return engine
    if not dockerd.possible():
        raise RigError(NOTHING)
    dockerd.install()
    engine = running()  # installing it may have started the system's own
    if engine:
        return engine
    say("starting a container engine of our own")
    dockerd.start()
    return Engine("docker", f"unix://{dockerd.SOCKET}")
