"""A JupyterLab server, used the way a browser does: log in, run a cell."""

from __future__ import annotations

import json
import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from labfab.errors import SetupError

if TYPE_CHECKING:
    import httpx

TIMEOUT = 60  # the first kernel on a small host takes its time


def trust(url: str, tls: ssl.SSLContext | None = None) -> ssl.SSLContext | bool:
    """Say whom to trust at an address; through a tunnel SSH has vouched for the far end already."""
    at = urlsplit(url)
    if tls or at.scheme != "https" or at.hostname != "127.0.0.1":
        return tls or True
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Refused(SetupError):
    """The password was heard, and is not the one."""


def visitor(
    url: str, tls: ssl.SSLContext | None = None, address: str = "", timeout: float = TIMEOUT
) -> httpx.Client:
    """Make a client for a server; the parameters are those of login()."""
    import httpx

    class Direct(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            there, extensions = (
                request.url.copy_with(host=address),
                {**request.extensions, "sni_hostname": request.url.host},
            )
            return super().handle_request(
                httpx.Request(
                    request.method,
                    there,
                    headers=request.headers,
                    stream=request.stream,
                    extensions=extensions,
                )
            )

    base = url.split("?")[0].rstrip("/") + "/"
    transport = (Direct if address else httpx.HTTPTransport)(
        verify=trust(base, tls), trust_env=False
    )
    # A proxy cannot reach our loopback.
    return httpx.Client(base_url=base, timeout=timeout, trust_env=False, transport=transport)


def login(
    url: str, password: str, tls: ssl.SSLContext | None = None, address: str = ""
) -> httpx.Client:
    """Log in with the password and return a client that carries the session's cookies.

    tls: whom to trust, for an address that the system's authorities do not vouch for. address: whom to call, where the
    name servers are not to be asked for the URL's host.
    """
    import httpx

    client = visitor(url, tls, address)
    base = str(client.base_url)
    try:
        client.get("login")
        client.post("login", data={"_xsrf": client.cookies.get("_xsrf", ""), "password": password})
        status = client.get("api/status").status_code
    except httpx.HTTPError as error:
        client.close()
        raise SetupError(
            f"JupyterLab does not answer at {base} ({error}); see lab.status and tunnel.status"
        ) from error
    if status != 200:
        client.close()
        raise Refused(
            f"JupyterLab at {base} refuses the password; set it again with jupyter.password"
        )
    return client


def enters(url: str, password: str) -> bool:
    """Tell whether a password opens it. Raises SetupError when nothing answers."""
    try:
        login(url, password).close()
    except Refused:
        return False
    return True


def execute(
    client: httpx.Client, code: str, tls: ssl.SSLContext | None = None, address: str = ""
) -> str:
    """Run a cell in a kernel of its own and return what it prints or evaluates to."""
    headers = {"X-XSRFToken": client.cookies.get("_xsrf", "")}
    answer = client.post("api/kernels", headers=headers)
    if answer.status_code != 201:
        raise SetupError(
            f"JupyterLab at {client.base_url} starts no kernel (HTTP {answer.status_code}); see its log"
        )
    kernel = answer.json()["id"]
    try:
        return run_cell(client, kernel, code, tls, address)
    finally:
        client.delete(f"api/kernels/{kernel}", headers=headers)


def run_cell(
    client: httpx.Client,
    kernel: str,
    code: str,
    tls: ssl.SSLContext | None = None,
    address: str = "",
) -> str:
    """Send a cell over the kernel's websocket and collect its output."""
    import websocket

    try:
        channel = connect(client, f"api/kernels/{kernel}/channels", tls=tls, address=address)
        try:
            request = execute_request(code)
            channel.send(json.dumps(request))
            return collect(channel, request["header"]["msg_id"])
        finally:
            channel.close()
    except (websocket.WebSocketException, OSError) as error:
        raise SetupError(
            f"the kernel at {client.base_url} does not answer ({error}); try again, see its log"
        ) from error


def connect(
    client: httpx.Client,
    path: str,
    timeout: float = TIMEOUT,
    tls: ssl.SSLContext | None = None,
    address: str = "",
):
    """Open a websocket with the client's cookies."""
    import websocket

    base, context = urlsplit(str(client.base_url)), trust(str(client.base_url), tls)
    line = {"socket": opened(base, address, timeout, context)} if address else {}
    return websocket.create_connection(
        f"{base.scheme.replace('http', 'ws')}://{base.netloc}{base.path}{path}",
        cookie="; ".join(f"{cookie.name}={cookie.value}" for cookie in client.cookies.jar),
        origin=f"{base.scheme}://{base.netloc}",
        http_no_proxy=[base.hostname],
        timeout=timeout,
        sslopt={} if context is True else {"context": context},
        **line,
    )


def opened(
    base: SplitResult, address: str, timeout: float, tls: ssl.SSLContext | bool
) -> socket.socket:
    """Open a line to an address, for a URL whose host may lead elsewhere."""
    line = socket.create_connection(
        (address, base.port or {"http": 80, "https": 443}[base.scheme]), timeout
    )
    if base.scheme == "http":
        return line
    context = ssl.create_default_context() if tls is True else tls
    return context.wrap_socket(line, server_hostname=base.hostname)


def execute_request(code: str) -> dict:
    """Build the message that asks a kernel to run code."""
    import uuid

    header = {"msg_id": uuid.uuid4().hex, "session": uuid.uuid4().hex, "username": "labfab"}
    header |= {"msg_type": "execute_request", "version": "5.3", "date": ""}
    content = {
        "code": code,
        "silent": False,
        "store_history": False,
        "user_expressions": {},
        "allow_stdin": False,
    }
    return {
        "channel": "shell",
        "header": header,
        "parent_header": {},
        "metadata": {},
        "content": content,
    }


def collect(channel, request: str) -> str:
    """Read the kernel's messages until it is idle again; an exception in the cell is an error."""
    output = ""
    while True:
        message = json.loads(channel.recv())
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
