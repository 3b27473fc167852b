"""A JupyterLab server, used the way a browser does: log in, run a cell."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from labfab.errors import SetupError

if TYPE_CHECKING:
    import httpx

TIMEOUT = 60  # the first kernel on a small host takes its time


def login(url: str, password: str) -> httpx.Client:
    """Log in with the password and return a client that carries the session's cookies."""
    import httpx

    base = url.split("?")[0].rstrip("/") + "/"
    client = httpx.Client(base_url=base, timeout=TIMEOUT, trust_env=False)  # a proxy cannot reach our loopback
    try:
        client.get("login")
        client.post("login", data={"_xsrf": client.cookies.get("_xsrf", ""), "password": password})
        status = client.get("api/status").status_code
    except httpx.HTTPError as error:
        client.close()
        raise SetupError(f"JupyterLab does not answer at {base} ({error}); see lab.status and tunnel.status") from error
    if status != 200:
        client.close()
        raise SetupError(f"JupyterLab at {base} refuses the password; set it again with jupyter.password")
    return client


def execute(client: httpx.Client, code: str) -> str:
    """Run a cell in a kernel of its own and return what it prints or evaluates to."""
    headers = {"X-XSRFToken": client.cookies.get("_xsrf", "")}
    answer = client.post("api/kernels", headers=headers)
    if answer.status_code != 201:
        raise SetupError(f"JupyterLab at {client.base_url} starts no kernel (HTTP {answer.status_code}); see its log")
    kernel = answer.json()["id"]
    try:
        return run_cell(client, kernel, code)
    finally:
        client.delete(f"api/kernels/{kernel}", headers=headers)


def run_cell(client: httpx.Client, kernel: str, code: str) -> str:
    """Send a cell over the kernel's websocket and collect its output."""
    import websocket

    try:
        channel = connect(client, f"api/kernels/{kernel}/channels")
        try:
            request = execute_request(code)
            channel.send(json.dumps(request))
            return collect(channel, request["header"]["msg_id"])
        finally:
            channel.close()
    except (websocket.WebSocketException, OSError) as error:
        raise SetupError(f"the kernel at {client.base_url} does not answer ({error}); try again, see its log") from error


def connect(client: httpx.Client, path: str, timeout: float = TIMEOUT):
    """Open a websocket with the client's cookies."""
    import websocket

    base = urlsplit(str(client.base_url))
    return websocket.create_connection(
        f"{base.scheme.replace('http', 'ws')}://{base.netloc}{base.path}{path}",
        cookie="; ".join(f"{cookie.name}={cookie.value}" for cookie in client.cookies.jar),
        origin=f"{base.scheme}://{base.netloc}",
        http_no_proxy=[base.hostname],
        timeout=timeout,
    )


def execute_request(code: str) -> dict:
    """Build the message that asks a kernel to run code."""
    header = {"msg_id": uuid.uuid4().hex, "session": uuid.uuid4().hex, "username": "labfab"}
    header |= {"msg_type": "execute_request", "version": "5.3", "date": ""}
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    return {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}


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
            raise SetupError(f"the cell failed in the kernel: {content['ename']}: {content['evalue']}")
        elif kind == "status" and content["execution_state"] == "idle":
            return output.rstrip("\n")
