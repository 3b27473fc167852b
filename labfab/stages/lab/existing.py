"""Attach: lab.open takes a JupyterLab as it was set up, from whichever laptop.

Owns: nothing.
"""

from __future__ import annotations

from typing import Any

from fabric import Connection

from ...errors import SetupError
from ...facts import facts
from ...host.changes import ask
from ...host.session import Host
from ...laptop import notebooks
from ...settings import Settings
from ..jupyter import config

# A server that was started by hand, told by the file that each Jupyter server keeps while it runs.
# The login may be that account, or root.
RUNNING = """\
account=%s home=~%s
for file in "$home"/.local/share/jupyter/runtime/jpserver-*.json "$home"/Library/Jupyter/runtime/jpserver-*.json; do
  pid=${file##*/jpserver-}
  [ -f "$file" ] && ps -o args= -p "${pid%%.json}" 2>/dev/null | grep -q jupyter || continue
  as_account "$account" sed -n 's/.*"port": *\\([0-9]*\\).*/port \\1/p' "$file"
  break
done
"""


def refuse_others(c: Connection, want: Settings) -> None:
    """Stop where the account has a JupyterLab with other settings: lab.open neither rewrites them nor starts a second one."""
    have = config.parsed(c, facts(c).jupyter.config).get("ServerApp", {})
    proxied = {"trust_xheaders": True, "local_hostnames": []} if want.publish == "apache" else {}
    server = {
        "base_url": want.base_url,
        "certfile": "there" if want.publish == "https" else "",
        **proxied,
    }
    mine = config.merged(
        config.merged({"ServerApp": server}, config.listening(c, want)), want.jupyter_options
    )
    has, wanted = in_words(have), in_words(mine["ServerApp"])
    if not have.keys() & {"port", "sock"}:  # not one of ours
        has = ask(c, RUNNING, want.jupyter_user, want.jupyter_user).out.strip()
    if has and has != wanted:
        raise SetupError(
            f"{Host.of(c).label}: the JupyterLab of {want.jupyter_user} has other settings ({notebooks.shown(has)}; yours: {wanted}): "
            "give its recipe with -f or LABFAB_RECIPE; lab.restart would make it yours"
        )


def in_words(server: dict[str, Any]) -> str:
    """Where a configuration has JupyterLab listen, and how it is reached."""
    where = server.get("sock") or f"port {server.get('port')} of {server.get('ip', 'localhost')}"
    apache = server.get("trust_xheaders") and "local_hostnames" in server
    how = "https" if server.get("certfile") else "behind Apache" if apache else "http"
    return f"{where}, {how}, {server.get('base_url', '/')}"
