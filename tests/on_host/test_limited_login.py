"""The limit of the login page: who has to wait, and how long."""

import runpy
import sys
import types

import pytest

from labfab.on_host import loader


@pytest.fixture
def limit(monkeypatch):
    """The program's names, without Jupyter around it."""
    for name, has in {
        "jupyter_server": (),
        "jupyter_server.auth": (),
        "jupyter_server.auth.decorator": ("allow_unauthenticated",),
        "jupyter_server.auth.identity": ("PasswordIdentityProvider",),
        "jupyter_server.auth.login": ("LoginFormHandler",),
        "tornado": (),
        "tornado.web": ("decode_signed_value",),
    }.items():
        module = types.ModuleType(name)
        for one in has:
            setattr(module, one, type(one, (), {}) if one[0].isupper() else lambda f: f)
        monkeypatch.setitem(sys.modules, name, module)
    part = types.SimpleNamespace
    config = part(ServerApp=part(), IdentityProvider=part(), PasswordIdentityProvider=part())
    found = runpy.run_path(
        str(loader.FOLDER / "limited_login.py"), init_globals={"get_config": lambda: config}
    )
    return types.SimpleNamespace(**found, config=config)


@pytest.fixture
def clock(limit, monkeypatch):
    """A clock that stands until it is set."""
    now = [1000.0]
    monkeypatch.setattr(limit.time, "monotonic", lambda: now[0])
    return now


def test_five_may_fail_then_one_in_twenty_seconds(limit, clock):
    tries = limit.Tries()
    for _ in range(5):
        assert tries.wait("a") == 0
        tries.add("a")
    assert 1 <= tries.wait("a") <= 21 and tries.wait("b") == 0
    clock[0] += tries.wait("a")
    assert tries.wait("a") == 0
    tries.add("a")
    assert tries.wait("a") > 0
    clock[0] += 5 * 20
    assert tries.count("a") == 0


def test_who_logs_in_is_forgiven(limit, clock):
    tries = limit.Tries()
    for _ in range(5):
        tries.add("a")
    tries.forgive("a")
    assert tries.wait("a") == 0


def test_one_site_cannot_try_from_each_of_its_networks(limit, clock):
    tries, sites = limit.Tries(), limit.Tries(limit.FREE_FOR_SITE)
    passed = 0
    for number in range(1000):
        address = f"2001:db8:1:{number:x}::7"
        of, site = limit.network(address), limit.network(address, 48)
        if not (tries.wait(of) or sites.wait(site)):
            tries.add(of)
            sites.add(site)
            passed += 1
    assert passed == limit.FREE_FOR_SITE
    assert not sites.wait(limit.network("2001:db8:2::1", 48))


def test_it_remembers_no_more_than_it_can(limit, clock, monkeypatch):
    tries = limit.Tries()
    for number in range(limit.ADDRESSES + 10):
        tries.add(str(number))
    assert len(tries.failed) == limit.ADDRESSES and "0" not in tries.failed


@pytest.mark.parametrize(
    ("address", "stands_for"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
        ("x", "x"),
    ],
)
def test_a_whole_ipv6_network_is_one_stranger(limit, address, stands_for):
    assert limit.network(address) == stands_for


def test_what_it_configures(limit):
    assert limit.config.ServerApp.identity_provider_class is limit.LimitedIdentityProvider
    assert limit.config.IdentityProvider.login_handler_class is limit.LimitedLogin
    assert limit.config.PasswordIdentityProvider.allow_password_change is False
