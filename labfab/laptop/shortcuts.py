"""Shortcuts: callhome, connectlab, closelab and launchlab, small shell scripts that need ssh alone.

Owns: these names in ~/.local/bin, as far as the files carry our mark.  Undo: remove(alias)
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import SetupError
from ..local_state import files
from . import control, openssh, tunnel
from .openssh import Target

MARK = "# labfab: shortcut of %s. Changes of yours are overwritten; fab shortcuts.remove takes it away."
OWNER = MARK.replace(".", r"\.") % r"(\S+)"
CALLHOME = """\
#!/bin/sh
%(mark)s
# A shell on the host; with more words, runs them there.
exec %(ssh)s %(alias)s "$@"
"""
LAUNCHLAB = """\
#!/bin/sh
%(mark)s
# Starts JupyterLab on the host, unless it runs.
exec %(ssh)s %(tty)s%(alias)s .local/bin/launchlab
"""
CONNECTLAB = """\
#!/bin/sh
%(mark)s
# Opens the tunnel to JupyterLab and says where it leads; `%(name)s 9100` takes another port of this machine.
known=%(known)s
far=%(far)s
tunnel() { %(ssh)s -S %(control)s "$@" %(alias)s; }
pid() { tunnel -O check 2>&1 | sed -n 's/.*pid=\\([0-9]*\\).*/\\1/p'; }
tell() { echo "the tunnel $1: %(scheme)s://127.0.0.1:$port%(path)slab"; }

if [ -n "$(pid)" ] || grep -qs '"keeper"' "$known"; then
    port=$(sed -n 's/.*"local_port": *\\([0-9]*\\).*/\\1/p' "$known" 2>/dev/null)
    port=${port:-%(local)d}
    tell "is open already"
    exit
fi
port=${1:-%(local)d}
rm -f %(socket)s  # one left behind would be in the way
tunnel -f -N -M %(options)s -L "127.0.0.1:$port:$far" >/dev/null || {
    echo "no tunnel; if it is port $port of this machine that is taken, name another: %(name)s 9100" >&2
    exit 1
}
# So that fab knows of it too.
[ ! -d "${known%%/*}" ] || printf %(state)s'\\n' "$port" "$(pid)" >"$known"
tell "is open"
"""
CLOSELAB = """\
#!/bin/sh
%(mark)s
# Closes the tunnel, also with the host down.
if grep -qs '"keeper"' %(known)s; then
    echo "the tunnel is kept open: fab -H %(alias)s tunnel.forget ends it"
elif %(ssh)s -S %(control)s -O exit %(alias)s 2>/dev/null; then
    echo "the tunnel is closed"
else
    echo "no tunnel was open"
fi
"""
SCRIPTS = {
    "callhome": CALLHOME,
    "connectlab": CONNECTLAB,
    "closelab": CLOSELAB,
    "launchlab": LAUNCHLAB,
}


def folder() -> Path:
    return Path.home() / ".local" / "bin"


def owner(path: Path) -> str:
    """The alias whose shortcut a file is; empty for any other file."""
    found = (
        [
            re.fullmatch(OWNER, line)
            for line in files.load(path).decode(errors="replace").splitlines()[:2]
        ]
        if path.is_file()
        else []
    )
    return next((match[1] for match in found if match), "")


def names(alias: str) -> dict[str, str]:
    """What the shortcuts of a lab are called: the guide's words, or where another lab has those, with the alias at their end."""
    beside = {word: f"{word}-{alias}" for word in SCRIPTS}
    taken = any(owner(folder() / word) not in ("", alias) for word in SCRIPTS)
    return (
        beside
        if taken or any(owner(folder() / name) for name in beside.values())
        else {word: word for word in SCRIPTS}
    )


def texts(
    target: Target, url: str, local_port: int, remote: int | str, home: str, tty: bool
) -> dict[Path, str]:
    """The scripts of a lab. url: of JupyterLab on some port of a loopback. tty: the host's command asks for a password."""
    alias, place = target.alias, control.place(target.alias)
    scheme, _, rest = url.partition("://")
    state = {
        "target": target._asdict(),
        "wanted_port": local_port,
        "remote_port": remote,
        "control": str(place),
    }
    format = (
        json.dumps(state).replace("%", "%%").removesuffix("}") + ', "local_port": %d, "pid": %d}'
    )
    values = {
        "mark": MARK % alias,
        "alias": alias,
        "ssh": shlex.join(["ssh", *openssh.home_options(target.config)]),
        "tty": "-t " * tty,
        "far": shlex.quote(
            f"127.0.0.1:{remote}" if isinstance(remote, int) else openssh.below(home, remote)
        ),
        "known": shlex.quote(str(tunnel.state_path(alias))),
        "socket": shlex.quote(str(place)),
        "control": shlex.quote(control.option(place)[1]),
        "options": " ".join(f"-o {option}" for option in tunnel.KEEP),
        "scheme": scheme,
        "path": f"/{rest.partition('/')[2]}",
        "local": local_port,
        "state": shlex.quote(format),
    }
    return {
        folder() / name: SCRIPTS[word] % {**values, "name": name}
        for word, name in names(alias).items()
    }


def differing(wanted: Mapping[Path, str], alias: str) -> list[Path]:
    """Those that are to be written. Raises SetupError where a name is somebody else's."""
    for path in wanted:
        if os.path.lexists(path) and owner(path) != alias:
            raise SetupError(
                f"{path} is there already and not ours: move it away, then the same again"
            )
    return [
        path
        for path, text in wanted.items()
        if not (files.load(path) == text.encode() and os.access(path, os.X_OK))
    ]


def write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, text.encode(), 0o755)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from None


def remove(alias: str) -> list[Path]:
    """Remove the shortcuts of a lab; a file of somebody else's stays. Gives those that are gone."""
    gone = [
        folder() / name
        for word in SCRIPTS
        for name in (word, f"{word}-{alias}")
        if owner(folder() / name) == alias
    ]
    for path in gone:
        try:
            path.unlink()
        except OSError as error:
            raise SetupError(f"cannot remove {path}: {error.strerror}") from None
    return gone


def obstacles(paths: Mapping[Path, str]) -> Iterator[str]:
    """What keeps the shell from finding the scripts by their names."""
    on_path = [
        os.path.realpath(part) for part in os.environ.get("PATH", "").split(os.pathsep) if part
    ]
    if os.path.realpath(folder()) not in on_path:
        yield f'{folder()} is not on your PATH: add this line to ~/.profile (zsh: ~/.zprofile): PATH="$HOME/.local/bin:$PATH"'
        return
    for path in paths:
        found = shutil.which(path.name)
        if found and not os.path.samefile(found, path):
            yield f"{path.name} is {found} in your shell: it comes before {path} on your PATH"
