"""What check.https says about certificates and answers; handshakes are real, on loopback."""

import contextlib
import socket
import ssl
import threading
import warnings
from types import SimpleNamespace

import httpx
import pytest

from labfab.check import https_front, https_published, https_tls
from labfab.check.inspection import CHECKS, answer
from labfab.check.rows import Row
from labfab.errors import SetupError
from labfab.facts.records import Acme, Firewall
from labfab.host.remote_file import File
from labfab.laptop import kernel
from labfab.settings import Settings
from tests.made_certificates import Paper, issue

NAME = "lab.example.test"
NAMES = (NAME, "127.0.0.1")


@pytest.fixture(scope="module")
def ca() -> Paper:
    return issue("the lab's CA", ends=800)


@pytest.fixture
def home(monkeypatch, tmp_path, ca):
    """A laptop that has the CA's certificate."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "labfab" / "homelab"
    folder.mkdir(parents=True)
    (folder / "ca.pem").write_text(ca.pem)
    return folder


@contextlib.contextmanager
def serving(tmp_path, leaf: Paper, *more: Paper, old: bool = False):
    """Serve these certificates; yield the port."""
    (tmp_path / "cert").write_text("".join(one.pem for one in (leaf, *more)))
    (tmp_path / "key").write_text(leaf.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    if old:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=receive, args=(door, context, over), daemon=True)
        thread.start()
        try:
            yield door.getsockname()[1]
        finally:
            over.set()
            socket.create_connection(door.getsockname()).close()
            thread.join()


def receive(door: socket.socket, context: ssl.SSLContext, over: threading.Event) -> None:
    while not over.is_set():
        caller = door.accept()[0]
        with (
            caller,
            contextlib.suppress(OSError),
            context.wrap_socket(caller, server_side=True) as line,
        ):
            line.recv(1)


def seen(port: int = 443, audit=None, **settings) -> SimpleNamespace:
    """A probe of this machine."""
    want = {
        "publish": "https",
        "names": list(NAMES),
        "lab_port": max(port, 1024),
        "base_url": "/jupyter/",
    } | settings
    have = SimpleNamespace(
        firewall=Firewall(True, "deny", frozenset({2222})),
        acme=Acme("/usr/bin/certbot", False, None, None, None, frozenset()),
    )
    return SimpleNamespace(
        c=SimpleNamespace(host="127.0.0.1", gateway=None),
        want=Settings(**want),
        alias="homelab",
        problem="",
        powerless="",
        audit=audit or {},
        facts=have,
        needs_root=lambda: None,
        stored_secret=lambda name: None,
        by_hand=lambda *words: f"ssh box {' '.join(words)}",
    )


def asked(id: str, look) -> Row:
    """Return the answer of one row."""
    return answer(look, next(check for check in CHECKS if check.id == id)._replace(needs=()), {})


def told(id: str, tmp_path, *sent: Paper, old: bool = False, **settings) -> tuple[str, str]:
    """Return state and detail of a row when these certificates are served."""
    with serving(tmp_path, *sent, old=old) as port:
        found = asked(id, seen(port, **settings))
    return found.state, found.detail


@pytest.mark.parametrize(
    ("begins", "ends", "kind", "expected"),
    [
        (-1, 396.5, "self-signed", ("ok", "396 days left, of 397 days")),
        (-383, 14.5, "self-signed", ("ok", "14 days left, of 397 days")),
        (-384, 13.5, "self-signed", ("warn", "13 days left, of 397 days")),
        (-59, 31.5, "letsencrypt", ("ok", "31 days left, of 90 days")),
        (-61, 29.5, "letsencrypt", ("warn", "29 days left, of 90 days")),
        (-4.7, 1.5, "letsencrypt", ("warn", "1 day left, of 6 days")),
        (-6, 0.5, "letsencrypt", ("warn", "12 h left, of 6 days")),
        (-90, -1.5, "letsencrypt", ("fail", "it ended 1 day ago")),
        (
            2.5,
            90,
            "self-signed",
            ("fail", "it begins in 2 days: is the host's clock right, and yours?"),
        ),
    ],
)
def test_how_long_a_certificate_lasts(home, tmp_path, ca, begins, ends, kind, expected):
    assert (
        told(
            "https-days",
            tmp_path,
            issue("leaf", NAMES, by=ca, begins=begins, ends=ends),
            certificate=kind,
        )
        == expected
    )


def test_who_vouches_for_it(home, tmp_path, ca, monkeypatch):
    """Expired, unknown issuer, incomplete chain and forbidden names are told apart."""
    leaf, other = issue("leaf", NAMES, by=ca), issue("another CA")
    between = issue("between", by=ca)
    below = issue("leaf", NAMES, by=between)
    assert told("https-chain", tmp_path, leaf) == ("ok", "by this lab's CA")
    for paper, issuer in (
        (issue("leaf", NAMES, by=other), "another CA"),
        (issue("itself", NAMES), "itself"),
    ):
        assert told("https-chain", tmp_path, paper) == (
            "fail",
            f"unknown issuer: {issuer}, which is not this lab's CA",
        )
    monkeypatch.setenv("SSL_CERT_FILE", str(home / "ca.pem"))
    public = {"certificate": "letsencrypt"}
    assert told("https-chain", tmp_path, below, between, **public) == (
        "ok",
        "by the system's authorities",
    )
    assert told("https-chain", tmp_path, below, **public) == (
        "fail",
        "incomplete chain: the certificate of between, which signed it, is not sent with it",
    )
    late = issue("late", by=ca, ends=-1)
    state, detail = told("https-chain", tmp_path, issue("leaf", NAMES, by=late), late, **public)
    assert (state, detail.partition(":")[0]) == ("fail", "expired")
    stranger = issue("stranger", by=other)
    state, detail = told(
        "https-chain", tmp_path, issue("leaf", NAMES, by=stranger), stranger, **public
    )
    assert (state, detail) == (
        "fail",
        "unknown issuer: another CA, which is not one of the system's authorities",
    )
    state, detail = told("https-chain", tmp_path, issue("itself", NAMES), **public)
    assert (state, detail.partition(":")[0]) == ("fail", "unknown issuer")


@pytest.mark.parametrize(
    ("of_ca", "expected"),
    [
        ({"ends": -1}, "expired: a certificate in its chain has ended"),
        ({"begins": 1}, "a certificate in its chain is not valid yet"),
        ({"only_for": ("example.com",)}, "the CA may not vouch for its names"),
    ],
)
def test_what_its_own_ca_may(home, tmp_path, of_ca, expected):
    ca = issue("the CA", **of_ca)
    (home / "ca.pem").write_text(ca.pem)
    assert told("https-chain", tmp_path, issue("leaf", NAMES, by=ca)) == ("fail", expected)


def test_without_its_ca_here_the_system_is_asked(home, tmp_path, ca, monkeypatch):
    """The system may trust the CA on another laptop. A file that is no certificate is named."""
    (home / "ca.pem").rename(tmp_path / "system.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    assert told("https-chain", tmp_path, issue("leaf", NAMES, by=ca)) == (
        "ok",
        "by the system's authorities",
    )
    (home / "ca.pem").write_text("nothing")
    assert told("https-chain", tmp_path, issue("leaf", NAMES, by=ca)) == (
        "fail",
        f"{home / 'ca.pem'} holds no certificate",
    )


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (NAMES, ("ok", "lab.example.test, 127.0.0.1")),
        (("*.example.test", "127.0.0.1"), ("ok", "lab.example.test, 127.0.0.1")),
        ((NAME,), ("fail", "not for 127.0.0.1, but for lab.example.test")),
        (("example.test",), ("fail", "not for lab.example.test, 127.0.0.1, but for example.test")),
    ],
)
def test_the_certificate_has_every_name(home, tmp_path, ca, names, expected):
    assert told("https-names", tmp_path, issue("leaf", names, by=ca)) == expected


def test_old_tls_is_tried_and_refused(home, tmp_path, ca):
    leaf = issue("leaf", NAMES, by=ca)
    assert told("https-tls", tmp_path, leaf) == ("ok", "tried 1.0 and 1.1")
    assert told("https-tls", tmp_path, leaf, old=True) == ("fail", "it speaks TLSv1.1")


@pytest.mark.parametrize(
    ("timers", "hook", "state", "detail"),
    [
        (["certbot.timer"], "755", "ok", "certbot.timer and the deploy hook are there"),
        (
            ["snap.certbot.renew.timer"],
            "700",
            "ok",
            "snap.certbot.renew.timer and the deploy hook are there",
        ),
        ([], "755", "fail", "no timer of certbot runs"),
        (
            ["certbot.timer"],
            "",
            "fail",
            "nothing passes a renewed certificate on to JupyterLab: the deploy hook is missing",
        ),
        (["certbot.timer"], "644", "fail", "the deploy hook cannot run: its mode is 644"),
    ],
)
def test_a_certificate_of_lets_encrypt_renews_itself(timers, hook, state, detail):
    look = seen(audit={f"timer.{unit}": "active" for unit in timers}, certificate="letsencrypt")
    file = File(hook, "root", "#!/bin/sh") if hook else None
    look.facts.acme = Acme("/usr/bin/certbot", False, file, None, None, frozenset())
    found = asked("https-renewal", look)
    assert (found.state, found.detail) == (state, detail)


@pytest.mark.parametrize(
    ("ends", "state", "mend"), [(40.5, "ok", ""), (30.5, "ok", ""), (29.5, "warn", "https.renew")]
)
def test_our_own_is_renewed_by_hand(home, tmp_path, ca, ends, state, mend):
    with serving(tmp_path, issue("leaf", NAMES, by=ca, ends=ends)) as port:
        found = asked("https-renewal", seen(port))
    assert (found.state, found.mend) == (state, mend)


@pytest.mark.parametrize(
    ("port", "listen", "allowed", "problem", "detail", "mend"),
    [
        (
            443,
            "*:443 apache2",
            {443},
            "",
            "a router or a cloud firewall blocks it",
            "open TCP port 443 there",
        ),
        (443, "*:443 apache2", {80}, "", "the host's firewall refuses port 443", "firewall.enable"),
        (
            443,
            "127.0.0.1:443 apache2",
            {443},
            "",
            "nothing listens on port 443 there",
            "proxy.apache",
        ),
        (
            9999,
            "127.0.0.1:9999 jupyter-lab",
            {9999},
            "",
            "nothing listens on port 9999 there",
            "lab.start",
        ),
        (443, "", set(), "no route", "port 443 does not answer", ""),
    ],
)
def test_why_the_published_port_does_not_answer(port, listen, allowed, problem, detail, mend):
    look = seen(
        audit={"listen.1": listen} if listen else {}, publish="apache" if port == 443 else "https"
    )
    look.facts.firewall, look.problem = Firewall(True, "deny", frozenset(allowed)), problem
    found = https_tls.why_silent(look, port)
    assert (
        detail in found.detail
        and (found.mend if found.mend is not None else "firewall.enable") == mend
    )


def test_from_a_gateway_or_this_machine_itself_nothing_is_seen():
    look = seen()
    assert (
        asked("https-reach", look).detail
        == "127.0.0.1 is an address of this machine, so its own programs would answer"
    )
    look.c.gateway = "gate"
    for row in ("https-reach", "https-plain", "https-doors"):
        assert (asked(row, look).state, asked(row, look).detail) == (
            "not checked",
            "the host is behind a gateway",
        )


@pytest.fixture
def answering(monkeypatch):
    """Let a function answer all HTTP requests."""

    def by(handler) -> None:
        def visitor(url, *_):
            return httpx.Client(base_url=url, transport=httpx.MockTransport(handler))

        monkeypatch.setattr(kernel, "new_client", visitor)
        monkeypatch.setattr(https_front, "trust", lambda look: https_front.Trust(None, "nobody"))

    return by


@pytest.mark.parametrize(
    ("status", "to", "state"),
    [
        (301, f"https://{NAME}/jupyter/", "ok"),
        (308, f"https://{NAME}:8443/jupyter/", "ok"),
        (302, f"http://{NAME}/jupyter/", "fail"),
        (303, f"https://{NAME}/jupyter/", "fail"),
        (302, "https://elsewhere.example/", "fail"),
        (302, "/jupyter/lab", "fail"),
        (200, "", "fail"),
        (404, "", "fail"),
    ],
)
def test_what_counts_as_leading_to_https(answering, status, to, state):
    answering(lambda request: httpx.Response(status, headers={"location": to} if to else {}))
    found = asked("https-redirect", seen(publish="apache"))
    assert found.state == state
    assert state == "ok" or found.detail.startswith(f"http://{NAME}/jupyter/ answers {status}")


def test_an_address_keeps_its_site_where_jupyterlab_has_all_paths(answering):
    hosts = []

    def handler(request):
        hosts.append(request.url.host)
        return httpx.Response(301, headers={"location": f"https://{request.url.host}/"})

    answering(handler)
    assert asked(
        "https-redirect", seen(publish="apache", base_url="/")
    ).state == "ok" and hosts == [NAME]
    assert asked("https-redirect", seen(publish="apache")).state == "ok" and hosts[1:] == list(
        NAMES
    )


FORM = '<title>Jupyter Server</title><input type="password" name="password" id="password_input">'


@pytest.mark.parametrize(
    ("status", "text", "state", "detail", "mend"),
    [
        (200, FORM, "ok", f"https://{NAME}/jupyter/login", ""),
        (
            403,
            "Blocking request with non-local 'Host'",
            "fail",
            f"JupyterLab does not accept the name {NAME}",
            https_tls.RESTART,
        ),
        (503, "", "fail", "Apache cannot reach JupyterLab", "lab.start"),
        (200, "Welcome", "fail", "answers 200, and does not ask for a password", "proxy.apache"),
        (404, "", "fail", "answers 404", "proxy.apache"),
    ],
)
def test_what_counts_as_the_login_page(answering, status, text, state, detail, mend):
    answering(lambda request: httpx.Response(status, text=text))
    found = asked("https-login", seen(publish="apache"))
    assert (found.state, found.mend) == (state, mend) and detail in found.detail


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ({"/jupyter/api": '{"version": "2.21.1"}'}, True),
        ({"/api": '{"version": "2.21.1"}'}, True),
        ({}, False),
        ({"/api": '{"version": "1", "name": "another"}'}, False),
        ({"/api": "<title>Jupyter Server</title>"}, True),
    ],
)
def test_jupyters_api_is_known_at_any_port(answering, answers, found):
    def handler(request):
        assert request.url.scheme == "http" and request.url.port == 8765
        text = answers.get(request.url.path)
        return httpx.Response(
            200 if text else 404, text=text or "no", headers={"server": "TornadoServer/6.6"}
        )

    answering(handler)
    assert https_published.has_plain_api(seen(), 8765) is found


def test_an_answer_without_end_is_not_read_to_its_end(answering):
    def endless():
        while True:
            yield b"x" * 1000

    answering(lambda request: httpx.Response(200, content=endless()))
    assert https_published.has_plain_api(seen(), 8765) is False


@pytest.mark.parametrize(
    ("xsrf", "login", "state", "detail"),
    [
        ("Secure", "Secure; HttpOnly", "ok", "_xsrf, username-lab: Secure; username-lab: HttpOnly"),
        ("Secure", "HttpOnly", "fail", "username-lab is not Secure"),
        ("Secure", "Secure", "fail", "username-lab can be read by scripts"),
        ("", "Secure; HttpOnly", "fail", "_xsrf is not Secure"),
    ],
)
def test_what_its_cookies_must_be(answering, monkeypatch, xsrf, login, state, detail):
    headers = [
        ("set-cookie", f"_xsrf=1; Path=/jupyter/; {xsrf}"),
        ("set-cookie", f"username-lab=x; Path=/jupyter/; {login}"),
    ]
    answering(lambda request: httpx.Response(200, headers=headers))
    monkeypatch.setenv("LABFAB_JUPYTER_PASSWORD", "")
    monkeypatch.setattr(https_published, "stored_password", lambda look: "word")
    found = asked("https-cookies", seen(publish="apache"))
    assert (found.state, found.detail) == (state, detail)


def test_a_password_that_is_not_known_here_is_not_guessed(home):
    assert asked("https-password", seen()).detail.startswith("it is not known here")


def test_a_login_that_cannot_be_tried_is_no_refusal(answering, monkeypatch):
    """If Apache fails at the login, the password was not refused."""

    def handler(request):
        raise httpx.ReadTimeout("too late")

    answering(handler)
    with pytest.raises(SetupError, match="does not answer"):
        https_published.logged_in(seen(), "word")
    assert asked("https-wrong-password", seen()).state == "fail"
