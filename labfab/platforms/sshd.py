"""Sshd: labfab's own file among those that sshd reads.

Owns: that file. It is read before those of others, and the first value wins.  Undo: delete it
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fabric import Connection

from ..facts import facts, sshd_lines
from ..facts.reader import planned_file
from ..facts.records import Ssh
from ..host.changes import put
from ..host.remote_file import Values
from .base import Options

MAIN = "/etc/ssh/sshd_config"
CHECK = '/usr/sbin/sshd -t -f "$NEW"'
# The first line of our file. Hosts have it already, so a new wording would rewrite their files.
HEAD = (
    "# Written by labfab; a change by hand is kept until the stage that owns the line runs again.\n"
)


def write(
    c: Connection, path: str, include: str, options: Options, why: str, then: Values | None = None
) -> None:
    """Set options in our file and keep its other lines.

    path: the file. include: the line of sshd_config that makes sshd read it. then: facts that
    become true by options that hold for everybody.
    """
    have = facts(c).ssh
    include_folder(c, have, include)
    old = have.drop_in.content.splitlines() if have.drop_in else []
    names = {option.lower() for option in options}
    # Ours come first: the first value wins, and lines after a Match hold for that match only.
    kept = [line for line in old if line != HEAD.rstrip() and keyword(line) not in names]
    text = HEAD + "".join(f"{line}\n" for line in [*lines(options), *kept])
    effects = effect(have, options) if then is None else then
    planned = {**planned_file("ssh.drop_in", text, "644", "root"), **effects}
    put(c, path, text, why=why, old=have.drop_in, check=CHECK, then=planned)


def lines(options: Options) -> list[str]:
    """Return a line for each option, or for each of its values."""
    values = {name: [value] if isinstance(value, str) else value for name, value in options.items()}
    return [f"{name} {one}" for name, several in values.items() for one in several]


def keyword(line: str) -> str:
    """Return the option that a line of sshd_config sets; sshd ignores case and allows `=`."""
    return re.split(r"[\s=]", line.strip(), maxsplit=1)[0].lower()


def include_folder(c: Connection, have: Ssh, include: str) -> None:
    """Make sshd read our file's folder if its main file, from an older release, does not."""
    folder, main = include.split()[1], have.main
    if have.lines:
        reads = sshd_lines.reads_ours(have.lines)
    else:
        lines = main.content.splitlines() if main else []
        reads = any(keyword(line) == "include" and folder in line for line in lines)
    if main and not reads:
        text, why = f"{include}\n{main.content}", "make sshd read sshd_config.d"
        put(c, MAIN, text, why=why, old=main, mode=main.mode, check=CHECK)


def effect(have: Ssh, options: Options) -> dict[str, str | None]:
    """Return the facts that these options make true, for plan mode."""
    ports = listening_on(have, options["Port"]) if "Port" in options else {}
    return ports | {
        f"ssh.{user}.{option.lower()}": value
        for user in have.effective
        for option, value in options.items()
        if isinstance(value, str)
    }


def listening_on(have: Ssh, ports: Sequence[object]) -> dict[str, str | None]:
    """Return the facts of an sshd that listens on these ports and no others, for plan mode."""
    gone: dict[str, str | None] = {f"ssh.port.{port}": None for port in have.ports}
    kinds = ["port", "listening"]
    if have.socket_ports:
        gone |= {f"ssh.socket_port.{port}": None for port in have.socket_ports}
        kinds.append("socket_port")
    return gone | {f"ssh.{kind}.{port}": "yes" for port in ports for kind in kinds}
