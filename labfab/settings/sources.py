"""Sources: where settings are found.

Invoke and Fabric merge their configuration files without telling where a value came from; here each place is read by
itself, so that a wrong value can be named together with its file.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from invoke import Config, Context

from ..errors import SetupError
from ..local_state.aliases import names_of

# In a wheel the folder lies inside the package, in a checkout beside it.
PACKAGE = Path(__file__).parents[1]
CONFIG = next((d for d in (PACKAGE / "config", PACKAGE.parent / "config") if d.is_dir()), PACKAGE)
HOSTS = "hosts"  # under `lab:`, what holds for single hosts
DEFAULT_ALIAS = "homelab"
# LABFAB_* that are no settings: secrets are taken by labfab.laptop.secrets, the recipe names a file.
NOT_SETTINGS = {
    "LOGIN_PASSWORD",
    "SUDO_PASSWORD",
    "JUPYTER_PASSWORD",
    "CA_PASSPHRASE",
    "RECIPE",
    "DEBUG",
}


class Layer(NamedTuple):
    """What one place says; what it says of another host is looked over and not taken."""

    place: str
    values: Mapping[str, Any]
    taken: bool = True


def layers(c: Context, structured: Collection[str]) -> Iterator[Layer]:
    """Yield each place that may hold settings and what it holds, weakest first.

    structured: the settings that are lists or mappings; in the environment they are text.
    """
    found = list(files(c))
    yield from (Layer(place, general(values)) for place, values in found)
    names = names_of(c) or {alias_in(found)}
    for place, values in found:
        yield from of_hosts(place, values, names)
    yield from environment(structured)


def files(c: Context) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what stands under `lab:` in each file, weakest first."""
    yield from project_file(c)
    given = getattr(c.config, "_runtime_path", None)
    if given and not os.path.exists(given):  # Invoke passes over it without a word
        raise SetupError(f"-f {given}: there is no such file: correct the path")
    # Invoke merges these without telling where a value came from, so each level is read by itself.
    for level in ("collection", "system", "user", "project", "runtime", "overrides"):
        found = getattr(c.config, f"_{level}", None) or {}
        if found.get("lab") is not None:
            yield (
                getattr(c.config, f"_{level}_path", None) or f"the {level} configuration",
                found["lab"],
            )
    yield from recipe()


def general(values: Any) -> Any:
    """What a file says of all hosts."""
    return (
        {key: value for key, value in values.items() if key != HOSTS}
        if isinstance(values, Mapping)
        else values
    )


def of_hosts(place: str, values: Any, names: Collection[str]) -> Iterator[Layer]:
    """What a file says of single hosts: patterns first, for a name wins over them."""
    section = values.get(HOSTS) if isinstance(values, Mapping) else None
    if section is None:
        return
    if not isinstance(section, Mapping) or not all(
        isinstance(held, Mapping | None) for held in section.values()
    ):
        raise SetupError(
            f"{place}: `{HOSTS}:` must hold names or patterns of hosts, each with its settings below it"
        )
    named = {str(name): held or {} for name, held in section.items()}
    for wanted in sorted(named, key=lambda name: not is_pattern(name)):
        yield Layer(
            f"{place}, {HOSTS}: {wanted}",
            named[wanted],
            any(fnmatchcase(name, wanted) for name in names),
        )


def is_pattern(name: str) -> bool:
    return bool(set("*?[") & set(name))


def alias_in(found: list[tuple[str, Any]]) -> str:
    """The lab that is meant where no host is given."""
    named = [
        values["alias"] for _, values in found if isinstance(values, Mapping) and "alias" in values
    ]
    return os.environ.get("LABFAB_ALIAS") or str([DEFAULT_ALIAS, *named][-1])


def project_file(c: Context) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Read `lab:` from invoke.yaml beside the fabfile, which `fab` itself ignores."""
    folder = getattr(c.config, "_project_prefix", None) or os.getcwd()
    yield from project_file_in(
        folder,
        tuple(state(Path(folder, f"invoke.{kind}")) for kind in ("yaml", "yml", "json", "py")),
    )


@functools.lru_cache(8)
def project_file_in(folder: str, _: tuple) -> list[tuple[str, Mapping[str, Any]]]:
    """Read it once, for every stage of every host asks; until one of these files is another."""
    return list(
        yaml_file(
            Config(project_location=folder, lazy=True), "load_project", "_project", "invoke.yaml"
        )
    )


def state(path: Path) -> tuple[int, ...]:
    """What differs when a file does."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def recipe() -> Iterator[tuple[str, Mapping[str, Any]]]:
    name = os.environ.get("LABFAB_RECIPE")
    if not name:
        return
    path = recipe_path(name, "LABFAB_RECIPE")
    yield from yaml_file(
        Config(runtime_path=str(path), lazy=True), "load_runtime", "_runtime", str(path)
    )


def recipe_path(name: str, place: str) -> Path:
    """Where a ready recipe lies. Raises SetupError when there is none of this name."""
    path = CONFIG / f"{name}.yaml"
    if not re.fullmatch(r"[a-z0-9-]+", name) or not path.is_file():
        known = ", ".join(sorted(p.stem for p in CONFIG.glob("*.yaml"))) or "none"
        raise SetupError(f"{place}: there is no recipe {name!r}; there are: {known}")
    return path


def yaml_file(
    config: Config, load: str, level: str, place: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        getattr(config, load)()
    except Exception as error:  # yaml's own errors have no common base within invoke
        problem = " ".join(str(error).split())
        raise SetupError(f"{place} cannot be read: {problem}") from None
    found = getattr(config, level) or {}
    if found.get("lab") is not None:
        yield getattr(config, f"{level}_path") or place, found["lab"]


def environment(structured: Collection[str]) -> Iterator[Layer]:
    """Yield LABFAB_<KEY> settings, each as a layer of its own so that errors name the variable."""
    for variable, text in sorted(os.environ.items()):
        key = variable.removeprefix("LABFAB_")
        if key != variable and key not in NOT_SETTINGS:
            yield Layer(
                variable,
                {key.lower(): parsed(text, variable) if key.lower() in structured else text},
            )


def parsed(text: str, variable: str) -> Any:
    """Split a list at commas; read JSON where it is given."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise SetupError(f"{variable} is no JSON: {error}") from None
    return [item.strip() for item in text.split(",") if item.strip()]
