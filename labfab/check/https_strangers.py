"""HTTPS strangers: what slows an attacker down, and the options of Jupyter that would help one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from .. import decode
from ..local_state import passwords
from . import https_front
from .findings import NotChecked, Wrong
from .https_tls import RESTART, server
from .probe import Probe
from .rows import PUBLISHED, check

STRANGER = "https://stranger.example"
SENT = 2**20  # bytes of a request that is too large for a stranger
# What is answered then, by JupyterLab or by Apache in front of it; 0: the connection is closed.
REFUSED = (0, 400, 413, 502)
# Class -> option -> the values that are harmless.
HARMLESS: dict[str, dict[str, tuple[object, ...]]] = {
    "ServerApp": {
        "allow_credentials": (False,),
        "allow_origin": ("",),
        "allow_origin_pat": ("",),
        "allow_password_change": (False,),
        "disable_check_xsrf": (False,),
        "identity_provider_class": (),
        "login_handler_class": (),
        "password": ("",),
        "token": (),
    },
    "IdentityProvider": {
        "allow_password_change": (False,),
        "login_handler_class": (),
        "secure_cookie": (True, None),
    },
    "PasswordIdentityProvider": {
        "allow_password_change": (False,),
        "login_handler_class": (),
        "secure_cookie": (True, None),
    },
}


@check(
    "https-limit",
    "password guesses are limited",
    mend=RESTART,
    needs=["https-login"],
    publish=PUBLISHED,
)
def limit(probe: Probe) -> str:
    """Look for the limit that the login page names."""
    with https_front.answering("it"), https_front.browser(probe) as http:
        found = http.get("login").headers.get("ratelimit-limit", "")
    if decode.number(found) is None:
        raise Wrong("guesses are not limited")
    return f"{found} from one address, then one at a time"


@check(
    "https-body",
    "strangers can send small requests only",
    mend=RESTART,
    needs=["https-login"],
    publish=PUBLISHED,
)
def body(probe: Probe) -> str:
    """Send a request that nobody needs for a login."""
    import httpx

    with https_front.browser(probe) as http:
        try:
            code = http.post("login", content=b"x" * SENT).status_code
        except httpx.TransportError:
            code = 0
    if code not in REFUSED:
        raise Wrong(f"it accepts {SENT} bytes from anybody")
    return f"{SENT} bytes are refused"


@check(
    "https-compression",
    "pages with secrets are not compressed",
    mend="proxy.apache",
    needs=["https-login"],
    publish=PUBLISHED,
)
def compression(probe: Probe) -> str:
    """Ask for the login page, compressed if possible: its length would tell what it holds."""
    with https_front.answering("it"), https_front.browser(probe) as http:
        found = http.get("login", headers={"Accept-Encoding": "gzip, deflate, br"})
    how = found.headers.get("content-encoding", "")
    if how:
        raise Wrong(f"the login page comes as {how}", server(probe))
    return "the login page is not compressed"


@check(
    "https-options",
    "no option of Jupyter weakens it",
    mend=RESTART,
    needs=["https-login", "ssh-login"],
    publish=PUBLISHED,
)
def options(probe: Probe) -> str:
    """Look at the configuration, and ask as the page of a stranger."""
    with https_front.answering("it"), https_front.browser(probe) as http:
        allowed = http.get("api", headers={"Origin": STRANGER}).headers
    if "access-control-allow-origin" in allowed:
        raise Wrong("pages of strangers may use it (allow_origin)", by_hand(probe))
    found = sorted(risky(configured(probe), probe.want.publish))
    if found:
        raise Wrong(", ".join(found), by_hand(probe))
    return "none of those that are known"


def configured(probe: Probe) -> Mapping[str, Any]:
    """Return the configuration on the host. Raises NotChecked if it cannot be read."""
    file = probe.facts.jupyter.config
    with contextlib.suppress(ValueError):
        found = decode.parsed(file.content) if file else None
        if isinstance(found, dict):
            return found
    raise NotChecked("jupyter_server_config.json cannot be read")


def risky(config: Mapping[str, Any], publish: str) -> Iterator[str]:
    """Yield the options with a value that helps an attacker."""
    for part, known in HARMLESS.items():
        given = config.get(part)
        for name, harmless in known.items():
            if isinstance(given, dict) and name in given and given[name] not in harmless:
                yield f"{part}.{name}"
    own = config.get("ServerApp")
    app: Mapping[str, Any] = own if isinstance(own, dict) else {}
    # Callers would say themselves which address they come from.
    if publish == "https" and app.get("trust_xheaders"):
        yield "ServerApp.trust_xheaders"
    tornado = app.get("tornado_settings")
    for name in ("compress_response", "gzip", "debug"):
        if isinstance(tornado, dict) and tornado.get(name):
            yield f"ServerApp.tornado_settings.{name}"
    identity = config.get("IdentityProvider")
    hashed = identity.get("hashed_password") if isinstance(identity, dict) else ""
    if not passwords.is_slow(str(hashed)):
        yield "IdentityProvider.hashed_password (an old hash)"


def by_hand(probe: Probe) -> str:
    """Return what removes an option: labfab keeps those that it did not write."""
    user = probe.want.jupyter_user
    return (
        f"delete it in ~{user}/.jupyter/jupyter_server_config.json there, and in jupyter_options; "
        "then lab.restart"
    )
