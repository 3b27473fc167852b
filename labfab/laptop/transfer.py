"""Transfer: rsync between this machine and a host, through the OpenSSH client.

patchwork pushes. It can neither pull nor preview, so for these labfab calls rsync itself.

Constraints:
- `-s` sends paths in rsync's own protocol: no shell of the host ever reads them.
- A file gets its name only once it is complete. A partial one waits in .labfab-partial for the
  next run.
- --max-delete is the number that was shown to the user, so never more than that is deleted.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import NamedTuple

from . import openssh, patchwork, rsync
from .openssh import Target
from .rsync import Tell

LIKE_PATCHWORK = "-pthrz"  # the options that patchwork uses itself
OPTIONS = ("-s", "-l", "--partial-dir=.labfab-partial")
PROGRESS = "--info=progress2,name0,flist0,stats0"
ALIVE = ("ServerAliveInterval=15", "ServerAliveCountMax=3")
LOOK = ("-n", "-8", "--out-format=%i %l %n")
LOOKED = r"(?P<kind>[<>ch.*][fdLDS])(?P<how>\S{9,}) (?P<size>\d+) (?P<name>.*)"
DELETED = r"\*deleting +(?:\d+ )?(?P<name>.*)"


class Far(NamedTuple):
    """The far end of a transfer: the login that ssh uses, and the program that it starts there."""

    target: Target
    user: str
    port: int
    program: str = "rsync"
    timeout: int = 10  # seconds to connect
    errors: Callable[[], str] = str  # returns that program's complaints on the host

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def ssh_options(self) -> list[str]:
        """Return ssh's options without the host's name."""
        settings = (*ALIVE, f"ConnectTimeout={self.timeout}")
        options = [word for setting in settings for word in ("-o", setting)]
        return openssh.command(self.target, *options)[1:-2]

    def path(self, path: str) -> str:
        """Return a path of the host as rsync takes it."""
        host = f"[{self.name}]" if ":" in self.name else self.name
        return f"{self.user}@{host}:{path}"


class Survey(NamedTuple):
    """What a transfer would do."""

    new: tuple[str, ...] = ()  # files and links
    replaced: tuple[str, ...] = ()
    other: int = 0  # folders to make, times and modes to set
    deleted: tuple[str, ...] = ()
    size: int = 0  # bytes of the files to send

    def __bool__(self) -> bool:
        return bool(self.new or self.replaced or self.other or self.deleted)

    @property
    def files(self) -> int:
        return len(self.new) + len(self.replaced)


class Errand(NamedTuple):
    """One transfer: from `source` here to `place` there, or with `pull` from there to here."""

    far: Far
    source: str
    place: str
    pull: bool = False
    options: tuple[str, ...] = ()

    def argv(self, *more: str) -> list[str]:
        """Return the command of rsync."""
        push = [self.source, self.far.path(self.place)]
        ends = [self.far.path(self.source), self.place] if self.pull else push
        ssh = in_rsync_quotes([*self.far.ssh_options, "-p", str(self.far.port)])
        shell = ["-e", f"ssh {ssh}"]
        path = f"--rsync-path={self.far.program}"
        return ["rsync", LIKE_PATCHWORK, *OPTIONS, *self.options, *more, *shell, path, *ends]


def look(errand: Errand, delete: bool = False, checksums: bool = False) -> Survey:
    """Find out what a transfer would do, and change nothing.

    delete: also list what is not at the source. checksums: compare contents instead of sizes and
    times. Raises SetupError if rsync fails.
    """
    more = [*LOOK]
    if delete:
        more.append("--delete")
    if checksums:
        more.append("-c")
    code, out, errors = rsync.run(errand.argv(*more))
    judge(errand.far, code, errors)
    return parse(out)


def parse(out: str) -> Survey:
    """Read what rsync prints about each file: each name is on one line, whatever it contains."""
    new: list[str] = []
    replaced: list[str] = []
    deleted: list[str] = []
    other = size = 0
    # splitlines() would split at characters that stand in names.
    for line in out.split("\n"):
        if gone := re.fullmatch(DELETED, line):
            deleted.append(gone["name"])
        elif found := re.fullmatch(LOOKED, line):
            kind, how = found["kind"], found["how"]
            if kind[0] in "<>" or kind == "cL":
                (new if set(how) == {"+"} else replaced).append(found["name"])
                size += int(found["size"])
            elif (kind, how.strip(".")) != (".d", "t"):  # the time of a folder does not count
                other += 1
    return Survey(
        new=tuple(new), replaced=tuple(replaced), other=other, deleted=tuple(deleted), size=size
    )


def carry(errand: Errand, tell: Tell, delete: int | None = 0) -> None:
    """Do a transfer.

    tell: gets the progress. delete: how many files it may delete; None: all that are not at the
    source. Raises SetupError if not everything was copied.
    """
    more = [PROGRESS]
    if delete is None:
        more.append("--delete")
    elif delete:
        more += ["--delete", f"--max-delete={delete}"]
    if errand.pull:
        code, _, errors = rsync.run(errand.argv(*more), tell)
    else:
        code, _, errors = push(errand, more, tell)
    judge(errand.far, code, errors)


def judge(far: Far, code: int, errors: str) -> None:
    """Raise SetupError if not everything was copied."""
    if code:
        rsync.judge(far.target, code, errors + far.errors())


def push(errand: Errand, more: list[str], tell: Tell) -> tuple[int, str, str]:
    """Send through patchwork. It quotes nothing, so every word is quoted here."""
    far = errand.far
    words = [*OPTIONS, *errand.options, *more, f"--rsync-path={far.program}"]
    return patchwork.rsync()(
        Caller(far.user, far.name, far.port, tell),
        shlex.quote(errand.source),
        shlex.quote(errand.place),
        rsync_opts=shlex.join(words),
        ssh_opts=in_rsync_quotes(far.ssh_options).replace("'", "'\\''"),
    )


def in_rsync_quotes(words: list[str]) -> str:
    """Quote words for rsync's -e, where a doubled quote stands for one."""
    return " ".join("'" + word.replace("'", "''") + "'" for word in words)


class Caller(NamedTuple):
    """The parts of a connection that patchwork needs: the login, and a way to run commands here."""

    user: str
    host: str
    port: int
    tell: Tell
    connect_kwargs: dict[str, str] = {}  # the key is in ssh's options

    def local(self, command: str) -> tuple[int, str, str]:
        """Run a command like rsync.run(); Invoke would leave its pipes open."""
        return rsync.run(["sh", "-c", command], self.tell)
