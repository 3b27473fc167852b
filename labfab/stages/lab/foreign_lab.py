"""Foreign lab: the account already has a JupyterLab with other settings.

lab.open uses it from any laptop, and neither rewrites its configuration nor starts a second one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fabric import Connection

from ...errors import SetupError
from ...facts import facts
from ...host.changes import ask
from ...host.session import Host
from ...on_host import loader
from ...settings import Settings
from ...text import one_line
from ..jupyter import config
from ..jupyter.publishing import Config

if TYPE_CHECKING:
    from ...facts.records import Account


def refuse_foreign_lab(c: Connection, want: Settings) -> None:
    """Raise SetupError if the account has a JupyterLab with other settings."""
    label, have = Host.of(c).label, facts(c)
    account = have.accounts.get(want.jupyter_user)
    server = config.parsed(have.jupyter.config, want, label).get("ServerApp", {})
    wanted = in_words(config.merged(expected(want, account), want.jupyter_options)["ServerApp"])
    # Without either, labfab did not write it.
    if server.keys() & {"port", "sock"}:
        present = in_words(server)
    else:
        present = ask(c, loader.as_command("port_of_running_lab", 1), want.jupyter_user).out.strip()
    if present and present != wanted:
        raise SetupError(
            f"the JupyterLab of {want.jupyter_user} has other settings "
            f"({one_line(present)}; yours: {wanted}): "
            "give its recipe with -f or LABFAB_RECIPE; lab.restart would make it yours",
            host=label,
        )


def expected(want: Settings, account: Account | None) -> Config:
    """Return the part of the configuration that says where JupyterLab is reached."""
    server: dict[str, Any] = {
        "base_url": want.base_url,
        "certfile": "yes" if want.publish == "https" else "",
    }
    if want.publish == "apache":
        server |= {"trust_xheaders": True, "local_hostnames": []}
    return config.merged({"ServerApp": server}, config.listening(want, account))


def in_words(server: dict[str, Any]) -> str:
    """Describe where a ServerApp listens, and how it is reached."""
    where = server.get("sock") or f"port {server.get('port')} of {server.get('ip', 'localhost')}"
    if server.get("certfile"):
        how = "https"
    elif server.get("trust_xheaders") and "local_hostnames" in server:
        how = "behind Apache"
    else:
        how = "http"
    return f"{where}, {how}, {server.get('base_url', '/')}"
