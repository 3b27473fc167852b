"""A person at a real browser: logs in, computes in a notebook, types in a terminal; through the tunnel, and through Apache with TLS."""

import http.server
import random
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from labfab.certificates import authority, vault
from labfab.local_state.secrets import Secret
from tests.conftest import CONTINUOUS
from tests.rig import RigError, browser
from tests.rig.fab import Fab
from tests.rig.host import Host

pytestmark = pytest.mark.host

NAME = "lab.home.arpa"
VENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false"}
PASSPHRASE = "a CA to be kept, for this test signs by it"
APACHE = {
    "LABFAB_PUBLISH": "apache",
    "LABFAB_BASE_URL": "/jupyter/",
    "LABFAB_NAMES": NAME,
    "LABFAB_CA_PASSPHRASE": PASSPHRASE,
}
ORIGIN = "from IPython.display import Javascript; Javascript('element.append(location.origin)')"
PLOT = 'from math import sin; print(*(" " * round(24 + 24 * sin(x / 3)) + "●" for x in range(18)), sep="\\n")'


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    """The browser; without one, these tests are skipped on a laptop and fail in CI."""
    try:
        browser.need_tools()
    except RigError as error:
        if CONTINUOUS:
            pytest.fail(f"browser tests must run here: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def box(module_lab) -> Host:
    return module_lab("debian12", "browser", env=VENV)


@pytest.fixture(scope="module")
def published(box, module_fab) -> str:
    """The same machine, published through Apache from now on: its address."""
    if box.port != 22:
        pytest.skip("this engine shows the published ports only")
    module_fab.secrets.add(PASSPHRASE)
    module_fab("-H", "homelab", "lab.stop", env=VENV).ok()
    module_fab("-H", "homelab", "setup.full", env=VENV | APACHE).ok()
    return f"https://{NAME}/jupyter/lab"


def password(fab: Fab) -> str:
    return (fab.home / ".config/labfab/homelab/jupyter-password").read_text().strip()


def computes(lab: browser.JupyterLab, way: str, name: str) -> None:
    """Write a notebook as a person does, and see the right product."""
    a, b = random.randint(10**5, 10**6), random.randint(10**5, 10**6)
    lab.new_notebook()
    lab.write(f"# My own JupyterLab\nIt runs on the host; this page came {way}.")
    assert lab.run(f"{a} * {b}") == str(a * b)
    assert lab.run(ORIGIN) == re.match("https?://[^/]+", lab.url).group()
    assert len(set(lab.run(PLOT).splitlines())) > 9
    lab.save(f"{name}.ipynb")
    lab.picture(browser.PICTURES / f"{name}.png")


def types(lab: browser.JupyterLab) -> None:
    """Ask in a terminal who one is."""
    lab.new_terminal()
    assert re.search(r"uid=\d+\(lab\) gid=\d+\(lab\)", lab.shell("id", r"uid=\d+"))


def test_through_the_tunnel(box, module_fab):
    said = module_fab("-H", "homelab", "tunnel.open", env=VENV).ok().out
    with browser.opened(module_fab) as page:
        lab = browser.JupyterLab(page, re.search(r"http://127\.0\.0\.1:\d+/lab", said).group())
        lab.log_in(password(module_fab))
        computes(lab, "through the SSH tunnel", "tunnel")
        types(lab)


def test_one_word_opens_it_logged_in(box, module_fab):
    """lab.open names a page to the browser; Chromium is logged in by it, and its history has no token."""
    home = module_fab.home
    script, asked = home / "names-the-page", home / "asked"
    script.write_text('#!/bin/sh\necho "$1" >~/asked.new && mv ~/asked.new ~/asked\n')
    script.chmod(0o755)
    module_fab("-H", "homelab", "lab.open", env=VENV | {"BROWSER": str(script)}).ok()
    end = time.monotonic() + 30
    while not asked.exists():
        assert time.monotonic() < end, "no browser was started"
        time.sleep(0.1)
    with browser.opened(module_fab) as page:
        page.goto(asked.read_text().strip())
        page.wait_for_selector("#jp-main-dock-panel")
        told = page.context.new_cdp_session(page).send("Page.getNavigationHistory")["entries"]
    addresses = [entry["url"] for entry in told]
    assert addresses[-1].endswith("/lab") and "login.html" not in str(
        addresses
    )  # nor does "back" lead to a page that is gone
    token = (home / ".config/labfab/homelab/jupyter-token").read_text().strip()
    assert token and token not in str(told)


def test_lab_open_needs_no_password(box, module_fab):
    """The page that lab.open hands to the browser logs Chromium in, although it comes from a file and not from the server."""
    keeps, page_file = module_fab.home / "browser", module_fab.home / "opened.html"
    keeps.write_text(
        '#!/bin/sh\ncp "${1#file://}" "$HOME/new" && mv "$HOME/new" "$HOME/opened.html"\n'
    )
    keeps.chmod(0o755)
    module_fab("-H", "homelab", "lab.open", env=VENV | {"BROWSER": str(keeps)}).ok()
    with browser.opened(module_fab) as page:
        wait_for(page_file)
        page.goto(page_file.as_uri())
        page.locator("#jp-main-dock-panel").wait_for()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/lab[^?#]*", page.url)


def wait_for(path: Path) -> None:
    """Wait until the browser that was called has the page: it is called after the command has ended."""
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end, f"nobody wrote {path}"
        time.sleep(0.1)


def test_chromium_is_told_to_overlook_nothing(module_fab):
    with browser.opened(module_fab, {NAME: "127.0.0.1"}) as page:
        told = browser.command_line(page)
    assert f"MAP {NAME} 127.0.0.1" in told
    assert not re.search("certificate|insecure|web-security", told)


def test_before_it_is_trusted_chromium_refuses(published, box, module_fab):
    with browser.opened(module_fab, {NAME: box.address}) as page:
        assert browser.refusal(page, published) == "ERR_CERT_AUTHORITY_INVALID"


@pytest.fixture(scope="module")
def trusted(published, module_fab) -> None:
    """The browsers of this home told to trust the lab, by a browser that ran before."""
    module_fab("-H", "homelab", "https.trust", env=VENV | APACHE).ok()


def test_through_apache_with_tls(trusted, published, box, module_fab):
    with browser.opened(module_fab, {NAME: box.address}) as page:
        lab = browser.JupyterLab(page, published)
        answer = page.goto(f"http://{NAME}/jupyter/lab")
        assert page.url.startswith(f"https://{NAME}/jupyter/login")
        assert answer.security_details()["issuer"].startswith("labfab CA of ")
        lab.log_in(password(module_fab))
        cookies = page.context.cookies()
        computes(lab, f"from {NAME} through Apache, with TLS", "https")
        types(lab)
        cookies += page.context.cookies()
    assert len(cookies) > 3 and all(cookie["secure"] for cookie in cookies), cookies


@pytest.mark.parametrize(
    "names", [[NAME], ["example.com"], ["198.51.100.7"], [NAME, "example.com"]], ids=" ".join
)
def test_the_ca_vouches_for_the_lab_alone(trusted, module_fab, tmp_path, names):
    """A server here shows a certificate that this very CA signed; only that for the lab's own name alone is taken."""
    with (
        serving(*signed(module_fab.home, names, tmp_path)) as place,
        browser.opened(module_fab, {f"{names[0]}:443": place}) as page,
    ):
        assert browser.refusal(page, f"https://{names[0]}/") == (
            "" if names == [NAME] else "ERR_CERT_INVALID"
        )


def test_once_it_is_trusted_no_more_chromium_refuses_again(trusted, published, box, module_fab):
    module_fab("-H", "homelab", "https.untrust", env=VENV | APACHE).ok()
    with browser.opened(module_fab, {NAME: box.address}) as page:
        assert browser.refusal(page, published) == "ERR_CERT_AUTHORITY_INVALID"


def signed(home: Path, names: list[str], folder: Path) -> tuple[Path, Path]:
    """Have the lab's CA sign for these names; return the certificate and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
        .public_bytes(pem)
        .decode()
    )
    kept = home / ".config/labfab/homelab/ca-key.pem"
    ca = vault.unlock(kept, kept.read_bytes(), Secret(PASSPHRASE))
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_text(authority.sign(ca, request, names))
    paths[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return paths


@contextmanager
def serving(certificate: Path, key: Path) -> Iterator[str]:
    """Run a small web server with TLS on loopback and lend its place."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class Quiet(http.server.BaseHTTPRequestHandler):
    """Says hello to whoever takes the certificate; of those who hang up there is nothing to tell."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def log_message(self, *_) -> None:
        pass
