"""Settings and recipes with hostile values and hostile files."""

import shlex

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from invoke.config import Config
from invoke.context import Context

from labfab.settings import Settings, checked, consistent, sources

from .hostile import DATA, JSON, LINE, TEXT, attempt

KEYS = st.sampled_from(Settings._fields)


@given(KEYS | LINE, JSON | TEXT)
@example("user", "a\n")
@example("names", ["x\n"])
@example("base_url", "/a\n/")
def test_one_value(key, value):
    """A value is taken, or refused in one line that names the place."""
    attempt(checked, {key: value}, "here")


@given(st.dictionaries(KEYS, JSON | TEXT, max_size=3))
def test_values_that_fit_together(values):
    taken = {}
    for key, value in values.items():
        taken |= attempt(checked, {key: value}, "here") or {}
    attempt(consistent, Settings(**taken))


NAMES = ("user", "lab_user", "alias", "python_version", "base_url", "root_dir", "start_command")


@given(st.sampled_from(NAMES), TEXT | st.text("ab-_./$;`'\"\n ", max_size=6))
def test_names_need_no_quotes(key, value):
    """What becomes part of a command line, a path or a configuration is one plain word of one line."""
    found = attempt(checked, {key: value}, "here")
    if found and found[key]:
        assert "\n" not in found[key] and "\0" not in found[key]
        if key != "root_dir":
            assert shlex.quote(found[key]) == found[key]


@given(st.sampled_from(("yaml", "yml", "json", "py")), DATA)
@example("yaml", b"\0\xff{[: - a\n\tb")
@example("yaml", b"lab: [1, 2]")
@example("yaml", b"lab: {hosts: 3}")
@example("yaml", b"lab: {1: 2}")
@example("yaml", b"a: &a [*a]")
@example("json", b"[" * 100_000)
def test_a_file_of_settings(home, kind, data):
    """Garbage in a recipe is named in one line."""
    if kind == "py":
        return  # a program: it may do anything
    path = home / f"recipe.{kind}"
    path.write_bytes(data)
    config = Config(runtime_path=str(path), lazy=True)
    for place, values in (
        attempt(lambda: list(sources.yaml_file(config, "runtime", "recipe"))) or ()
    ):
        attempt(checked, sources.general(values), place)
        attempt(lambda p=place, v=values: list(sources.of_hosts(p, v, {"box"})))


@given(
    st.dictionaries(
        KEYS.map(str.upper) | st.sampled_from(("HOSTS", "X", "NAMES", "OPEN_PORTS")),
        TEXT,
        max_size=3,
    )
)
def test_the_environment(home, variables):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for name, value in variables.items():
            if "\0" not in value and all(not "\ud800" <= char <= "\udfff" for char in value):
                patch.setenv(f"LABFAB_{name}", value)
        attempt(Settings.of, Context())
