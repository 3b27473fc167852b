"""Limited login: how often the login page of a published JupyterLab can be tried.

Written by labfab (jupyter.configure), which overwrites it. Jupyter reads it as its configuration.

- An address may fail a few times, then has to wait after each try. No other address waits for it,
  and a login by lab.open, which has the token, never waits.
- Passwords are checked one at a time and in a thread: guesses do not stop the kernels.
- Who has not logged in can send small requests only.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.auth.identity import PasswordIdentityProvider
from jupyter_server.auth.login import LoginFormHandler
from tornado.web import decode_signed_value

FREE = 5  # tries that an address may fail before it has to wait
FREE_FOR_SITE = 50  # the same for a /48 of IPv6: whoever has one has 65,536 networks to try from
PAUSE = 20.0  # seconds after which one of them is forgiven
WAITING = 8  # passwords that may wait to be checked
ADDRESSES = 10_000  # to remember
BODY = 64 * 1024  # bytes that a stranger may send in one request


class Tries:
    """How often each address has failed lately, and how often it may."""

    def __init__(self, free: int = FREE) -> None:
        self.free = free
        # Address -> how many tries count, and when that was so. The oldest comes first.
        self.failed: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def count(self, address: str) -> float:
        """Return how many tries of an address still count."""
        number, then = self.failed.get(address, (0.0, 0.0))
        return max(0.0, number - (time.monotonic() - then) / PAUSE)

    def wait(self, address: str) -> int:
        """Return the seconds that an address has to wait; 0: it may try."""
        over = self.count(address) - (self.free - 1)
        return int(over * PAUSE) + 1 if over > 0 else 0

    def add(self, address: str) -> None:
        """Count a try, before it is known whether it fails."""
        self.failed[address] = (self.count(address) + 1, time.monotonic())
        self.failed.move_to_end(address)
        if len(self.failed) > ADDRESSES:
            self.failed.popitem(last=False)

    def forgive(self, address: str) -> None:
        """Forget an address that has logged in."""
        self.failed.pop(address, None)


TRIES, SITES = Tries(), Tries(FREE_FOR_SITE)
CHECKER = ThreadPoolExecutor(1)
waiting = 0


def network(address: str, prefix: int = 64) -> str:
    """Return whom an address stands for: itself, or its IPv6 network, which is one house's."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 4:
        return str(found)
    mapped = found.ipv4_mapped
    return str(mapped or ipaddress.ip_network((int(found), prefix), strict=False).network_address)


class LimitedLogin(LoginFormHandler):
    """The login page, with a limit. It asks for the password; the token is for lab.open."""

    @property
    def template_namespace(self) -> dict[str, Any]:
        """Return the page's values. Its text about tokens and new passwords is not for here."""
        return {**super().template_namespace, "token_available": False}

    def set_default_headers(self) -> None:
        """Name the limit; check.https looks for it."""
        super().set_default_headers()
        self.set_header("RateLimit-Limit", str(FREE))

    @allow_unauthenticated
    async def post(self) -> None:
        """Check the password, unless this address or everybody has to wait."""
        global waiting
        if self.has_token():
            self.let_in(self.identity_provider.generate_anonymous_user(self))
            return
        address = self.request.remote_ip or ""
        caller, site = network(address), network(address, 48)
        seconds = max(TRIES.wait(caller), SITES.wait(site))
        if seconds:
            self.refuse(429, seconds, "Too many tries from this address")
            return
        if waiting >= WAITING:
            self.refuse(503, 2, "Too many logins at the same time")
            return
        TRIES.add(caller)
        SITES.add(site)
        waiting += 1
        try:
            check = self.identity_provider.process_login_form
            user = await asyncio.get_running_loop().run_in_executor(CHECKER, check, self)
        finally:
            waiting -= 1
        if user is None:
            self.set_status(401)
            self._render(message={"error": "Invalid credentials"})
            return
        TRIES.forgive(caller)
        SITES.forgive(site)
        self.let_in(user)

    def has_token(self) -> bool:
        """Return whether the form has the token, as lab.open's has: it never waits for others."""
        token, typed = self.identity_provider.token, self.get_argument("password", default="")
        return bool(token) and hmac.compare_digest(token.encode(), typed.encode())

    def let_in(self, user: Any) -> None:
        """Log a user in and go on to the page."""
        self.current_user = user
        self.log.info("User %s logged in.", user.username)
        self.identity_provider.set_login_cookie(self, user)
        self._redirect_safe(self.get_argument("next", default=self.base_url))

    def refuse(self, status: int, seconds: int, reason: str) -> None:
        """Show the page again with the time to wait."""
        self.set_status(status)
        self.set_header("Retry-After", str(seconds))
        self._render(message={"error": f"{reason}: wait {seconds} seconds"})


class LimitedIdentityProvider(PasswordIdentityProvider):
    """Passwords as usual, with a limited login page and small requests before the login."""

    def validate_security(self, app: Any, ssl_options: Any = None) -> None:
        """Begin to look at each request when its first lines arrive. Called before the start."""
        super().validate_security(app, ssl_options)
        find = app.web_app.find_handler

        def find_handler(request: Any, **options: Any) -> Any:
            if not self.is_known(app, request):
                request.connection.set_max_body_size(BODY)
            return find(request, **options)

        app.web_app.find_handler = find_handler

    def is_known(self, app: Any, request: Any) -> bool:
        """Return whether a request has the token or a cookie of ours, signed and not too old."""
        given = [word.encode() for word in request.headers.get("Authorization", "").split()[1:]]
        given += request.query_arguments.get("token", [])
        if self.token and self.token.encode() in given:
            return True
        secret = app.web_app.settings["cookie_secret"]
        return any(
            decode_signed_value(secret, name, cookie.value) is not None
            for name, cookie in request.cookies.items()
            if name.startswith("username-")
        )


c = get_config()  # type: ignore[name-defined]  # noqa: F821
c.ServerApp.identity_provider_class = LimitedIdentityProvider
c.IdentityProvider.login_handler_class = LimitedLogin
c.PasswordIdentityProvider.allow_password_change = False
