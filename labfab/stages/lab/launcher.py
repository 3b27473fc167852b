"""Launch: how JupyterLab is started in tmux, by lab.start and by a command in ~/.local/bin that works without labfab.

Owns: ~/.local/bin/launchlab on the host, or the command that the setting start_command names.  Undo: shortcuts.remove
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from fabric import Connection

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...facts.reader import PREFIXES
from ...host.changes import ask, change, fill, put
from ...host.remote_file import File
from ...host.session import Host
from ...platforms import platform
from ...settings import Settings

if TYPE_CHECKING:
    pass

NAME = "launchlab"
MARK = "# labfab: starts JupyterLab"
# The account need not have tmux on its PATH: conda and Homebrew keep theirs elsewhere.
SURROUNDINGS = """\
umask 077
export PATH=~/%s/bin:%s
[ ! -d "/run/user/$(id -u)" ] || export XDG_RUNTIME_DIR="/run/user/$(id -u)"
"""
# tee, so that `tmux attach -t jupyter` shows it too. The log may quote file names: for its owner only.
SESSION = """\
tmux new-session -d -s jupyter 'exec ~/%s/bin/jupyter-lab --no-browser 2>&1 | tee -a ~/.jupyter/lab.log'
"""
START = SURROUNDINGS + SESSION
COMMAND = f"""\
#!/bin/sh
{MARK} in the tmux session `jupyter`, unless it runs, and says where. Changes of yours are overwritten.
user=%s url=%s socket=%s
place=${{url}}lab
[ -z "$socket" ] || place="~/$socket"
[ "$(id -un)" = "$user" ] || exec sudo -H -u "$user" sh -c "$(cat "$0")"
answers() {{ curl -fsk -m 5 ${{socket:+--unix-socket "$HOME/$socket"}} "${{url}}api" >/dev/null; }}

cd
if answers; then
    echo "JupyterLab runs already: $place on this host"
    exit
fi
{SURROUNDINGS}"""
ELSE = f"""\
elif ! tmux has-session -t =jupyter 2>/dev/null; then
{SESSION}fi
end=$(($(date +%%s) + 120))
while tmux has-session -t =jupyter 2>/dev/null || pgrep -u "$user" -f bin/jupyter-lab >/dev/null; do
    if answers; then
        echo "JupyterLab runs: $place on this host"
        exit
    fi
    [ "$(date +%%s)" -lt "$end" ] || break
    sleep 0.3
done
tail -n 3 ~/.jupyter/lab.log
echo "JupyterLab does not answer at $place"
exit 1
"""
# Asked by the account, whose shell knows no words of ours.
LOOK = """\
name=%s
cd ~/.local/bin 2>/dev/null || exit 1
[ -e "$name" ] || [ -L "$name" ] || exit 1
{ stat -L -c '%%a %%U' "./$name" || stat -L -f '%%Lp %%Su' "./$name"; } 2>/dev/null
base64 <"./$name" | tr -d '\\n'
"""
FOUND = "log_in %s %s 2>/dev/null | grep -qx %s"
PROFILE = '\n# labfab: commands of your own\nPATH="$HOME/.local/bin:$PATH"\n'


def text(c: Connection) -> str:
    """The command: the same tmux session as lab.start's."""
    want = Settings.of(c)
    prefix, path = PREFIXES[want.python], platform(c).PATH
    given = (want.jupyter_user, want.lab_url(want.lab_port), want.lab_socket, prefix, path, prefix)
    return fill(COMMAND + platform(c).service.BY_HAND + ELSE, *given)


def there(c: Connection, account: str, name: str) -> File | None:
    """The command that an account has under this name. Raises SetupError when it is not ours."""
    answer = ask(c, LOOK, name, user=account)
    if not answer.ok:
        return None
    stat, _, blob = answer.out.partition("\n")
    mode, _, owner = stat.partition(" ")
    content = base64.b64decode(blob).decode(errors="surrogateescape")
    if f"\n{MARK}" not in content:
        raise SetupError(
            f"{Host.of(c).label}: ~{account}/.local/bin/{name} is there and not ours: move it away, then the same again"
        )
    return File(mode, owner, content)


def install(c: Connection, account: str, name: str) -> bool:
    """Have the command in an account's ~/.local/bin, where its login shells find it; False where it was there already."""
    path = f"{facts(c).accounts[account].home}/.local/bin/{name}"
    written = put(
        c,
        path,
        text(c),
        why=f"write {path}",
        old=there(c, account, name),
        mode="755",
        owner=account,
    )
    if written:
        let_shells_find(c, account, name)
    return bool(written)


def let_shells_find(c: Connection, account: str, name: str) -> None:
    """Have ~/.local/bin on the PATH of an account's login shells."""
    home, file = facts(c).accounts[account].home, facts(c).accounts[account].profile
    if found(c, account, name, home):
        return
    change(
        c,
        "printf %%s %s >>%s",
        PROFILE,
        file,
        user=account,
        why="let login shells look into ~/.local/bin",
        undo=("lines %s %s %s", file, *PROFILE.split("\n")[1:3]),
        keep=[file],
    )
    if not found(c, account, name, home):
        console.warn(
            f"login shells of {account} do not look into ~/.local/bin: put it on their PATH, or type .local/bin/{name}"
        )


def found(c: Connection, account: str, name: str, home: str) -> bool:
    """Whether a login shell finds the command by its name."""
    return ask(c, FOUND, account, f"command -v {name}", f"{home}/.local/bin/{name}").ok
