"""The options of Jupyter that would help an attacker, and a server that takes no more passwords."""

from types import SimpleNamespace

import httpx
import pytest

from labfab.check.findings import UNCHECKED
from labfab.check.inspection import answer, https_strangers
from labfab.check.rows import Check
from labfab.laptop import kernel
from labfab.local_state import passwords

GOOD = {
    "ServerApp": {
        "ip": "*",
        "allow_remote_access": True,
        "allow_origin": "",
        "tornado_settings": {"xsrf_cookie_kwargs": {"secure": True}},
    },
    "IdentityProvider": {"hashed_password": passwords.hash("x"), "token": "x"},
}


def risky(publish: str = "https", **parts: dict) -> list[str]:
    config = {name: {**GOOD.get(name, {}), **parts.get(name, {})} for name in {**GOOD, **parts}}
    return list(https_strangers.risky(config, publish))


def test_what_labfab_writes_is_harmless():
    assert risky() == [] and risky("apache", ServerApp={"trust_xheaders": True}) == []


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("ServerApp", "allow_origin", "*"),
        ("ServerApp", "allow_origin_pat", ".*"),
        ("ServerApp", "allow_credentials", True),
        ("ServerApp", "disable_check_xsrf", True),
        ("ServerApp", "disable_check_xsrf", "True"),
        ("ServerApp", "allow_password_change", True),
        ("ServerApp", "token", ""),
        ("ServerApp", "password", "sha1:a:b"),
        ("ServerApp", "login_handler_class", "x.Y"),
        ("ServerApp", "identity_provider_class", "x.Y"),
        ("ServerApp", "trust_xheaders", True),
        ("PasswordIdentityProvider", "allow_password_change", True),
        ("IdentityProvider", "secure_cookie", False),
    ],
)
def test_what_helps_an_attacker_is_named(part, name, value):
    assert risky(**{part: {name: value}}) == [f"{part}.{name}"]


def test_inner_options_and_old_hashes():
    for name in ("compress_response", "debug"):
        found = risky(ServerApp={"tornado_settings": {name: True}})
        assert found == [f"ServerApp.tornado_settings.{name}"]
    assert risky(IdentityProvider={"hashed_password": "sha1:a:b"}) == [
        "IdentityProvider.hashed_password (an old hash)"
    ]


@pytest.mark.parametrize("config", [{}, {"ServerApp": 3}, {"IdentityProvider": []}])
def test_a_strange_configuration_is_no_crash(config):
    assert list(https_strangers.risky(config, "https"))


def test_a_server_that_takes_no_more_passwords_is_not_one_that_refuses_them(monkeypatch):
    """Whether the password is right is not known then."""

    def told(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(429, headers={"Retry-After": "19"})
        return httpx.Response(200 if request.url.path == "/login" else 403)

    client = httpx.Client(base_url="http://127.0.0.1:1/", transport=httpx.MockTransport(told))
    monkeypatch.setattr(kernel, "new_client", lambda *_, **__: client)

    def ask(probe: SimpleNamespace) -> str:
        kernel.login("http://127.0.0.1:1/", "x")
        return "tried"

    row = answer(None, Check("lab-password", "x", "", (), ask), {})
    assert row.state == UNCHECKED and "takes no more passwords from here" in row.detail
