"""Sources: every place that may hold settings, read one by one.

Invoke and Fabric merge their configuration files and lose the origin of a value. Each place is read
separately here, so that an error can name the file of a bad value.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, NamedTuple

from invoke.config import Config
from invoke.context import Context

from .. import decode, fabric_internals
from ..errors import SetupError
from ..local_state.aliases import host_names
from . import kept

# A wheel has config/ inside the package, a checkout next to it.
PACKAGE = Path(__file__).parents[1]
CONFIG = next((d for d in (PACKAGE / "config", PACKAGE.parent / "config") if d.is_dir()), PACKAGE)
# The key under `lab:` whose entries apply to single hosts.
HOSTS = "hosts"
DEFAULT_ALIAS = "homelab"
# Recipes that set no lab_user at first. Hosts that were set up with them keep their one account.
HAD_ONE_ACCOUNT = ("apache", "https", "letsencrypt", "droplet")
# LABFAB_* variables that are not settings: secrets, the recipe, and a switch for developers.
NOT_SETTINGS = {
    "LOGIN_PASSWORD",
    "SUDO_PASSWORD",
    "JUPYTER_PASSWORD",
    "CA_PASSPHRASE",
    "RECIPE",
    "DEBUG",
}


# The recipes of this run that no command line gave: their hosts were set up with them.
RECALLED: set[str] = set()


class Layer(NamedTuple):
    """The settings of one place. Those for other hosts are checked but not used."""

    place: str
    values: Mapping[str, Any]
    taken: bool = True
    # Given in a variable, now or at an earlier setup of this host.
    by_hand: bool = False


def layers(c: Context, structured: Collection[str], with_kept: bool = True) -> Iterator[Layer]:
    """Yield each place that holds settings, weakest first.

    structured: the settings that are lists or mappings, which environment variables give as text.
    with_kept: also what a setup kept for the host.
    """
    found = list(files(c))
    yield from (Layer(place, general(values)) for place, values in found)
    names = host_names(c) or {alias_in(found)}
    for place, values in found:
        yield from of_hosts(place, values, names)
    if with_kept:
        yield from kept_layer(c, found)
    yield from environment(structured)


def kept_layer(c: Context, found: list[tuple[str, Any]]) -> Iterator[Layer]:
    """Yield what an earlier setup of this host kept.

    A recipe that this command line gives wins, because it is given later.
    """
    alias = kept.name_of(c, alias_in(found))
    have = kept.load(alias) if alias else None
    if have is None or not have.lab:
        return
    recipe = recipe_file(c)
    later = dict(found).get(recipe) if recipe not in RECALLED else None
    names = later if isinstance(later, Mapping) else ()
    yield Layer(str(kept.place(alias)), kept.without(have.lab, names), by_hand=True)


def recipe_file(c: Context) -> str:
    """Return the file of settings given to this command line, or to the setup of its host."""
    name = os.environ.get("LABFAB_RECIPE")
    if name:
        return str(recipe_path(name, "LABFAB_RECIPE"))
    return fabric_internals.settings_file(c.config)


def files(c: Context) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each file with `lab:` in it and the value of that key, weakest first."""
    yield from project_file(c)
    given = fabric_internals.settings_file(c.config)
    # Invoke ignores a missing file silently.
    if given and not os.path.exists(given):
        raise SetupError(f"-f {given}: there is no such file: correct the path")
    for level in fabric_internals.LEVELS:
        yield from settings_in(c.config, level, f"the {level} configuration")
    yield from recipe()


def settings_in(
    config: Config, level: fabric_internals.Level, place: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what one level of a configuration has under `lab:`.

    place: the level's name, for messages if there is no file."""
    values = fabric_internals.level_data(config, level).get("lab")
    if values is not None:
        yield fabric_internals.level_path(config, level) or place, values


def general(values: Any) -> Any:
    """Return values without the entries for single hosts."""
    if not isinstance(values, Mapping):
        return values
    return {key: value for key, value in values.items() if key != HOSTS}


def of_hosts(place: str, values: Any, names: Collection[str]) -> Iterator[Layer]:
    """Yield the entries for single hosts, patterns first, so that names win over them.

    names: every name of this run's host.
    """
    section = values.get(HOSTS) if isinstance(values, Mapping) else None
    if section is None:
        return
    if not isinstance(section, Mapping) or not all(
        isinstance(entry, Mapping | None) for entry in section.values()
    ):
        raise SetupError(
            f"{place}: `{HOSTS}:` must hold names or patterns of hosts, "
            "each with its settings below it"
        )
    entries = {str(pattern): entry or {} for pattern, entry in section.items()}
    for pattern in sorted(entries, key=lambda pattern: not is_pattern(pattern)):
        taken = any(fnmatchcase(name, pattern) for name in names)
        yield Layer(f"{place}, {HOSTS}: {pattern}", entries[pattern], taken)


def is_pattern(name: str) -> bool:
    """Return whether a name is a pattern, with *, ? or [."""
    return bool(set("*?[") & set(name))


def alias_in(found: list[tuple[str, Any]]) -> str:
    """Return the alias to use if no host is given with -H."""
    mappings = [values for _, values in found if isinstance(values, Mapping)]
    named = [values["alias"] for values in mappings if "alias" in values]
    return os.environ.get("LABFAB_ALIAS") or str([DEFAULT_ALIAS, *named][-1])


def project_file(c: Context) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Read `lab:` from invoke.yaml next to the fabfile, which `fab` itself ignores."""
    folder = fabric_internals.project_folder(c.config)
    paths = (Path(folder, f"invoke.{kind}") for kind in ("yaml", "yml", "json", "py"))
    yield from project_file_in(folder, tuple(map(file_version, paths)))


@functools.lru_cache(8)
def project_file_in(
    folder: str, versions: tuple[tuple[int, ...], ...]
) -> list[tuple[str, Mapping[str, Any]]]:
    """Read the file once for all stages of all hosts, and again only if a version differs."""
    config = fabric_internals.read_project(folder)
    return list(yaml_file(config, "project", "invoke.yaml"))


def file_version(path: Path) -> tuple[int, ...]:
    """Return numbers that change whenever a file changes; empty if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def recipe() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Read the recipe named by LABFAB_RECIPE."""
    name = os.environ.get("LABFAB_RECIPE")
    if name:
        path = recipe_path(name, "LABFAB_RECIPE")
        yield from yaml_file(Config(runtime_path=path, lazy=True), "runtime", str(path))


def recipe_path(name: str, place: str) -> Path:
    """Return the file of a recipe. Raises SetupError for an unknown name, which *place* gave."""
    path = CONFIG / f"{name}.yaml"
    if not re.fullmatch(r"[a-z0-9-]+", name) or not path.is_file():
        known = ", ".join(sorted(p.stem for p in CONFIG.glob("*.yaml"))) or "none"
        raise SetupError(f"{place}: there is no recipe {name!r}; there are: {known}")
    return path


def had_one_account(place: str) -> bool:
    """Return whether a place of settings is a ready recipe that set no lab_user at first."""
    path = Path(place)
    return path.stem in HAD_ONE_ACCOUNT and path.resolve().parent == CONFIG.resolve()


def yaml_file(
    config: Config, level: Literal["project", "runtime"], place: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Load the file of one level into a configuration and yield what it has under `lab:`.

    place: the file's name for messages. Raises SetupError for a file that cannot be parsed.
    """
    try:
        fabric_internals.load_level(config, level)
    # The parsers' errors have no common base class.
    except Exception as error:
        raise fabric_internals.unreadable(place, error) from None
    yield from settings_in(config, level, place)


def environment(structured: Collection[str]) -> Iterator[Layer]:
    """Yield each LABFAB_<KEY> setting as its own layer, so that errors name the variable."""
    for variable, text in sorted(os.environ.items()):
        name = variable.removeprefix("LABFAB_")
        if name != variable and name not in NOT_SETTINGS:
            key = name.lower()
            value = parsed(text, variable) if key in structured else text
            yield Layer(variable, {key: value}, by_hand=True)


def parsed(text: str, variable: str) -> Any:
    """Parse a list or mapping given in a variable: JSON, or items separated by commas."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return decode.parsed(text)
        except ValueError as error:
            raise SetupError(f"{variable} is not valid JSON: {error}") from None
    return [item.strip() for item in text.split(",") if item.strip()]
