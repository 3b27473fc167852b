"""Published: JupyterLab as everybody may call it, at its own names: what is open, what is not, and that it computes there too."""

from __future__ import annotations

import contextlib
import random
import re
import secrets as entropy
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import SetupError
from ..laptop import kernel
from ..local_state import secrets
from ..settings import is_address
from . import https_front, ports
from .https_tls import RESTART, server
from .probe import Look
from .rows import PUBLISHED, Unseen, Wrong, check

if TYPE_CHECKING:
    import httpx

MOVED = (301, 302, 307, 308)
ENOUGH = 65536  # bytes of an answer from nobody knows whom
LOGIN_PAGE = (
    r'<input[^>]+type="password"[^>]+name="password"|<input[^>]+name="password"[^>]+type="password"'
)
API = r'\s*\{"version": "[^"]+"\}'


@check(
    "https-redirect",
    "plain HTTP leads to HTTPS",
    mend="proxy.apache",
    needs=["https-reach"],
    publish=("apache",),
)
def redirect(look: Look) -> str:
    """Type each name without https://; addresses have no redirect where JupyterLab has all paths."""
    for name in https_front.names(look):
        if is_address(name) and (":" in name or look.want.base_url == "/"):
            continue
        place = https_front.url(look, name, "http")
        with (
            https_front.told(place),
            kernel.visitor(place, None, look.c.host, https_front.PATIENCE) as http,
        ):
            found = http.get("")
        to = urlsplit(found.headers.get("location", ""))
        if (
            found.status_code not in MOVED
            or to.scheme != "https"
            or to.hostname not in https_front.names(look)
        ):
            raise Wrong(
                f"{place} answers {found.status_code}{f' to {to.geturl()}' if to.geturl() else ''}"
            )
    return https_front.url(look, https_front.names(look)[0], "http")


@check(
    "https-plain",
    "nothing of JupyterLab answers without TLS",
    mend=RESTART,
    needs=["ssh-login"],
    publish=PUBLISHED,
)
def plain(look: Look) -> str:
    """Ask every port that answers for Jupyter's API."""
    tried = doors(look)
    found = [
        port
        for port, open_ in zip(
            tried, look.pool.map(lambda port: tells(look, port), tried), strict=True
        )
        if open_
    ]
    if found:
        raise Wrong(
            f"it answers on port {ports.numbers(found)}",
            RESTART if look.want.lab_port in found else closing(look, found[0]),
        )
    return f"asked at {ports.numbers(tried)}"


@check(
    "https-doors",
    "passwords can be tried at one port only",
    needs=["https-plain"],
    publish=PUBLISHED,
)
def one_door(look: Look) -> str:
    """Look for JupyterLab's login page at every other port that answers, with TLS and without."""
    tried = [port for port in doors(look) if port != look.want.public_port]
    found = [
        port
        for port, asks in zip(
            tried, look.pool.map(lambda port: asks_password(look, port), tried), strict=True
        )
        if asks
    ]
    if found:
        raise Wrong(
            f"there is a login page at port {ports.numbers(found)} too", closing(look, found[0])
        )
    return f"not at {ports.numbers(tried)}"


def doors(look: Look) -> list[int]:
    """Every port but sshd's that answers from here."""
    ports.outside(look)
    allowed = set() if look.powerless else look.facts.firewall.allowed
    ports.knock(
        look,
        {
            *ports.WELL_KNOWN,
            *ports.reachable(look),
            *allowed,
            look.want.lab_port,
            look.want.public_port,
        },
    )
    return sorted(
        port
        for port, knocked in look.knocks.items()
        if knocked.result() and port not in look.facts.ssh.ports
    )


def closing(look: Look, port: int) -> str:
    """What shuts a port that is nothing to us."""
    return look.by_hand(
        f"ufw delete allow {port}/tcp"
        if port in look.facts.firewall.allowed
        else look.platform.LISTENER.format(port)
    )


def tells(look: Look, port: int) -> bool:
    """Whether Jupyter's API answers at a port, without TLS."""
    return any(
        re.match(API, text) or said_by_jupyter(text, program)
        for text, program in pages(look, "http", port, "api")
    )


def asks_password(look: Look, port: int) -> bool:
    """Whether Jupyter's login page is at a port, with TLS or without."""
    found = [page for scheme in ("https", "http") for page in pages(look, scheme, port, "login")]
    return any(re.search(LOGIN_PAGE, text) and "jupyter" in text.lower() for text, _ in found)


def said_by_jupyter(text: str, program: str) -> bool:
    return program.startswith("TornadoServer") and "jupyter" in text.lower()


def pages(look: Look, scheme: str, port: int, path: str) -> list[tuple[str, str]]:
    """What a port says below our path and at the root, with the name of the server that says it."""
    import httpx

    found = []
    base = https_front.url(look, https_front.names(look)[0], scheme, port)
    for place in dict.fromkeys((base, base.removesuffix(look.want.base_url) + "/")):
        caller = kernel.visitor(place, https_front.blind(), look.c.host, https_front.PATIENCE)
        with (
            contextlib.suppress(httpx.HTTPError),
            caller as http,
            http.stream("GET", path) as answer,
        ):
            found.append((beginning(answer), answer.headers.get("server", "")))
    return found


def beginning(answer: httpx.Response) -> str:
    """The first piece of an answer, however long it goes on."""
    read = b""
    for piece in answer.iter_bytes():
        read += piece
        if len(read) > ENOUGH:
            break
    return read.decode(errors="replace")


@check(
    "https-closed",
    "without a password it is closed there too",
    mend=RESTART,
    needs=["https-names"],
    publish=PUBLISHED,
)
def closed(look: Look) -> str:
    with https_front.told("it"), https_front.visitor(look) as http:
        code = http.get("api/status").status_code
    if code < 400:
        raise Wrong(f"/api/status answers {code}, not 403", server(look))
    return f"/api/status answers {code}"


@check(
    "https-login",
    "the login page answers at every name",
    mend="lab.start",
    needs=["https-closed"],
    publish=PUBLISHED,
)
def page(look: Look) -> str:
    for name in https_front.names(look):
        place = https_front.url(look, name) + "login"
        with https_front.told(place), https_front.visitor(look, name) as http:
            found = http.get("login")
        if found.status_code == 403 and "non-local" in found.text:
            raise Wrong(f"JupyterLab does not know itself as {name}", RESTART)
        if found.status_code in (502, 503, 504):
            raise Wrong(f"{place} answers {found.status_code}: Apache finds no JupyterLab")
        if found.status_code != 200 or not re.search(LOGIN_PAGE, found.text):
            raise Wrong(
                f"{place} answers {found.status_code}, and asks for no password", server(look)
            )
    return https_front.url(look, https_front.names(look)[0]) + "login"


@check(
    "https-wrong-password",
    "a wrong password is refused there too",
    mend=RESTART,
    needs=["https-login"],
    publish=PUBLISHED,
)
def wrong(look: Look) -> str:
    with contextlib.suppress(kernel.Refused), entered(look, entropy.token_urlsafe(16)):
        raise Wrong("any password opens it")
    return "tried"


@check(
    "https-password",
    "the password on your laptop opens it there too",
    mend="jupyter.password lab.stop lab.start",
    needs=["https-login"],
    publish=PUBLISHED,
)
def right(look: Look) -> str:
    try:
        with entered(look, known(look)):
            return "tried"
    except kernel.Refused:
        raise Wrong("it is refused") from None


@check(
    "https-cookies",
    "its cookies never travel without TLS",
    mend="proxy.apache",
    needs=["https-password"],
    publish=PUBLISHED,
)
def cookies(look: Look) -> str:
    with entered(look, known(look)) as http:
        found = list(http.cookies.jar)
    closed = [one for one in found if one.has_nonstandard_attr("HttpOnly")]
    bad = [f"{one.name} is not Secure" for one in found if not one.secure]
    # Scripts of the page have to read _xsrf, and it opens nothing by itself.
    bad += [
        f"{one.name} can be read by scripts"
        for one in found
        if one not in closed and one.name != "_xsrf"
    ]
    if bad:
        raise Wrong("; ".join(bad), server(look))
    return f"{', '.join(one.name for one in found)}: Secure; {', '.join(one.name for one in closed)}: HttpOnly"


@check(
    "https-kernel",
    "a kernel computes there too",
    mend="proxy.apache",
    needs=["https-password"],
    publish=PUBLISHED,
)
def computes(look: Look) -> str:
    a, b = random.randint(10**6, 10**9), random.randint(10**6, 10**9)
    try:
        with entered(look, known(look)) as http:
            said = kernel.execute(
                http, f"print({a} * {b})", https_front.trust(look).context, look.c.host
            )
    except SetupError as error:
        raise Wrong(str(error.message), server(look)) from None
    if said != str(a * b):
        raise Wrong(f"{a} × {b} came out as {said[:40]!r}")
    return f"{a} × {b} = {said}, over wss"


def known(look: Look) -> str:
    """The password that is kept on this machine. Raises Unseen."""
    found = secrets.load(look.alias, "jupyter-password")
    if not found:
        raise Unseen(f"it is not known here ({secrets.place(look.alias, 'jupyter-password')})")
    return found.reveal()


def entered(look: Look, password: str) -> contextlib.closing[httpx.Client]:
    """A browser that has logged in at the main name."""
    place = https_front.url(look, https_front.names(look)[0])
    return contextlib.closing(
        kernel.login(place, password, https_front.trust(look).context, look.c.host)
    )
