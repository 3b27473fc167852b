"""Transfer: rsync between this machine and a host, through the OpenSSH client.

patchwork pushes; it cannot pull nor only look, so for that rsync is called here.

Constraints:
- `-s` hands paths over in rsync's own protocol: no shell of the host ever reads them.
- A file takes its name only when it is whole; what was cut off waits in .labfab-partial for the next run.
- --max-delete is the number that was told, so nothing more than that is ever deleted.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import NamedTuple

from . import openssh, patchwork, rsync
from .openssh import Target
from .rsync import Tell

LIKE_PATCHWORK = "-pthrz"  # the options that it uses itself
OPTIONS = ("-s", "-l", "--partial-dir=.labfab-partial")
PROGRESS = "--info=progress2,name0,flist0,stats0"
ALIVE = ("ServerAliveInterval=15", "ServerAliveCountMax=3")
LOOK = ("-n", "-8", "--out-format=%i %l %n")
LOOKED = r"(?P<kind>[<>ch.*][fdLDS])(?P<how>\S{9,}) (?P<size>\d+) (?P<name>.*)"
DELETED = r"\*deleting +(?:\d+ )?(?P<name>.*)"


class Far(NamedTuple):
    """The far end of a transfer: whom ssh calls, and the program that it starts there."""

    target: Target
    user: str
    port: int
    program: str = "rsync"
    timeout: int = 10
    errors: Callable[[], str] = str  # what that program complained of there

    @property
    def name(self) -> str:
        return self.target.hostname or self.target.alias

    @property
    def ssh_options(self) -> list[str]:
        """What the OpenSSH client needs beside the name of the host."""
        alive = [
            word for option in (*ALIVE, f"ConnectTimeout={self.timeout}") for word in ("-o", option)
        ]
        return [*openssh.command(self.target, *alive)[1:-2]]

    def path(self, path: str) -> str:
        """A path of the host as rsync takes it."""
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
        """The command of rsync."""
        ends = (
            [self.far.path(self.source), self.place]
            if self.pull
            else [self.source, self.far.path(self.place)]
        )
        shell = ["-e", f"ssh {in_rsync_quotes(self.far.ssh_options + ['-p', str(self.far.port)])}"]
        path = f"--rsync-path={self.far.program}"
        return ["rsync", LIKE_PATCHWORK, *OPTIONS, *self.options, *more, *shell, path, *ends]


def look(errand: Errand, delete: bool = False, checksums: bool = False) -> Survey:
    """Find out what a transfer would do; changes nothing. checksums: compare contents, not sizes and times."""
    more = [*LOOK, *["--delete"] * delete, *["-c"] * checksums]
    code, out, errors = rsync.run(errand.argv(*more))
    judge(errand.far, code, errors)
    return parse(out)


def parse(out: str) -> Survey:
    """Read what rsync tells of each file; it writes a name in one line, whatever is in it."""
    new, replaced, deleted, other, size = [], [], [], 0, 0
    for line in out.splitlines():
        if gone := re.fullmatch(DELETED, line):
            deleted.append(gone["name"])
        elif found := re.fullmatch(LOOKED, line):
            sent = found["kind"][0] in "<>" or found["kind"] == "cL"
            other += not sent and (found["kind"], found["how"].strip(".")) != (
                ".d",
                "t",
            )  # a folder's time alone is no reason
            if sent:
                (new if set(found["how"]) == {"+"} else replaced).append(found["name"])
                size += int(found["size"])
    return Survey(tuple(new), tuple(replaced), other, tuple(deleted), size)


def carry(errand: Errand, tell: Tell, delete: int | None = 0) -> None:
    """Do it. delete: how many files the far end may lose; None: all that are not at the source."""
    more = [
        PROGRESS,
        *(
            ["--delete"]
            if delete is None
            else ["--delete", f"--max-delete={delete}"]
            if delete
            else []
        ),
    ]
    code, _, errors = (
        rsync.run(errand.argv(*more), tell) if errand.pull else push(errand, more, tell)
    )
    judge(errand.far, code, errors)


def judge(far: Far, code: int, errors: str) -> None:
    """Raise SetupError when it was not all done."""
    if code:
        rsync.judge(far.target, code, errors + far.errors())


def push(errand: Errand, more: list[str], tell: Tell) -> tuple[int, str, str]:
    """Send, through patchwork; it quotes nothing, so every word is quoted here."""
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
    """Words for rsync's -e, which has quotes of its own: a doubled quote stands for one."""
    return " ".join("'" + word.replace("'", "''") + "'" for word in words)


class Caller(NamedTuple):
    """What patchwork knows of a connection: the login, and how a command is run on this machine."""

    user: str
    host: str
    port: int
    tell: Tell
    connect_kwargs: dict[str, str] = {}  # the key is in ssh's options

    def local(self, command: str) -> tuple[int, str, str]:
        """Run it as rsync is run here; Invoke would leave its pipes open."""
        return rsync.run(["sh", "-c", command], self.tell)
