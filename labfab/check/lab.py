"""Server: JupyterLab, used through a forward of our own the way a browser does, and tried the way a stranger would."""

from __future__ import annotations

import contextlib
import json
import random
import secrets as entropy
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..laptop import kernel, tunnel
from ..local_state import secrets
from ..stages.python import FLOOR, is_safe
from .probe import Look
from .rows import Unseen, Wrong, check

if TYPE_CHECKING:
    import httpx

PATIENCE = 15  # seconds
RESTART = "lab.stop lab.start"


@check("lab-api", "JupyterLab answers", mend="lab.start", needs=["ssh-login"])
def api(look: Look) -> str:
    found = tunnel.answers(look.url)
    if found:
        return f"jupyter_server {found}"
    holder = look.facts.lab.holder if not look.facts.lab.api else ""
    raise Wrong(
        f"no Jupyter server answers on the host's {look.want.lab_place}"
        + f", which {holder} holds" * bool(holder)
    )


@check(
    "lab-version",
    "jupyter_server has no hole that is known",
    mend="python.install lab.stop lab.start",
    needs=["ssh-login"],
)
def version(look: Look) -> str:
    have = look.facts.python.versions.get("jupyter_server", "")
    floor = ".".join(map(str, FLOOR))
    if not have:
        raise Unseen("no jupyter_server was found")
    old = [one for one in (have, look.facts.lab.api) if one and not is_safe(one)]
    if old:
        raise Wrong(f"{old[0]}, older than {floor}", RESTART if is_safe(have) else None)
    return f"{have}, at least {floor}"


@check(
    "lab-session",
    "it runs in the tmux session jupyter, or as a service",
    mend=RESTART,
    needs=["lab-api"],
)
def session(look: Look) -> str:
    if look.facts.lab.service:
        return f"by {look.platform.service.NAME}, as {look.want.jupyter_user}"
    if look.audit.get("session") == "unknown":
        look.needs_root()
    if "session" not in look.audit:
        raise Wrong("there is no such session")
    return f"of {look.want.jupyter_user}"


@check("lab-linger", "it runs on after your logout", mend="lab.start", needs=["ssh-login"])
def linger(look: Look) -> str:
    account = look.facts.accounts.get(look.want.jupyter_user)
    if account is None:
        raise Unseen(f"there is no account {look.want.jupyter_user}")
    if not account.linger:
        raise Wrong(f"what {account.name} runs ends with its last login")
    return f"what {account.name} runs outlives its logins"


@check(
    "lab-closed",
    "without password and token there is no way in",
    mend="jupyter.configure lab.stop lab.start",
    needs=["lab-api"],
)
def no_way_in(look: Look) -> str:
    with client(look) as http:
        code = http.get("api/status").status_code
    if code != 403:
        raise Wrong(f"/api/status answers {code}, not 403")
    return "/api/status answers 403"


@check(
    "lab-wrong-password",
    "a wrong password is refused",
    mend="jupyter.configure lab.stop lab.start",
    needs=["lab-closed"],
)
def wrong_password(look: Look) -> str:
    if kernel.enters(look.url, entropy.token_urlsafe(16)):
        raise Wrong("any password opens it")
    return "tried"


@check(
    "lab-password",
    "the password on your laptop opens it",
    mend="jupyter.password lab.stop lab.start",
    needs=["lab-closed"],
)
def right_password(look: Look) -> str:
    known = secrets.load(look.alias, "jupyter-password")
    if not known:
        raise Unseen(f"it is not known here ({secrets.place(look.alias, 'jupyter-password')})")
    if not kernel.enters(look.url, known.reveal()):
        raise Wrong("it is refused")
    return "tried"


@check("lab-token", "the token in its configuration opens it", mend=RESTART, needs=["lab-closed"])
def token(look: Look) -> str:
    with client(look, token_of(look)) as http:
        code = http.get("api/status").status_code
    if code != 200:
        raise Wrong(f"/api/status answers {code}: it runs with a configuration of before")
    return "/api/status answers 200"


@check("lab-kernel", "a kernel computes", mend=f"python.install {RESTART}", needs=["lab-token"])
def computes(look: Look) -> str:
    a, b = random.randint(10**6, 10**9), random.randint(10**6, 10**9)
    with entered(look) as http:
        said = kernel.execute(http, f"print({a} * {b})")
    if said != str(a * b):
        raise Wrong(f"{a} × {b} came out as {said[:40]!r}")
    return f"{a} × {b} = {said}"


@check("lab-terminal", "a terminal opens", mend=f"python.install {RESTART}", needs=["lab-token"])
def terminal(look: Look) -> str:
    with entered(look) as http:
        headers = {"X-XSRFToken": http.cookies.get("_xsrf", "")}
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
        with contextlib.closing(
            kernel.connect(http, f"terminals/websocket/{name}", PATIENCE)
        ) as channel:
            channel.send(json.dumps(["stdin", "echo $((6 * 7))-labfab\r"]))
            while "42-labfab" not in heard:
                message = json.loads(channel.recv())
                heard += message[1] if message[0] == "stdout" else ""
    except (websocket.WebSocketException, OSError, ValueError) as error:
        raise Wrong(f"its websocket fails: {error or type(error).__name__}") from None


def token_of(look: Look) -> str:
    """The token from the host's file. Raises Unseen where it cannot be read."""
    found = look.facts.jupyter.token
    if not found:
        raise Unseen("the token cannot be read from jupyter_server_config.json")
    return found


@contextlib.contextmanager
def client(look: Look, token: str = "") -> Iterator[httpx.Client]:
    """Call the server through our own forward. Raises Wrong when it does not answer."""
    import httpx

    headers = {"Authorization": f"token {token}"} if token else {}
    try:
        with httpx.Client(
            base_url=look.url,
            headers=headers,
            timeout=PATIENCE,
            trust_env=False,
            verify=kernel.trust(look.url),
        ) as http:
            yield http
    except (httpx.HTTPError, ValueError) as error:  # the latter for what should have been JSON
        raise Wrong(f"it does not answer: {error or type(error).__name__}") from None


@contextlib.contextmanager
def entered(look: Look) -> Iterator[httpx.Client]:
    """Call it with the cookies of somebody who is logged in."""
    with client(look, token_of(look)) as http:
        http.get("login")
        http.get("api/status")  # lays the cookie that a websocket needs
        yield http
