"""Shortcuts: callhome, connectlab, closelab and launchlab: small shell scripts that need only ssh.

Owns: these names in ~/.local/bin, if the files carry our mark.  Undo: remove(alias)
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
from . import openssh, ssh_control, tunnel
from .openssh import Target

# Scripts of older versions carry the same mark: owner() recognizes our files by it.
MARK = (
    "# labfab: shortcut of %s. Changes of yours are overwritten; "
    "fab shortcuts.remove takes it away."
)
OWNER = MARK.replace(".", r"\.") % r"(\S+)"
CALLHOME = """\
#!/bin/sh
%(mark)s
# A shell on the host; with more words, runs them there.
exec %(ssh)s %(own)s %(alias)s "$@"
"""
LAUNCHLAB = """\
#!/bin/sh
%(mark)s
# Starts JupyterLab on the host, unless it runs.
exec %(ssh)s %(own)s %(tty)s%(alias)s .local/bin/launchlab
"""
CONNECTLAB = """\
#!/bin/sh
%(mark)s
# Opens the tunnel to JupyterLab and says where it leads; `%(name)s 9100` takes another port of \
this machine.
known=%(known)s
far=%(far)s
# Reads no configuration: the forwards in yours are not for this ssh.
control() { ssh -F none -S %(control)s -O "$@" %(alias)s; }
pid() { control check 2>&1 | sed -n 's/.*pid=\\([0-9]*\\).*/\\1/p'; }
tell() { echo "the tunnel $1: %(scheme)s://127.0.0.1:$port%(path)slab"; }

if [ -n "$(pid)" ] || grep -qs '"keeper"' "$known"; then
    port=$(sed -n 's/.*"local_port": *\\([0-9]*\\).*/\\1/p' "$known" 2>/dev/null)
    port=${port:-%(local)d}
    tell "is open already"
    exit
fi
port=${1:-%(local)d}
rm -f %(socket)s  # one left behind would be in the way
%(ssh)s -f -N -M -S %(control)s %(options)s %(alias)s >/dev/null || {
    echo "no tunnel" >&2
    exit 1
}
control forward -L "127.0.0.1:$port:$far" || {
    control exit 2>/dev/null
    echo "no tunnel; if it is port $port of this machine that is taken, \
name another: %(name)s 9100" >&2
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
elif ssh -F none -S %(control)s -O exit %(alias)s 2>/dev/null; then
    echo "the tunnel is closed"
else
    echo "no tunnel was open"
fi
"""
# What a shell of the user's does not take from the user's ssh_config. The agent above all: programs
# of that account could log in with it, as the account with sudo too.
OWN = ("ClearAllForwardings=yes", "RemoteCommand=none", "ForwardAgent=no", "ForwardX11=no")
SCRIPTS = {
    "callhome": CALLHOME,
    "connectlab": CONNECTLAB,
    "closelab": CLOSELAB,
    "launchlab": LAUNCHLAB,
}


def folder() -> Path:
    """Return the folder of the scripts."""
    return Path.home() / ".local" / "bin"


def owner(path: Path) -> str:
    """Return the alias that a shortcut file belongs to; empty for any other file."""
    if not path.is_file():
        return ""
    for line in files.load(path).decode(errors="replace").splitlines()[:2]:
        found = re.fullmatch(OWNER, line)
        if found:
            return found[1]
    return ""


def names(alias: str) -> dict[str, str]:
    """Return the names of a lab's shortcuts, by the guide's words.

    The names are these words, with the alias appended if another lab has them.
    """
    longer = {word: f"{word}-{alias}" for word in SCRIPTS}
    taken = any(owner(folder() / word) not in ("", alias) for word in SCRIPTS)
    if taken or any(owner(folder() / name) for name in longer.values()):
        return longer
    return {word: word for word in SCRIPTS}


def texts(
    target: Target, url: str, local_port: int, remote: int | str, home: str, tty: bool
) -> dict[Path, str]:
    """Write the scripts of a lab.

    url: JupyterLab's, on any loopback port. remote: its port on the host, or the path of its
    socket in *home*. tty: whether the host's launchlab asks for a password.
    """
    alias, place = target.alias, ssh_control.socket_path(target.alias)
    scheme, _, rest = url.partition("://")
    far = f"127.0.0.1:{remote}" if isinstance(remote, int) else openssh.below(home, remote)
    values = {
        "mark": MARK % alias,
        "alias": alias,
        "ssh": shlex.join(["ssh", *openssh.home_options(target.config)]),
        "tty": "-t " if tty else "",
        "far": shlex.quote(far),
        "known": shlex.quote(str(tunnel.state_path(alias))),
        "socket": shlex.quote(str(place)),
        "control": shlex.quote(ssh_control.option(place)[1]),
        "own": shlex.join(openssh.as_options(*OWN)),
        "options": shlex.join(openssh.as_options(*tunnel.KEEP, *openssh.own_settings())),
        "scheme": scheme,
        "path": f"/{rest.partition('/')[2]}",
        "local": local_port,
        "state": shlex.quote(state_format(target, local_port, remote, place)),
    }
    return {
        folder() / name: SCRIPTS[word] % {**values, "name": name}
        for word, name in names(alias).items()
    }


def state_format(target: Target, local_port: int, remote: int | str, place: Path) -> str:
    """Return tunnel.json as a printf format that takes the local port and the process ID."""
    state = {**tunnel.wanted_state(target, local_port, remote), "control": str(place)}
    text = json.dumps(state).replace("%", "%%").removesuffix("}")
    return text + ', "local_port": %d, "pid": %d}'


def differing(wanted: Mapping[Path, str], alias: str) -> list[Path]:
    """Return the scripts that must be written. Raises SetupError for a file that is not ours."""
    for path in wanted:
        if os.path.lexists(path) and owner(path) != alias:
            raise SetupError(
                f"{path} exists and is not labfab's: move it away, then run this again"
            )
    return [path for path, text in wanted.items() if not is_written(path, text)]


def is_written(path: Path, text: str) -> bool:
    """Return whether a script is complete and executable."""
    return files.load(path) == text.encode() and os.access(path, os.X_OK)


def write(path: Path, text: str) -> None:
    """Write one script."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, text.encode(), 0o755)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from None


def remove(alias: str) -> list[Path]:
    """Remove the shortcuts of a lab and return their paths. Other files stay."""
    every = [folder() / name for word in SCRIPTS for name in (word, f"{word}-{alias}")]
    ours = [path for path in every if owner(path) == alias]
    for path in ours:
        try:
            path.unlink()
        except OSError as error:
            raise SetupError(f"cannot remove {path}: {error.strerror}") from None
    return ours


def obstacles(paths: Mapping[Path, str]) -> Iterator[str]:
    """Return what keeps the shell from finding the scripts by name."""
    parts = os.environ.get("PATH", "").split(os.pathsep)
    if os.path.realpath(folder()) not in [os.path.realpath(part) for part in parts if part]:
        yield (
            f"{folder()} is not on your PATH: add this line to ~/.profile (zsh: ~/.zprofile): "
            'PATH="$HOME/.local/bin:$PATH"'
        )
        return
    for path in paths:
        found = shutil.which(path.name)
        if found and not os.path.samefile(found, path):
            yield f"{path.name} is {found} in your shell: it comes before {path} on your PATH"
