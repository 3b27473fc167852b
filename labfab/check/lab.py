"""Lab: uses JupyterLab through its own forward, as a logged-in browser and as a stranger."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator
from secrets import token_urlsafe
from typing import TYPE_CHECKING

from ..laptop import kernel, tunnel
from ..local_state import secrets
from ..platforms.minimum_versions import FLOORS
from .findings import NotChecked, Wrong
from .probe import Probe
from .rows import check

if TYPE_CHECKING:
    import httpx

PATIENCE = 15  # seconds
RESTART = "lab.stop lab.start"
CONFIGURE = f"jupyter.configure {RESTART}"
INSTALL = f"python.install {RESTART}"
# For the kernel: prints ipc, or tcp.
TRANSPORT = """\
from ipykernel.connect import get_connection_info
print(get_connection_info(unpack=True)["transport"])"""


@check("lab-api", "JupyterLab answers", mend="lab.start", needs=["ssh-login"])
def api(probe: Probe) -> str:
    """Ask /api for the version."""
    found = tunnel.answers(probe.url)
    if found:
        return f"jupyter_server {found}"
    have = probe.facts.lab
    holder = f", which {have.holder} holds" if have.holder and not have.api else ""
    raise Wrong(f"no Jupyter server answers on the host's {probe.want.lab_place}{holder}")


@check(
    "lab-owner",
    "nobody else answers in its place",
    mend="lab.status",
    needs=["lab-api"],
)
def owner(probe: Probe) -> str:
    """Look whose program listens. Every row that sends a secret there needs this one."""
    have, user = probe.facts.lab, probe.want.jupyter_user
    if have.owner == user:
        return f"{probe.want.lab_place} is held by {user}"
    if have.owner:
        holder = f"{have.holder or 'a program'} of {have.owner}"
        raise Wrong(f"{probe.want.lab_place} is held by {holder}: no secret was sent there")
    probe.needs_root()
    raise NotChecked(f"the host does not say who holds {probe.want.lab_place}")


@check(
    "lab-version",
    "JupyterLab has no known vulnerability",
    mend=INSTALL,
    needs=["ssh-login"],
)
def version(probe: Probe) -> str:
    """Look at the versions that are installed, and at the server's that runs."""
    have = probe.facts.python.versions
    if not any(floor.package in have for floor in FLOORS):
        raise NotChecked("no JupyterLab was found")
    for floor in FLOORS:
        installed = have.get(floor.package, "")
        running = probe.facts.lab.api if floor.package == "jupyter_server" else ""
        for one in (installed, running):
            if one and not floor.admits(one):
                raise Wrong(
                    f"{floor.package} {one}, older than {' or '.join(floor.releases)} "
                    f"({floor.holes[-1]})",
                    RESTART if floor.admits(installed) else None,
                )
    return ", ".join(
        f"{floor.package} {have[floor.package]}" for floor in FLOORS if floor.package in have
    )


@check(
    "lab-session",
    "it runs in the tmux session jupyter, or as a service",
    mend=RESTART,
    needs=["lab-api"],
)
def session(probe: Probe) -> str:
    """Look for the tmux session, or for the service."""
    user = probe.want.jupyter_user
    if probe.facts.lab.service:
        return f"by {probe.platform.service.NAME}, as {user}"
    if probe.audit.get("session") == "unknown":
        probe.needs_root()
    if "session" not in probe.audit:
        raise Wrong("there is no such session")
    return f"of {user}"


@check("lab-linger", "it keeps running after you log out", mend="lab.start", needs=["ssh-login"])
def linger(probe: Probe) -> str:
    """Look whether programs of the account keep running after its last login."""
    user = probe.want.jupyter_user
    account = probe.facts.accounts.get(user)
    if account is None:
        raise NotChecked(f"there is no account {user}")
    if not account.linger:
        raise Wrong(f"programs of {user} end with its last login")
    return f"programs of {user} keep running after its logins end"


@check(
    "lab-closed",
    "nobody gets in without a password or a token",
    mend=CONFIGURE,
    needs=["lab-owner"],
)
def no_way_in(probe: Probe) -> str:
    """Ask for /api/status as a stranger."""
    code = status(probe)
    if code != 403:
        raise Wrong(f"/api/status answers {code}, not 403")
    return "/api/status answers 403"


@check("lab-wrong-password", "a wrong password is refused", mend=CONFIGURE, needs=["lab-closed"])
def wrong_password(probe: Probe) -> str:
    """Try to log in with a random password."""
    if kernel.accepts_password(probe.url, token_urlsafe(16)):
        raise Wrong("any password is accepted")
    return "tried"


@check(
    "lab-password",
    "the password on your laptop is accepted",
    mend=f"jupyter.password {RESTART}",
    needs=["lab-closed"],
)
def right_password(probe: Probe) -> str:
    """Log in with the stored password."""
    if not kernel.accepts_password(probe.url, stored_password(probe)):
        raise Wrong("it is refused")
    return "tried"


@check(
    "lab-token", "the token in its configuration is accepted", mend=RESTART, needs=["lab-closed"]
)
def token(probe: Probe) -> str:
    """Ask for /api/status with the token."""
    code = status(probe, stored_token(probe))
    if code != 200:
        raise Wrong(f"/api/status answers {code}: it still runs with an older configuration")
    return "/api/status answers 200"


@check("lab-kernel", "a kernel computes, and nobody overhears it", INSTALL, needs=["lab-token"])
def computes(probe: Probe) -> str:
    """Multiply two random numbers in a kernel, and ask it how it is reached."""
    a, b = random.randint(10**6, 10**9), random.randint(10**6, 10**9)
    with logged_in(probe) as http:
        answer, _, how = kernel.execute(http, f"print({a} * {b})\n{TRANSPORT}").partition("\n")
    if answer != str(a * b):
        raise Wrong(f"{a} × {b} came out as {answer[:40]!r}")
    if how != "ipc":
        raise Wrong("every account of the host can read what kernels compute", CONFIGURE)
    return f"{a} × {b} = {answer}"


@check("lab-terminal", "a terminal opens", mend=INSTALL, needs=["lab-token"])
def terminal(probe: Probe) -> str:
    """Open a terminal, type into it and close it."""
    with logged_in(probe) as http:
        headers = {"X-XSRFToken": http.cookies.get("_xsrf") or ""}
        made = http.post("api/terminals", headers=headers)
        if made.status_code != 200:
            raise Wrong(f"/api/terminals answers {made.status_code}: is terminals_enabled off?")
        name = made.json()["name"]
        try:
            echo(http, name)
        finally:
            http.delete(f"api/terminals/{name}", headers=headers)
    return "a shell answers in it"


def echo(http: httpx.Client, name: str) -> None:
    """Type into a terminal and wait for the shell's answer. Raises Wrong."""
    import websocket

    heard = ""
    try:
        channel = kernel.connect(http, f"terminals/websocket/{name}", PATIENCE)
        with contextlib.closing(channel):
            channel.send(json.dumps(["stdin", "echo $((6 * 7))-labfab\r"]))
            while "42-labfab" not in heard:
                message = json.loads(channel.recv())
                if message[0] == "stdout":
                    heard += message[1]
    except (websocket.WebSocketException, OSError, ValueError) as error:
        raise Wrong(f"its websocket fails: {error or type(error).__name__}") from None


def status(probe: Probe, token: str = "") -> int:
    """Return the HTTP status of /api/status. token: for the login; empty: as a stranger."""
    with client(probe, token) as http:
        return http.get("api/status").status_code


def stored_password(probe: Probe) -> str:
    """Return JupyterLab's password from this laptop. Raises NotChecked if it is not kept here."""
    found = probe.stored_secret("jupyter-password")
    if not found:
        place = secrets.path_of(probe.alias, "jupyter-password")
        raise NotChecked(f"it is not known here ({place})")
    return found.reveal()


def stored_token(probe: Probe) -> str:
    """Return the token in the host's file. Raises NotChecked if it cannot be read."""
    found: str = probe.facts.jupyter.token
    if not found:
        raise NotChecked("the token cannot be read from jupyter_server_config.json")
    return found


@contextlib.contextmanager
def client(probe: Probe, token: str = "") -> Iterator[httpx.Client]:
    """Yield an HTTP client for the forward. Raises Wrong if the server does not answer."""
    import httpx

    try:
        with kernel.new_client(probe.url, timeout=PATIENCE) as http:
            http.headers.update({"Authorization": f"token {token}"} if token else {})
            yield http
    # ValueError: the answer is not JSON.
    except (httpx.HTTPError, ValueError) as error:
        raise Wrong(f"it does not answer: {error or type(error).__name__}") from None


@contextlib.contextmanager
def logged_in(probe: Probe) -> Iterator[httpx.Client]:
    """Yield an HTTP client with the cookies of a login."""
    with client(probe, stored_token(probe)) as http:
        http.get("login")
        # This sets the cookie that a websocket needs.
        http.get("api/status")
        yield http
