"""Sources: where settings are found.

Invoke and Fabric merge their configuration files without telling where a value came from; here each place is read by
itself, so that a wrong value can be named together with its file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from invoke import Config, Context

from .errors import SetupError

# In a wheel the folder lies inside the package, in a checkout beside it.
CONFIG = next(
    (d for d in (Path(__file__).parent / "config", Path(__file__).parent.parent / "config") if d.is_dir()),
    Path(__file__).parent,
)
# LABFAB_* that are no settings: secrets are taken by labfab.laptop.secrets, the recipe names a file.
NOT_SETTINGS = {"LOGIN_PASSWORD", "SUDO_PASSWORD", "JUPYTER_PASSWORD", "CA_PASSPHRASE", "RECIPE"}


def layers(c: Context, structured: Collection[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each place that may hold settings and what it holds, weakest first.

    structured: the settings that are lists or mappings; in the environment they are text.
    """
    yield from project_file(c)
    given = getattr(c.config, "_runtime_path", None)
    if given and not os.path.exists(given):  # Invoke passes over it without a word
        raise SetupError(f"-f {given}: there is no such file: correct the path")
    # Invoke merges these without telling where a value came from, so each level is read by itself.
    for level in ("collection", "system", "user", "project", "runtime", "overrides"):
        found = getattr(c.config, f"_{level}", None) or {}
        if found.get("lab") is not None:
            yield getattr(c.config, f"_{level}_path", None) or f"the {level} configuration", found["lab"]
    yield from recipe()
    yield from environment(structured)


def project_file(c: Context) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Read `lab:` from invoke.yaml beside the fabfile, which `fab` itself ignores."""
    folder = getattr(c.config, "_project_prefix", None) or os.getcwd()
    yield from yaml_file(Config(project_location=folder, lazy=True), "load_project", "_project", "invoke.yaml")


def recipe() -> Iterator[tuple[str, Mapping[str, Any]]]:
    name = os.environ.get("LABFAB_RECIPE")
    if not name:
        return
    path = recipe_path(name, "LABFAB_RECIPE")
    yield from yaml_file(Config(runtime_path=str(path), lazy=True), "load_runtime", "_runtime", str(path))


def recipe_path(name: str, place: str) -> Path:
    """Where a ready recipe lies. Raises SetupError when there is none of this name."""
    path = CONFIG / f"{name}.yaml"
    if not re.fullmatch(r"[a-z0-9-]+", name) or not path.is_file():
        known = ", ".join(sorted(p.stem for p in CONFIG.glob("*.yaml"))) or "none"
        raise SetupError(f"{place}: there is no recipe {name!r}; there are: {known}")
    return path


def yaml_file(config: Config, load: str, level: str, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        getattr(config, load)()
    except Exception as error:  # yaml's own errors have no common base within invoke
        problem = " ".join(str(error).split())
        raise SetupError(f"{place} cannot be read: {problem}") from None
    found = getattr(config, level) or {}
    if found.get("lab") is not None:
        yield getattr(config, f"{level}_path") or place, found["lab"]


def environment(structured: Collection[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield LABFAB_<KEY> settings, each as a layer of its own so that errors name the variable."""
    for variable, text in sorted(os.environ.items()):
        key = variable.removeprefix("LABFAB_")
        if key != variable and key not in NOT_SETTINGS:
            yield variable, {key.lower(): parsed(text, variable) if key.lower() in structured else text}


def parsed(text: str, variable: str) -> Any:
    """Split a list at commas; read JSON where it is given."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise SetupError(f"{variable} is no JSON: {error}") from None
    return [item.strip() for item in text.split(",") if item.strip()]
