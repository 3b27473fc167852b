"""What a setup was given in variables holds for its host from then on, and for no other."""

import json

import pytest
from fabric import Config, Connection
from invoke import Context

from labfab.errors import SetupError
from labfab.run import recipe
from labfab.settings import Settings, kept
from tests.fake import KEY, one_lab


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return a laptop that knows one lab, and the key of another host."""
    one_lab(tmp_path, monkeypatch)
    pin = f"203.0.113.7 {KEY.get_name()} {KEY.get_base64()}\n"
    (tmp_path / ".ssh" / "known_hosts").write_text(pin)
    return tmp_path


def connection(host: str = "box", name: str = "") -> Connection:
    c = Connection(host, config=Config())
    recipe.choose(c, name)
    return c


def set_up(monkeypatch, host="box", name="", alias="box", **given) -> None:
    """Begin a setup with these variables, which are gone afterwards."""
    with monkeypatch.context() as now:
        for key, value in given.items():
            now.setenv(f"LABFAB_{key.upper()}", value)
        recipe.store(connection(host, name), alias)


def test_what_was_given_once_holds_for_every_name_of_the_host(home, monkeypatch):
    set_up(monkeypatch, name="letsencrypt", names="lab.example.org", email="a@example.org",
           accept_anaconda_terms="true")  # fmt: skip
    for host in ("box", "root@203.0.113.5"):
        want = Settings.of(connection(host))
        assert (want.names, want.email) == (["lab.example.org"], "a@example.org"), host
        assert want.certificate == "letsencrypt" and want.accept_anaconda_terms
    assert Settings.of(connection("root@203.0.113.6")).names == []
    monkeypatch.setenv("LABFAB_ALIAS", "box")
    recipe.choose(c := Context(Config()), "")
    assert Settings.of(c).email == "a@example.org"
    assert kept.place("box").stat().st_mode & 0o777 == 0o600


def test_a_later_value_wins_and_is_kept_too(home, monkeypatch):
    set_up(monkeypatch, python="venv", lab_port="7777")
    monkeypatch.setenv("LABFAB_PYTHON", "miniforge")
    assert Settings.of(connection()).python == "miniforge"
    recipe.store(connection(), "box")
    monkeypatch.delenv("LABFAB_PYTHON")
    want = Settings.of(connection())
    assert (want.python, want.lab_port) == ("miniforge", 7777)
    # The default need not be kept.
    assert json.loads(kept.place("box").read_text())["lab"] == {"lab_port": 7777}


def test_another_recipe_wins_over_what_was_kept_with_the_first(home, monkeypatch):
    set_up(monkeypatch, name="droplet", publish="tunnel", names="lab.example.org")
    assert Settings.of(connection()).publish == "tunnel"
    assert Settings.of(connection(name="droplet")).publish == "tunnel"
    want = Settings.of(connection(name="apache"))
    assert (want.publish, want.names) == ("apache", ["lab.example.org"])


def test_what_concerns_one_run_or_holds_secrets_is_not_kept(home, monkeypatch):
    set_up(monkeypatch, update="false", revert_after="99", connect_timeout="3",
           package_index="https://me:word@example.org/simple", sudo_password="word")  # fmt: skip
    assert not kept.place("box").exists()


def test_a_host_whose_setup_died_before_it_had_an_alias_is_known_by_its_key(home, monkeypatch):
    set_up(monkeypatch, "root@203.0.113.7", "droplet", "homelab", user="ann")
    want = Settings.of(connection("root@203.0.113.7"))
    assert (want.user, want.publish) == ("ann", "https")
    want = Settings.of(connection("root@203.0.113.8"))
    assert (want.user, want.publish) == ("lab", "tunnel")


def test_it_is_forgotten_with_the_recipe(home, monkeypatch):
    set_up(monkeypatch, python="venv")
    recipe.forget("box")
    assert Settings.of(connection()).python == "miniforge" and not kept.place("box").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"lab": 3}', "[" * 100_000])
def test_a_damaged_file_is_named(home, monkeypatch, text):
    kept.place("box").parent.mkdir(parents=True)
    kept.place("box").write_text(text)
    with pytest.raises(SetupError, match=r"settings.json cannot be read .*: delete it"):
        Settings.of(connection())
