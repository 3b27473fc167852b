"""Sshd: the file with our options among those that it reads.

Owns: that file, which comes before those of others: the first value wins.  Undo: delete it
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fabric import Connection

from ..facts import facts
from ..facts.reader import as_file
from ..host.changes import put
from ..host.remote_file import File

if TYPE_CHECKING:
    from ..facts.records import Ssh

MAIN = "/etc/ssh/sshd_config"
CHECK = '/usr/sbin/sshd -t -f "$NEW"'
HEAD = (
    "# Written by labfab; a change by hand is kept until the stage that owns the line runs again.\n"
)

Options = Mapping[str, str | Sequence[str]]


def write(c: Connection, place: str, include: str, options: Options, why: str) -> None:
    """Set options in our file, keeping its other lines.

    place: the file. include: the line of sshd_config that has sshd read it.
    """
    have = facts(c).ssh
    read_folder(c, have.main, include)
    old = have.drop_in.content.splitlines() if have.drop_in else []
    ours = [
        f"{option} {one}"
        for option, value in options.items()
        for one in ([value] if isinstance(value, str) else value)
    ]
    names = {option.lower() for option in options}
    # Ours first: the first value wins, and what follows a Match line holds for that match only.
    kept = [line for line in old if line != HEAD.rstrip() and keyword(line) not in names]
    text = HEAD + "".join(f"{line}\n" for line in [*ours, *kept])
    put(
        c,
        place,
        text,
        why=why,
        old=have.drop_in,
        check=CHECK,
        then=as_file("ssh.drop_in", text, "644", "root") | effect(have, options),
    )


def keyword(line: str) -> str:
    """The option that a line of sshd_config sets, which sshd takes in any case and with = too."""
    return re.split(r"[\s=]", line.strip(), maxsplit=1)[0].lower()


def read_folder(c: Connection, main: File | None, include: str) -> None:
    """Let sshd read the folder of that file, where its main file was kept from an older release."""
    folder = include.split()[1]
    if main and not any(
        keyword(line) == "include" and folder in line for line in main.content.splitlines()
    ):
        text = f"{include}\n{main.content}"
        put(c, MAIN, text, why="let sshd read sshd_config.d", old=main, mode=main.mode, check=CHECK)


def effect(have: Ssh, options: Options) -> dict[str, str | None]:
    """What sshd will say of itself afterwards, for plan mode."""
    ports = moved(have, options["Port"]) if "Port" in options else {}
    return ports | {
        f"ssh.{user}.{option.lower()}": value
        for user in have.effective
        for option, value in options.items()
        if isinstance(value, str)
    }


def moved(have: Ssh, ports: Sequence[object]) -> dict[str, str | None]:
    """The facts of an sshd that listens at these ports and no other, for plan mode."""
    gone = {f"ssh.port.{port}": None for port in have.ports}
    return gone | {f"ssh.{kind}.{port}": "yes" for port in ports for kind in ("port", "listening")}
