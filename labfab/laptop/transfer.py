"""Transfer: rsync between this machine and a host, through the OpenSSH client.

patchwork pushes. It can neither pull nor preview, so for these labfab calls rsync itself.

Constraints:
- `-s` sends paths in rsync's own protocol: no shell of the host ever reads them.
- A file gets its name only once it is complete. A partial one waits in .labfab-partial for the
  next run.
- --max-delete is the number that was shown to the user, so never more than that is deleted there.
- A host may be hostile: what is pulled makes no link, deletes nothing and changes the mode of no
  folder here by itself (arrival.py), and fills neither the memory nor the disk.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from . import arrival, openssh, patchwork, rsync, ssh_log
from .arrival import Link
from .openssh import Target
from .rsync import Tell

LIKE_PATCHWORK = "-pthrz"  # the options that patchwork uses itself
OPTIONS = ("-s", "--partial-dir=.labfab-partial", f"--timeout={rsync.SILENCE}")
LINKS = ("-l", "-J")  # -J: their times do not count
# The modes of what is pulled. Existing files and folders keep theirs; new ones get at most what
# your umask allows, and never set a user or a group.
MINE = ("--no-perms", "--executability")
# The same for a backup, which keeps the modes for the next host, but can be read here.
KEPT = ("--chmod=ug-s,Du+rx,Fu+r",)
# Holds a host to its preview, if that had only new files.
NEW_ONLY = "--ignore-existing"
PROGRESS = "--info=progress2,name0,flist0,stats0"
ALIVE = ("ServerAliveInterval=15", "ServerAliveCountMax=3")
# rsync writes every control character as \#ooo, so this one ends the name.
PREVIEW_OPTIONS = ("-n", "-8", "--out-format=%i %l %n\x1f%L")
LOOKED = r"(?P<kind>[<>ch.*][fdLDS])(?P<how>\S{9,}) (?P<size>\d+) (?P<name>.*)"
DELETED = r"\*deleting +(?:\d+ )?(?P<name>.*)"


class RemoteEnd(NamedTuple):
    """The far end of a transfer: the login that ssh uses, and the program that it starts there."""

    target: Target
    user: str
    port: int
    program: str = "rsync"
    timeout: int = 10  # seconds to connect
    errors: Callable[[], str] = str  # returns that program's complaints on the host
    log: tuple[str, ...] = ()  # ssh's options for its own messages

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def ssh_options(self) -> list[str]:
        """Return ssh's options without the host's name."""
        settings = (*ALIVE, f"ConnectTimeout={self.timeout}")
        options = [word for setting in settings for word in ("-o", setting)]
        return openssh.command(self.target, *self.log, *options)[1:-2]

    def path(self, path: str) -> str:
        """Return a path of the host as rsync takes it."""
        host = f"[{self.name}]" if ":" in self.name else self.name
        return f"{self.user}@{host}:{path}"


class Preview(NamedTuple):
    """What a transfer would do."""

    new: tuple[str, ...] = ()  # files and links
    replaced: tuple[str, ...] = ()
    other: int = 0  # folders to make, times and modes to set
    deleted: tuple[str, ...] = ()
    size: int = 0  # bytes of the files to send
    touched: tuple[str, ...] = ()  # existing files that get another mode; also in `other`

    @property
    def overwritten(self) -> tuple[str, ...]:
        """Return the existing files that would not stay as they are."""
        return (*self.replaced, *self.touched)

    def __bool__(self) -> bool:
        return bool(self.new or self.replaced or self.other or self.deleted)

    @property
    def files(self) -> int:
        return len(self.new) + len(self.replaced)


class Transfer(NamedTuple):
    """One transfer: from `source` here to `place` there, or with `pull` from there to here."""

    remote: RemoteEnd
    source: str
    place: str
    pull: bool = False
    options: tuple[str, ...] = ()

    def logging(self, log: ssh_log.Log) -> Transfer:
        """Return the same transfer, whose ssh writes its own messages to a log."""
        return self._replace(remote=self.remote._replace(log=tuple(log.options)))

    def argv(self, *more: str) -> list[str]:
        """Return the command of rsync."""
        push = [self.source, self.remote.path(self.place)]
        ends = [self.remote.path(self.source), self.place] if self.pull else push
        ssh = in_rsync_quotes([*self.remote.ssh_options, "-p", str(self.remote.port)])
        shell = ["-e", f"ssh {ssh}"]
        path = f"--rsync-path={self.remote.program}"
        return ["rsync", LIKE_PATCHWORK, *OPTIONS, *self.options, *more, *shell, path, *ends]


def preview(transfer: Transfer, delete: bool = False, checksums: bool = False) -> Preview:
    """Find out what a transfer would do, and change nothing.

    delete: also list what is not at the source. checksums: compare contents instead of sizes and
    times. Raises SetupError if rsync fails.
    """
    more = [*PREVIEW_OPTIONS, *LINKS]
    if delete:
        more.append("--delete")
    if checksums:
        more.append("-c")
    with ssh_log.opened() as log:
        code, out, errors = rsync.run(transfer.logging(log).argv(*more))
        judge(transfer.remote, code, errors, log)
    return parse(out)


def parse(out: str) -> Preview:
    """Read what rsync prints about each file: each name is on one line, whatever it contains."""
    new: list[str] = []
    replaced: list[str] = []
    deleted: list[str] = []
    touched: list[str] = []
    other = size = 0
    # splitlines() would split at characters that a host puts into names.
    for line in out.split("\n"):
        if gone := re.fullmatch(DELETED, line):
            deleted.append(name_of(gone["name"], 0))
        elif found := re.fullmatch(LOOKED, line):
            kind, how = found["kind"], found["how"]
            name = name_of(found["name"], int(found["size"]) if kind == "cL" else 0)
            if kind[0] in "<>" or kind == "cL":
                (new if set(how) == {"+"} else replaced).append(name)
                size += int(found["size"])
            # The time of a folder does not count, and the target itself keeps its mode.
            elif kind != ".d" or (how.strip(".") != "t" and name != "./"):
                other += 1
                touched += [name] if kind == ".f" else []
    names = (tuple(new), tuple(replaced), other, tuple(deleted))
    return Preview(*names, size=size, touched=tuple(touched))


def name_of(said: str, size: int) -> str:
    """Return a name as it is, from the way rsync prints it. size: of a link's target, else 0."""
    text = re.sub(r"\\#([0-7]{3})", lambda found: chr(int(found[1], 8)), said)
    raw = os.fsencode(text)
    name, mark, target = raw[:-size], b"\x1f -> ", raw[-size:]
    if size and name.endswith(mark):
        return Link(os.fsdecode(name.removesuffix(mark)), os.fsdecode(target))
    return text.removesuffix("\x1f")


def links(found: Preview) -> list[Link]:
    """Return the links of a preview."""
    return [name for name in (*found.new, *found.replaced) if isinstance(name, Link)]


def links_out(source: str, found: Preview) -> tuple[Link, ...]:
    """Return the links that lead out of what is pulled. source: on the host."""
    root = "" if source.endswith("/") else source.rpartition("/")[2]
    return tuple(link for link in links(found) if arrival.leads_out(link, root))


def without(found: Preview, names: tuple[Link, ...]) -> Preview:
    """Return a preview without these names."""
    new = tuple(name for name in found.new if name not in names)
    return found._replace(
        new=new, replaced=tuple(name for name in found.replaced if name not in names)
    )


def run_transfer(transfer: Transfer, tell: Tell, delete: int | None = 0) -> None:
    """Do a transfer. What is pulled comes without links.

    tell: gets the progress. delete: how many files it may delete; None: all that are not at the
    source. Raises SetupError if not everything was copied.
    """
    more = [PROGRESS]
    if delete is None:
        more.append("--delete")
    elif delete:
        more += ["--delete", f"--max-delete={delete}"]
    with ssh_log.opened() as log:
        send = pull if transfer.pull else push
        code, _, errors = send(transfer.logging(log), more, tell)
        judge(transfer.remote, code, errors, log)


def judge(far: RemoteEnd, code: int, errors: str, log: ssh_log.Log) -> None:
    """Raise SetupError if not everything was copied."""
    if code:
        rsync.judge(far.target, code, f"{errors}\n{far.errors()}", log.read())


def pull(transfer: Transfer, more: list[str], tell: Tell) -> tuple[int, str, str]:
    """Fetch, and stop before the disk is full."""
    place = Path(transfer.place)

    def tell_and_look(line: str) -> None:
        arrival.refuse_full(place)
        tell(line)

    return rsync.run(transfer.argv(*more), tell_and_look)


def push(transfer: Transfer, more: list[str], tell: Tell) -> tuple[int, str, str]:
    """Send through patchwork. It quotes nothing, so every word is quoted here."""
    far = transfer.remote
    words = [*OPTIONS, *transfer.options, *more, *LINKS, f"--rsync-path={far.program}"]
    return patchwork.rsync()(
        Caller(shlex.quote(far.user), shlex.quote(far.name), far.port, tell),
        shlex.quote(transfer.source),
        shlex.quote(transfer.place),
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
