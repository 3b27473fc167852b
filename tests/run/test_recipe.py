"""The recipe of a host is remembered by its alias, and named when it is gone."""

import pytest
from fabric import Config, Connection
from invoke import Context

from labfab.errors import SetupError
from labfab.run import recipe
from labfab.run.task import host_task, laptop_task
from labfab.settings import Settings, sources
from tests.fake import one_lab


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return a laptop that knows one lab."""
    one_lab(tmp_path, monkeypatch)
    return tmp_path


def connection(host: str = "box") -> Connection:
    return Connection(host, config=Config())


def test_it_is_found_by_the_alias_and_by_the_login_of_before(home):
    c = connection()
    recipe.choose(c, "droplet")
    assert Settings.of(c).lab_port == 9000
    recipe.store(c, "box")
    for host in ("box", "root@203.0.113.5"):
        again = connection(host)
        recipe.choose(again, "")
        assert Settings.of(again).publish == "https", host
    stranger = connection("root@203.0.113.6")
    recipe.choose(stranger, "")
    assert Settings.of(stranger).publish == "tunnel"


def test_one_that_is_given_wins_over_the_one_remembered(home, monkeypatch):
    recipe.choose(c := connection(), "droplet")
    recipe.store(c, "box")
    recipe.choose(c := connection(), "apache")
    assert Settings.of(c).publish == "apache"
    monkeypatch.setenv("LABFAB_RECIPE", "demo")
    recipe.choose(c := connection(), "")
    assert Settings.of(c).publish == "tunnel"


def test_a_file_of_ones_own_is_remembered_by_its_path(home):
    own = home / "mine.yaml"
    own.write_text("lab: {lab_port: 7777}\n")
    c = connection()
    recipe.load(c, own)
    recipe.store(c, "box")
    assert recipe.place("box").read_text() == f"{own}\n"
    own.unlink()
    with pytest.raises(
        SetupError,
        match=r"box: was set up with the recipe .*mine.yaml, which is gone: give one with -f, or delete ",
    ):
        recipe.choose(connection(), "")


def test_a_run_without_a_recipe_leaves_none_behind(home):
    recipe.choose(c := connection(), "droplet")
    recipe.store(c, "box")
    recipe.store(connection(), "box")
    assert not recipe.place("box").exists()


def test_one_that_is_no_yaml_is_named(home):
    own = home / "mine.yaml"
    own.write_text("lab: {lab_port: 7777}\n")
    recipe.load(c := connection(), own)
    recipe.store(c, "box")
    own.write_text("lab: [unclosed\n")
    with pytest.raises(SetupError, match=r"mine.yaml cannot be read: "):
        recipe.choose(connection(), "")


def test_a_run_keeps_the_settings_that_it_began_with(home):
    """The note of an earlier lab must not be used during a run, when the alias is written again."""
    seen = []

    @host_task(connects_itself=True, reads=True)
    def inner(c):
        seen.append(Settings.of(c).publish)

    @laptop_task
    def near(c):
        seen.append(Settings.of(c).publish)

    @host_task(connects_itself=True, reads=True)
    def outer(c):
        recipe.store(given := connection(), "box")
        recipe.load(given, sources.CONFIG / "droplet.yaml")
        recipe.store(given, "box")
        inner(c), near(c)

    outer(connection())
    assert seen == ["tunnel", "tunnel"]
    near(connection())
    assert seen[-1] == "https"


def test_without_a_host_it_is_that_of_the_setting_alias(home, monkeypatch):
    recipe.choose(c := connection(), "droplet")
    recipe.store(c, "box")
    monkeypatch.setenv("LABFAB_ALIAS", "box")
    c = Context(Config())
    recipe.choose(c, "")
    assert Settings.of(c).lab_port == 9000


@pytest.mark.parametrize("name", ["none-such", "../invoke", "/etc/passwd", "a b"])
def test_an_unknown_name_is_told_with_those_that_there_are(home, name):
    with pytest.raises(
        SetupError, match=r"--recipe: there is no recipe .*there are: .*apache.*droplet"
    ):
        recipe.choose(connection(), name)


@pytest.mark.parametrize("path", sorted(sources.CONFIG.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_sound(home, path, monkeypatch):
    """The recipe letsencrypt deliberately lacks what only its reader can supply."""
    monkeypatch.setenv("LABFAB_ACCEPT_ANACONDA_TERMS", "true")
    c = connection()
    recipe.load(c, path)
    assert Settings.of(c)
