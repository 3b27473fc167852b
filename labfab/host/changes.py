"""Changes: what a run reads and writes on a host.

ask reads, change and put write; each write has a why, is shown, is journaled with its way back, and in plan mode is
shown instead of done. Stages pass shell text as constants with %s: quoting happens here and nowhere else.
"""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Callable, Mapping, Sequence

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..local_state import ssh_config
from ..local_state.aliases import block_of, config_path, jump
from ..settings import Settings
from . import journal
from .alias import alias_of
from .remote_file import File
from .session import Host
from .shell import ConnectionLost, Result

LONG = 1800  # seconds of silence allowed to a download or an unpacking
# The new file takes the name only when it is whole: `>` would follow a link that the account may have put there.
PUT = """\
set -eu; umask 077
path=%s; mode=%s; check=%s; NEW=$path.labfab-new
# Of this folder macOS reads every file.
case $path in */sshd_config.d/*) NEW=${path%%/*/*}/${path##*/}.labfab-new ;; esac
mkdir -p "$(dirname "$path")"; rm -f "$NEW"; trap 'rm -f "$NEW"' EXIT
cat >"$NEW"; chmod "$mode" "$NEW"
eval "$check"
mv -f "$NEW" "$path"
"""
AS_USER = "(HOME=~%s; USER=%s; LOGNAME=%s; export HOME USER LOGNAME; cd ~%s || cd /; become %s %s)"


def fill(command: str, *args: object) -> str:
    """Put quoted values into shell text."""
    return command % tuple(shlex.quote(str(arg)) for arg in args)


def as_user(command: str, user: str | None) -> str:
    """Run shell text as another account, in its home."""
    return fill(AS_USER, user, user, user, user, user, command) if user else command


def ask(c: Connection, command: str, *args: object, user: str | None = None) -> Result:
    """Read something; also in plan mode.

    command: shell text with %s for each value. user: account to read as, else root.
    Exit code 0 means yes and 1 no; anything else is an error and raises SetupError.
    """
    host = Host.of(c)
    result = host.read(as_user(fill(command, *args), user))
    if result.code not in (0, 1):
        raise SetupError(
            f"{host.label}: cannot find out ({command.split()[0]}): {result.last_words}"
        )
    return result


def change(
    c: Connection,
    command: str,
    *args: object,
    why: str,
    undo: Sequence[str] = (),
    keep: Sequence[str] = (),
    user: str | None = None,
    stdin: str = "",
    long: bool = False,
    then: Mapping[str, str | None] | None = None,
    explain: Callable[[str], str] | None = None,
) -> Result | None:
    """Change something.

    why: what the user sees. undo: command of undo.sh and values that take it back, none: it stays. keep: files and
    folders that this command wants to know as they were. user: account to do it as, else root. stdin: secret input,
    never shown. long: show the output while it runs. then: the facts that it makes true, for the stages that follow in
    plan mode; None for a fact that is gone. explain: says in one line what a failed command said in many.
    Raises SetupError when the command fails. Returns None in plan mode.
    """
    text = as_user(fill(command, *args), user)
    if stdin:
        text = f"printf %s {shlex.quote(stdin)} | {{ {text}\n}}"
    line = journal.entry(Host.of(c).stage, why, filled(undo), keep=keep)
    if Host.of(c).planning:
        return plan(c, why, then)
    return write(c, text, line, why, LONG if long else 120, explain)


def put(
    c: Connection,
    path: str,
    text: str,
    why: str,
    old: File | None,
    mode: str = "644",
    owner: str = "root",
    check: str = "true",
    secret: bool = False,
    undo: Sequence[str] = (),
    then: Mapping[str, str | None] | None = None,
) -> Result | None:
    """Write a file as a whole, where content, mode or owner differ from *old*.

    mode: octal. owner: an account, which writes the file itself unless it is root. check: shell text that must
    succeed before "$NEW" takes the name. secret: show no content in plan mode. undo: what to do instead of bringing the
    file back as it was, where somebody changed it since. then: as for change().
    """
    if old and (old.content, old.mode, old.owner) == (text, mode, owner):
        return None
    if Host.of(c).planning:
        return plan(
            c, why, then, path, "" if secret else difference(path, old.content if old else "", text)
        )
    account = owner if owner != "root" else None
    script = fill("printf %%s %s | ", text) + as_user(
        fill("sh -c %s", fill(PUT, path, mode, check)), account
    )
    sha256 = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
    return write(
        c, script, journal.entry(Host.of(c).stage, why, filled(undo), path, sha256=sha256), why
    )


def filled(undo: Sequence[str]) -> list[str]:
    """The command that takes a change back, as the journal keeps it."""
    return [fill(undo[0], *undo[1:])] if undo else []


def difference(path: str, old: str, new: str) -> str:
    """The unified diff of a file's texts."""
    from difflib import unified_diff

    return "".join(unified_diff(old.splitlines(True), new.splitlines(True), path, path, n=1))


def plan(
    c: Connection, why: str, then: Mapping[str, str | None] | None, path: str = "", diff: str = ""
) -> None:
    """Show a change instead of doing it, and take its effect for granted from here on."""
    host = Host.of(c)
    host.record(why, path, diff)
    console.planned(host.label, why, diff)
    host.assume(then or {})


def write(
    c: Connection,
    script: str,
    line: dict[str, object],
    why: str,
    timeout: float = 120,
    explain: Callable[[str], str] | None = None,
) -> Result:
    """Note, do and show one change."""
    host = Host.of(c)
    line = line | {"run": host.run, "step": host.step}
    mark = host.mark_write()
    if mark:
        timeout = min(timeout, mark.patience)
        line["window"] = mark.id
    began = time.monotonic()
    with console.working(host.label, why) as tell:
        try:
            result = host.open().run(journal.command(line) + script, tell, timeout)
        except ConnectionLost as lost:
            if (
                not host.run_lock.shell
                or host.resume(lost).run(journal.knows(line)).code != journal.UNKNOWN
            ):
                raise  # it may have been done, or in part
            result = host.open().run(journal.command(line) + script, tell, timeout)
    host.forget()
    if not result.ok:
        raise SetupError(failure(host.label, why, result, explain))
    host.record(why, str(line.get("path", "")))
    console.changed(host.label, why, time.monotonic() - began)
    return result


def failure(
    label: str, why: str, result: Result, explain: Callable[[str], str] | None = None
) -> str:
    """One line for a change that failed."""
    words = result.last_words
    if "Read-only file system" in words:
        return f"{label}: a file system of the host is read-only, could not {why}: a damaged disk? Look at dmesg there, mount it anew"
    if result.code == journal.FULL or "No space left" in words or "Disk quota" in words:
        return f"{label}: no space left on the host, could not {why}: free some (df -h shows where) and run this again"
    return f"{label}: could not {why}: {explain(result.out + result.err) if explain else words}"


def remember(c: Connection, settings: Settings) -> None:
    """Write the proven way in to ~/.ssh/config, under the alias."""
    host, path = Host.of(c), config_path(c)
    known = block_of(c)  # a stage alone proves no key of its own
    block = ssh_config.Alias(
        name=alias_of(c, settings),
        hostname=c.host,
        user=host.login.user,
        port=host.login.port,
        identity=str(host.login.identity or (known.identity if known else "")),
        was=""
        if (host.login.user, host.login.port) == (c.user, c.port)
        else f"{c.user}@{c.host}:{c.port}",
        proxy_jump=jump(c),
    )
    if not host.planning and ssh_config.write(path, block):
        host.record(f"remember the host as {block.name}")
        console.changed(host.label, f"remember the host as {block.name} in {path}", 0)
