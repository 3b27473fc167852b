"""HTTPS: the published JupyterLab as everybody can call it: what is open, what works."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Callable
from secrets import token_urlsafe
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import SetupError
from ..laptop import kernel
from ..settings import is_address
from ..stages.user import powers
from . import https_front, ports
from .findings import NotChecked, Warned, Wrong
from .https_tls import RESTART, server
from .lab import stored_password
from .probe import Probe
from .rows import PUBLISHED, check

if TYPE_CHECKING:
    import httpx

MOVED = (301, 302, 307, 308)
ENOUGH = 65536  # bytes of an answer that may never end
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
def redirect(probe: Probe) -> str:
    """Call each name without TLS. Addresses have no redirect if JupyterLab has all paths."""
    names = https_front.names(probe)
    for name in names:
        if is_address(name) and (":" in name or probe.want.base_url == "/"):
            continue
        place = https_front.url(probe, name, "http")
        http = kernel.new_client(place, None, probe.c.host, https_front.PATIENCE)
        with https_front.answering(place), http:
            found = http.get("")
        to = urlsplit(found.headers.get("location", ""))
        moved = found.status_code in MOVED and to.scheme == "https" and to.hostname in names
        if not moved:
            where = f" to {to.geturl()}" if to.geturl() else ""
            raise Wrong(f"{place} answers {found.status_code}{where}")
    return https_front.url(probe, names[0], "http")


@check(
    "https-plain",
    "nothing of JupyterLab answers without TLS",
    mend=RESTART,
    needs=["ssh-login"],
    publish=PUBLISHED,
)
def plain(probe: Probe) -> str:
    """Ask for Jupyter's API at every port that answers."""
    tried = open_ports(probe)
    found = ports_passing(probe, tried, has_plain_api)
    if found:
        mend = RESTART if probe.want.lab_port in found else closing_command(probe, found[0])
        raise Wrong(f"it answers on port {ports.numbers(found)}", mend)
    return f"asked at {ports.numbers(tried)}"


@check(
    "https-doors",
    "the login page is at one port only",
    needs=["https-plain"],
    publish=PUBLISHED,
)
def one_door(probe: Probe) -> str:
    """Look for JupyterLab's login page at every other port that answers, with TLS and without."""
    public = probe.want.public_port
    found = ports_passing(
        probe, [port for port in open_ports(probe) if port != public], asks_password
    )
    if found:
        text = f"there is a login page at port {ports.numbers(found)} too"
        raise Wrong(text, closing_command(probe, found[0]))
    return str(public)


def open_ports(probe: Probe) -> list[int]:
    """Return the ports that answer from here, except sshd's."""
    ports.outside(probe)
    allowed = set() if probe.powerless else probe.facts.firewall.allowed
    ours = {probe.want.lab_port, probe.want.public_port}
    probe.knock({*ports.WELL_KNOWN, *ports.reachable(probe), *allowed, *ours})
    answering = (port for port, answer in probe.knocks.items() if answer.result())
    return sorted(port for port in answering if port not in probe.facts.ssh.ports)


def ports_passing(probe: Probe, tried: list[int], test: Callable[[Probe, int], bool]) -> list[int]:
    """Return the ports that pass a test, all tested in parallel."""
    results = probe.pool.map(lambda port: test(probe, port), tried)
    return [port for port, passes in zip(tried, results, strict=True) if passes]


def closing_command(probe: Probe, port: int) -> str:
    """Return the command that closes an unwanted port, or shows what listens there."""
    if port in probe.facts.firewall.allowed:
        return probe.by_hand(f"ufw delete allow {port}/tcp")
    return probe.by_hand(probe.platform.SHOW_LISTENER.format(port))


def has_plain_api(probe: Probe, port: int) -> bool:
    """Return whether Jupyter's API answers at a port, without TLS."""
    return any(
        re.match(API, text) or is_jupyter(text, program)
        for text, program in pages(probe, "http", port, "api")
    )


def asks_password(probe: Probe, port: int) -> bool:
    """Return whether Jupyter's login page is at a port, with TLS or without."""
    found = [page for scheme in ("https", "http") for page in pages(probe, scheme, port, "login")]
    return any(re.search(LOGIN_PAGE, text) and "jupyter" in text.lower() for text, _ in found)


def is_jupyter(text: str, program: str) -> bool:
    """Return whether a page comes from JupyterLab. program: the server's name in its answer."""
    return program.startswith("TornadoServer") and "jupyter" in text.lower()


def pages(probe: Probe, scheme: str, port: int, path: str) -> list[tuple[str, str]]:
    """Return the text and the server's name of a path below base_url, and at the root."""
    import httpx

    found = []
    base = https_front.url(probe, https_front.names(probe)[0], scheme, port)
    for place in dict.fromkeys((base, base.removesuffix(probe.want.base_url) + "/")):
        caller = kernel.new_client(
            place, https_front.unverified_context(), probe.c.host, https_front.PATIENCE
        )
        with contextlib.suppress(httpx.HTTPError), caller, caller.stream("GET", path) as answer:
            found.append((beginning(answer), answer.headers.get("server", "")))
    return found


def beginning(answer: httpx.Response) -> str:
    """Return the beginning of an answer of any length."""
    read = b""
    for piece in answer.iter_bytes():
        read += piece
        if len(read) > ENOUGH:
            break
    return read.decode(errors="replace")


@check(
    "https-closed",
    "nobody gets in there without a password either",
    mend=RESTART,
    needs=["https-names"],
    publish=PUBLISHED,
)
def closed(probe: Probe) -> str:
    """Ask for /api/status as a stranger."""
    with https_front.answering("it"), https_front.browser(probe) as http:
        code = http.get("api/status").status_code
    if code < 400:
        raise Wrong(f"/api/status answers {code}, not 403", server(probe))
    return f"/api/status answers {code}"


@check(
    "https-login",
    "the login page answers at every name",
    mend="lab.start",
    needs=["https-closed"],
    publish=PUBLISHED,
)
def login_page(probe: Probe) -> str:
    """Open the login page at each name."""
    names = https_front.names(probe)
    for name in names:
        place = https_front.url(probe, name) + "login"
        with https_front.answering(place), https_front.browser(probe, name) as http:
            found = http.get("login")
        code = found.status_code
        if code == 403 and "non-local" in found.text:
            raise Wrong(f"JupyterLab does not accept the name {name}", RESTART)
        if code in (502, 503, 504):
            raise Wrong(f"{place} answers {code}: Apache cannot reach JupyterLab")
        if code != 200 or not re.search(LOGIN_PAGE, found.text):
            raise Wrong(f"{place} answers {code}, and does not ask for a password", server(probe))
    return https_front.url(probe, names[0]) + "login"


@check(
    "https-wrong-password",
    "a wrong password is refused there, too",
    mend=RESTART,
    needs=["https-login"],
    publish=PUBLISHED,
)
def wrong_password(probe: Probe) -> str:
    """Try to log in with a random password."""
    with contextlib.suppress(kernel.WrongPassword), logged_in(probe, token_urlsafe(16)):
        raise Wrong("any password is accepted")
    return "tried"


@check(
    "https-password",
    "the password on your laptop is accepted there, too",
    mend="jupyter.password lab.stop lab.start",
    # Apache passes it on to whoever holds JupyterLab's port.
    needs=["https-login", "lab-owner"],
    publish=PUBLISHED,
)
def right_password(probe: Probe) -> str:
    """Log in with the stored password."""
    try:
        with logged_in(probe, stored_password(probe)):
            return "tried"
    except kernel.WrongPassword:
        raise Wrong("it is refused") from None


@check(
    "https-cookies",
    "its cookies never travel without TLS",
    mend="proxy.apache",
    needs=["https-password"],
    publish=PUBLISHED,
)
def cookies(probe: Probe) -> str:
    """Log in and look at the flags of all cookies."""
    with logged_in(probe, stored_password(probe)) as http:
        found = list(http.cookies.jar)
    hidden = [one.name for one in found if one.has_nonstandard_attr("HttpOnly")]
    bad = [f"{one.name} is not Secure" for one in found if not one.secure]
    # Scripts of the page must read _xsrf, which gives no access by itself.
    seen = [one.name for one in found if one.name not in (*hidden, "_xsrf")]
    bad += [f"{name} can be read by scripts" for name in seen]
    if bad:
        raise Wrong("; ".join(bad), server(probe))
    return f"{', '.join(one.name for one in found)}: Secure; {', '.join(hidden)}: HttpOnly"


@check(
    "https-kernel",
    "a kernel computes there, too",
    mend="proxy.apache",
    needs=["https-password"],
    publish=PUBLISHED,
)
def computes(probe: Probe) -> str:
    """Multiply two random numbers in a kernel, over wss://."""
    a, b = random.randint(10**6, 10**9), random.randint(10**6, 10**9)
    trusted = https_front.trust(probe).context
    try:
        with logged_in(probe, stored_password(probe)) as http:
            answer = kernel.execute(http, f"print({a} * {b})", trusted, probe.c.host)
    except SetupError as error:
        raise Wrong(str(error), server(probe)) from None
    if answer != str(a * b):
        raise Wrong(f"{a} × {b} came out as {answer[:40]!r}")
    return f"{a} × {b} = {answer}, over wss"


def logged_in(probe: Probe, password: str) -> contextlib.closing[httpx.Client]:
    """Return an HTTP client that has logged in at the main name."""
    place, trusted = https_front.url(probe, https_front.names(probe)[0]), https_front.trust(probe)
    return contextlib.closing(kernel.login(place, password, trusted.context, probe.c.host))


@check(
    "https-account",
    "code in a notebook cannot become root",
    needs=["ssh-login"],
    publish=PUBLISHED,
)
def account(probe: Probe) -> str:
    """Look whether JupyterLab has an account of its own, and what that may do."""
    want = probe.want
    if not want.lab_user:
        raise Warned(
            f"JupyterLab runs as {want.user}, which may use sudo: whoever gets in can become root "
            "at the next run of labfab; the setting lab_user gives it an account of its own"
        )
    have = probe.facts.accounts.get(want.lab_user)
    if have is None:
        raise NotChecked(f"there is no account {want.lab_user}")
    found = powers(have, probe.platform)
    if found:
        raise Wrong(f"lab_user {want.lab_user} {found}")
    return f"{want.lab_user} has no rights of root{probe.limits}"
