"""Kernel: use a JupyterLab server as a browser does: log in, run a cell in a kernel."""

from __future__ import annotations

import json
import re
import socket
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from .. import decode
from ..errors import SetupError
from . import bounded

if TYPE_CHECKING:
    import httpx

TIMEOUT = 60  # seconds: the first kernel on a small host starts slowly


class WrongPassword(SetupError):
    """The server answered, and refused the password."""


class TooManyTries(SetupError):
    """The server did not look at the password: too many were tried from here."""


def trust(url: str, tls: ssl.SSLContext | None = None) -> ssl.SSLContext | bool:
    """Return whom to trust at an address: an SSL context, or True for the system's authorities.

    On our loopback any certificate will do: the tunnel leads there, and SSH has proven the host.
    """
    at = urlsplit(url)
    if tls or at.scheme != "https" or at.hostname != "127.0.0.1":
        return tls or True
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def new_client(
    url: str, tls: ssl.SSLContext | None = None, address: str = "", timeout: float = TIMEOUT
) -> httpx.Client:
    """Make a client for a server. Arguments as for login(); timeout: in seconds."""
    import httpx

    class Direct(bounded.transport_class()):  # type: ignore[misc]
        """Connects to the address, whatever the name in the URL."""

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            url = request.url.copy_with(host=address)
            extensions = {**request.extensions, "sni_hostname": request.url.host}
            direct = httpx.Request(
                request.method,
                url,
                headers=request.headers,
                stream=request.stream,
                extensions=extensions,
            )
            answer: httpx.Response = super().handle_request(direct)
            return answer

    base = url.split("?")[0].rstrip("/") + "/"
    kind = Direct if address else bounded.transport_class()
    transport = kind(verify=trust(base, tls), trust_env=False)
    # Ignore a proxy in the environment: it could not reach our loopback.
    return httpx.Client(
        base_url=base,
        timeout=timeout,
        trust_env=False,
        transport=transport,
        headers=bounded.PLAIN,
    )


def login(
    url: str, password: str, tls: ssl.SSLContext | None = None, address: str = ""
) -> httpx.Client:
    """Log in with the password and return a client that has the session's cookies.

    tls: whom to trust, if the system's authorities do not vouch for the server. address: where to
    connect, instead of resolving the URL's host. Raises WrongPassword, TooManyTries, and SetupError
    if nothing answers.
    """
    import httpx

    client = new_client(url, tls, address)
    base = str(client.base_url)
    try:
        client.get("login")
        answer = client.post("login", data={"_xsrf": xsrf(client), "password": password})
        status = client.get("api/status").status_code
    except httpx.HTTPError as error:
        client.close()
        raise SetupError(
            f"JupyterLab does not answer at {base} ({error}); see lab.status and tunnel.status"
        ) from error
    if status != 200:
        client.close()
        if answer.status_code in (429, 503) and "retry-after" in answer.headers:
            raise TooManyTries(
                f"JupyterLab at {base} takes no more passwords from here for now: "
                "wait a minute, or use lab.open, which needs none"
            )
        raise WrongPassword(
            f"JupyterLab at {base} refuses the password; set it again with jupyter.password"
        )
    return client


def xsrf(client: httpx.Client) -> str:
    """Return the token that Jupyter wants in each request that changes something."""
    return client.cookies.get("_xsrf") or ""


def accepts_password(url: str, password: str) -> bool:
    """Return whether the server accepts a password. Raises SetupError if nothing answers."""
    try:
        login(url, password).close()
    except WrongPassword:
        return False
    return True


def execute(
    client: httpx.Client, code: str, tls: ssl.SSLContext | None = None, address: str = ""
) -> str:
    """Run a cell in a new kernel and return what it prints or evaluates to.

    Raises SetupError if there is no kernel or the cell fails.
    """
    headers = {"X-XSRFToken": xsrf(client)}
    answer = client.post("api/kernels", headers=headers)
    if answer.status_code != 201:
        raise SetupError(
            f"JupyterLab at {client.base_url} starts no kernel (HTTP {answer.status_code}); "
            "see its log"
        )
    kernel = read_id(answer, client)
    try:
        return run_cell(client, kernel, code, tls, address)
    finally:
        client.delete(f"api/kernels/{kernel}", headers=headers)


def read_id(answer: httpx.Response, client: httpx.Client) -> str:
    """Return the id of a kernel that was started. Raises SetupError if the answer has none."""
    try:
        found = decode.parsed(answer.content)["id"]
    except (ValueError, LookupError, TypeError):
        found = None
    if not isinstance(found, str) or not re.fullmatch(r"[\w-]{1,100}", found, re.ASCII):
        raise SetupError(f"JupyterLab at {client.base_url} started a kernel without an id")
    return found


def run_cell(
    client: httpx.Client,
    kernel: str,
    code: str,
    tls: ssl.SSLContext | None = None,
    address: str = "",
) -> str:
    """Send a cell over the kernel's websocket and return its output."""
    import websocket

    try:
        channel = connect(client, f"api/kernels/{kernel}/channels", tls=tls, address=address)
        try:
            request = execute_request(code)
            channel.send(json.dumps(request))
            return collect(channel, request["header"]["msg_id"])
        finally:
            channel.close()
    # The last four: what arrives is not Jupyter's protocol.
    except (
        *(websocket.WebSocketException, OSError),
        *(ValueError, LookupError, TypeError, AttributeError),
    ) as error:
        raise SetupError(
            f"the kernel at {client.base_url} does not answer ({error}); try again, see its log"
        ) from error


def connect(
    client: httpx.Client,
    path: str,
    timeout: float = TIMEOUT,
    tls: ssl.SSLContext | None = None,
    address: str = "",
) -> Any:
    """Open a websocket (of websocket-client) with the client's cookies."""
    import websocket

    base, context = urlsplit(str(client.base_url)), trust(str(client.base_url), tls)
    options: dict[str, Any] = {}
    if address:
        options["socket"] = opened(base, address, timeout, context)
    return websocket.create_connection(
        f"{base.scheme.replace('http', 'ws')}://{base.netloc}{base.path}{path}",
        cookie="; ".join(f"{cookie.name}={cookie.value}" for cookie in client.cookies.jar),
        origin=f"{base.scheme}://{base.netloc}",
        http_no_proxy=[base.hostname],
        timeout=timeout,
        sslopt={} if context is True else {"context": context},
        class_=bounded.websocket_class(),
        **options,
    )


def opened(
    base: SplitResult, address: str, timeout: float, tls: ssl.SSLContext | bool
) -> socket.socket:
    """Connect to an address, for a URL whose host may lead elsewhere."""
    port = base.port or {"http": 80, "https": 443}[base.scheme]
    line = socket.create_connection((address, port), timeout)
    if base.scheme == "http":
        return line
    context = tls if isinstance(tls, ssl.SSLContext) else ssl.create_default_context()
    return context.wrap_socket(line, server_hostname=base.hostname)


def execute_request(code: str) -> dict[str, Any]:
    """Build the message that asks a kernel to run code (Jupyter's messaging protocol 5.3)."""
    import uuid

    return {
        "channel": "shell",
        "header": {
            "msg_id": uuid.uuid4().hex,
            "session": uuid.uuid4().hex,
            "username": "labfab",
            "msg_type": "execute_request",
            "version": "5.3",
            "date": "",
        },
        "parent_header": {},
        "metadata": {},
        "content": {
            "code": code,
            "silent": False,
            "store_history": False,
            "user_expressions": {},
            "allow_stdin": False,
        },
    }


def collect(channel: Any, request: str) -> str:
    """Read the kernel's messages until it is idle again, and return the output.

    channel: a websocket. request: the msg_id. Raises SetupError for an exception in the cell.
    """
    output = ""
    while True:
        message = decode.parsed(channel.recv())
        if message["parent_header"].get("msg_id") != request or message["channel"] != "iopub":
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            output += content["text"]
        elif kind == "execute_result":
            output += content["data"]["text/plain"]
        elif kind == "error":
            raise SetupError(
                f"the cell failed in the kernel: {content['ename']}: {content['evalue']}"
            )
        elif kind == "status" and content["execution_state"] == "idle":
            return output.rstrip("\n")
