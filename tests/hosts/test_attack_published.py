"""Attacks on a published JupyterLab by a stranger on the network: guesses, floods, pages that lead astray."""

import itertools
import json
import re
import ssl
import time
from collections.abc import Iterator

import httpx
import pytest

from labfab.laptop import kernel
from tests.rig import Host
from tests.rig.fab import Fab

pytestmark = pytest.mark.host

BASE = "/jupyter/"
# With publish: https, JupyterLab has an account of its own; with Apache it shares the one with sudo.
ACCOUNTS = {"https": "nb", "apache": "lab"}
# From an address of the host's own: another one than the guesser's.
OWNER = """
cd "$(mktemp -d)"
curl -sk -c jar -o page {url}login
curl -sk -b jar -c jar -o page -w '%{{http_code}}' --data-urlencode "_xsrf=$(awk '/_xsrf/ {{print $7}}' jar)" \
  --data-urlencode "password=$(cat)" {url}login
"""


def settings(publish: str) -> dict[str, str]:
    found = {"LABFAB_PYTHON": "venv", "LABFAB_PUBLISH": publish, "LABFAB_BASE_URL": BASE}
    return found | ({"LABFAB_LAB_USER": ACCOUNTS[publish]} if publish == "https" else {})


class Published:
    """A lab that everybody may call, and the laptop's way to it."""

    def __init__(self, host: Host, fab: Fab, publish: str):
        self.host, self.fab, self.env = host, fab, settings(publish)
        self.account = ACCOUNTS[publish]
        self.limit = f"/home/{self.account}/jupyter-venv/etc/jupyter/jupyter_server_config.py"
        self.file = f"/home/{self.account}/.jupyter/jupyter_server_config.json"
        port = "" if publish == "apache" else ":9999"
        self.url = f"https://{host.address}{port}{BASE}"

    @property
    def password(self) -> str:
        return (self.fab.home / ".config/labfab/homelab/jupyter-password").read_text().strip()

    @property
    def config(self) -> dict:
        return json.loads(self.host.run(f"cat {self.file}"))

    @property
    def token(self) -> str:
        return self.config["IdentityProvider"]["token"]

    def browser(self, **headers: str) -> httpx.Client:
        ca = self.fab.home / ".config/labfab/homelab/ca.pem"
        context = ssl.create_default_context(cafile=str(ca))
        return httpx.Client(base_url=self.url, verify=context, headers=headers, timeout=30)

    def post(
        self, password: str, headers: dict[str, str] | None = None, **more: str
    ) -> httpx.Response:
        """Log in as a browser does."""
        with self.browser(**(headers or {})) as client:
            client.get("login")
            form = {"_xsrf": client.cookies["_xsrf"], "password": password, **more}
            return client.post("login", data=form)


@pytest.fixture(scope="module", params=["https", "apache"])
def published(request, module_lab, module_fab) -> Iterator[Published]:
    kind = request.param
    yield Published(module_lab("debian12", f"public-{kind}", settings(kind)), module_fab, kind)


@pytest.fixture
def fresh(published) -> Published:
    """Forget who has failed so far: it is kept in memory alone."""
    published.fab("-H", "homelab", "lab.restart", "--yes", env=published.env).ok()
    return published


def test_guesses_end_and_the_owner_still_gets_in(fresh):
    """Only the guesser has to wait, whatever he says where he comes from; the owner needs no luck."""
    answers = []
    for number in range(12):
        lie = {"X-Real-IP": f"192.0.2.{number}", "X-Forwarded-For": f"198.51.100.{number}"}
        answers.append(fresh.post(f"guess-{number}", lie).status_code)
    assert answers[:5] == [401] * 5 and answers[5:] == [429] * 7
    late = fresh.post(fresh.password)
    assert late.status_code == 429 and 0 < int(late.headers["Retry-After"]) <= 20
    assert fresh.post(fresh.token).status_code == 302  # lab.open never waits
    owner = fresh.host.run(OWNER.format(url=fresh.url), input=fresh.password)
    assert owner.endswith("302")
    with fresh.browser(Authorization=f"token {fresh.token}") as client:
        assert client.get("api/status").status_code == 200
    time.sleep(int(late.headers["Retry-After"]) + 1)
    assert fresh.post(fresh.password).status_code == 302


def test_many_guesses_at_once_do_not_stop_the_server(fresh):
    """Some are refused unseen; who has logged in works on meanwhile."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(20) as pool:
        guesses = [pool.submit(fresh.post, f"guess-{number}") for number in range(40)]
        with fresh.browser(Authorization=f"token {fresh.token}") as client:
            began = time.monotonic()
            assert client.get("api/status").status_code == 200
            took = time.monotonic() - began
        codes = [guess.result().status_code for guess in guesses]
    assert codes.count(401) == 5 and set(codes) <= {401, 429, 503}
    assert took < 10


def test_a_stranger_sends_little(fresh):
    """A large request is refused before it is read, wherever it goes, also without its length."""
    size = 1_000_000
    for method, path in (("POST", "login"), ("PUT", "api/contents/x"), ("POST", "api/kernels")):
        for content in (b"x" * size, itertools.repeat(b"x" * 10_000, size // 10_000)):
            assert refused(fresh, method, path, content), (method, path)
    forged = {"Cookie": "username-lab=2|1:0|10:1|4:x|4:eA==|aa"}
    assert refused(fresh, "PUT", "api/contents/x", b"x" * size, forged)
    body = {"type": "file", "format": "text", "content": "y" * size}
    with fresh.browser(Authorization=f"token {fresh.token}") as client:
        assert client.put("api/contents/mine.txt", json=body).status_code == 201


def refused(lab: Published, method: str, path: str, content, headers=None) -> bool:
    """Return whether the server hangs up, or says that it is too much."""
    with lab.browser(**(headers or {})) as client:
        try:
            code = client.request(method, path, content=content).status_code
        except httpx.TransportError:
            return True
    return code in (400, 413, 502)


def test_the_login_page_asks_for_the_password_and_nothing_else(fresh):
    with fresh.browser() as client:
        page = client.get("login")
    words = re.sub(r"<[^>]+>", " ", page.text)
    assert "Password:" in words
    assert not re.search(r"(?i)token authentication|or token|enable a password|new password", words)
    assert "content-encoding" not in page.headers


def test_the_token_sets_no_other_password(fresh):
    """A password chosen at the login page would be known to nobody, and might be short."""
    before = fresh.config["IdentityProvider"]["hashed_password"]
    fresh.post(fresh.token, new_password="short")
    assert fresh.config["IdentityProvider"]["hashed_password"] == before
    assert fresh.post("short").status_code == 401


def test_what_holds_the_token_is_not_compressed(fresh):
    """Its length would tell a stranger what it holds, letter by letter."""
    with fresh.browser(Authorization=f"token {fresh.token}") as client:
        lab = client.get("lab")
        assert lab.status_code == 200 and "content-encoding" not in lab.headers
        script = re.search(r'src="[^"]*?(static/[^"]+\.js[^"]*)"', lab.text)
        assert client.get(script[1]).status_code == 200


def test_an_old_hash_is_not_published(fresh):
    """sha1 can be tried a thousand million times a second by whoever has seen it."""
    import hashlib

    config = fresh.config
    digest = hashlib.sha1(fresh.password.encode() + b"abcdef").hexdigest()
    config["IdentityProvider"]["hashed_password"] = f"sha1:abcdef:{digest}"
    kept = fresh.host.run(
        f"cp -p {fresh.file} /run/kept.json; cat >{fresh.file}", input=json.dumps(config)
    )
    assert kept == ""
    try:
        done = fresh.fab("-H", "homelab", "jupyter.configure", env=fresh.env)
        assert done.rc == 1 and "has an old hash" in done.err and done.err.count("\n") == 1
    finally:
        fresh.host.run(f"mv /run/kept.json {fresh.file}")


def test_the_limit_goes_with_publishing(fresh):
    """It is in place, a second run changes nothing, and it is gone once nothing is published."""
    assert "RateLimit" in fresh.host.run(f"cat {fresh.limit}")
    done = fresh.fab("-H", "homelab", "jupyter.configure", env=fresh.env).ok()
    assert "nothing to change" in done.text
    fresh.fab(
        "-H", "homelab", "jupyter.configure", env=fresh.env | {"LABFAB_PUBLISH": "tunnel"}
    ).ok()
    assert fresh.host.run(f"ls {fresh.limit} 2>&1 || true").endswith("No such file or directory")


SERVICE = "runuser -u {account} -- env XDG_RUNTIME_DIR=/run/user/$(id -u {account}) {command}"
# What a notebook may need, and what it never does: a setuid file, the kernel's cryptography.
NOTEBOOK = """
import os, pathlib, socket, subprocess, tempfile
def tried(call):
    try:
        call()
        return "done"
    except OSError as error:
        return type(error).__name__
def setuid():
    file = pathlib.Path(tempfile.mkdtemp(), "x")
    file.write_text("")
    os.chmod(file, 0o4755)
who = subprocess.run("id -un; stat -c %U /root", shell=True, capture_output=True, text=True)
print(*who.stdout.split(), tried(lambda: socket.create_server(("127.0.0.1", 0)).close()), tried(setuid),
      tried(lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)),
      "NoNewPrivs:\\t1" in pathlib.Path("/proc/self/status").read_text())
"""


def test_a_notebook_of_the_service_gains_nothing(published):
    """What runs there keeps the rights that it has, and has all that a notebook needs."""
    if published.account == "lab":
        return  # it may use sudo in a notebook, so nothing is taken away
    published.fab("-H", "homelab", "lab.service", "--yes", env=published.env).ok()
    with published.browser(Authorization=f"token {published.token}") as client:
        client.get("lab")
        ca = published.fab.home / ".config/labfab/homelab/ca.pem"
        said = kernel.execute(client, NOTEBOOK, ssl.create_default_context(cafile=str(ca)))
    assert said == "nb root done PermissionError OSError True"
    command = "systemd-analyze --user security --no-pager jupyter.service | tail -n 1"
    score = published.host.run(SERVICE.format(account=published.account, command=command))
    assert float(re.search(r"([0-9]+\.[0-9])", score)[1]) < 8, score
