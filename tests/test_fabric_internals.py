"""The private attributes that labfab reads in Fabric, Invoke and paramiko are still there."""

import ast
from importlib.metadata import version
from pathlib import Path

import fabric
import invoke
import paramiko
import pytest

from labfab import fabric_internals

PACKAGE = Path(__file__).parents[1] / "labfab"
LIBRARIES = ", ".join(f"{name} {version(name)}" for name in ("fabric", "invoke", "paramiko"))
LEVELS = [f"_{level}" for level in fabric_internals.LEVELS]
PATHS = ["_system_path", "_user_path", "_project_path", "_runtime_path"]
OF_INVOKE = [*LEVELS, *PATHS, "_project_prefix", "_set"]
OF_FABRIC = [
    *OF_INVOKE,
    *("_runtime_ssh_path", "_user_ssh_path", "_system_ssh_path", "_given_explicit_object"),
    *("base_ssh_config", "_load_ssh_files", "_clone_init_kwargs"),
]
# What other modules may use: it is not Fabric's, or belongs to their own class.
OTHERS = {
    "check/https_front.py": {"_sslobj"},
    "host/client.py": {"_auth", "_key_from_filepath"},
    "host/round_trips.py": {"_send_message"},
    "laptop/bounded.py": {"_recv"},
    "laptop/forward.py": {"_send_user_message"},
    "laptop/show_page.py": {"_exit"},
    "local_state/secrets.py": {"_value"},
}
NAMEDTUPLE = {"_replace", "_fields", "_field_defaults", "_asdict", "_make"}


def gone(what: str) -> str:
    return f"{what} is gone from this release ({LIBRARIES}): adapt labfab/fabric_internals.py"


@pytest.mark.parametrize("name", OF_INVOKE)
def test_invoke_has_it(name):
    """Every attribute of a plain Invoke configuration that labfab reads."""
    assert hasattr(invoke.Config(lazy=True), name), gone(f"invoke.Config.{name}")


@pytest.mark.parametrize("name", OF_FABRIC)
def test_fabric_has_it(name):
    """Every attribute of a Fabric configuration that labfab reads or sets."""
    assert hasattr(fabric.Config(lazy=True), name), gone(f"fabric.Config.{name}")


@pytest.mark.parametrize("name", ["_send_message", "_send_user_message"])
def test_paramiko_has_it(name):
    """host/round_trips.py and laptop/forward.py need these."""
    assert hasattr(paramiko.Transport, name), (
        f"paramiko.Transport.{name} is gone from this release ({LIBRARIES})"
    )


@pytest.mark.parametrize("name", ["_auth", "_key_from_filepath"])
def test_paramiko_s_client_has_it(name):
    """host/client.py extends these."""
    assert hasattr(paramiko.SSHClient, name), (
        f"paramiko.SSHClient.{name} is gone from this release ({LIBRARIES})"
    )


def test_each_level_and_its_file_are_found(tmp_path):
    """A value is found at its level, with the file's path."""
    for name in ("fabric.yaml", "recipe.yaml"):
        (tmp_path / name).write_text(f"lab: {{from: {name}}}\n")
    recipe = str(tmp_path / "recipe.yaml")
    config = fabric.Config(project_location=str(tmp_path), runtime_path=recipe)
    fabric_internals.load_level(config, "project")
    fabric_internals.load_level(config, "runtime")
    found = {level: fabric_internals.level_data(config, level) for level in ("project", "runtime")}
    assert {level: data["lab"]["from"] for level, data in found.items()} == {
        "project": "fabric.yaml",
        "runtime": "recipe.yaml",
    }, gone("the data of a level")
    assert fabric_internals.level_path(config, "project") == str(tmp_path / "fabric.yaml")
    assert fabric_internals.level_path(config, "runtime") == recipe
    assert fabric_internals.settings_file(config) == recipe
    assert fabric_internals.project_folder(config) == f"{tmp_path}/"
    assert fabric_internals.level_data(config, "collection") == {}
    assert fabric_internals.level_path(config, "collection") == ""


def test_the_ssh_config_given_with_s_is_found(tmp_path):
    """It is Fabric's -S, which Invoke alone does not have."""
    given = tmp_path / "config"
    given.write_text("")
    config = fabric.Config(runtime_ssh_path=str(given))
    assert fabric_internals.ssh_config_file(config) == given, gone("the path given with -S")
    assert fabric_internals.ssh_config_file(fabric.Config(lazy=True)) is None
    assert fabric_internals.ssh_config_file(invoke.Config(lazy=True)) is None


def test_a_connection_keeps_its_session():
    """A session belongs to one connection and stays out of the shared configuration."""
    config = fabric.Config(lazy=True)
    one, other = (fabric.Connection(name, config=config) for name in ("box", "bob"))
    session = object()
    fabric_internals.keep_session(one, session)
    assert fabric_internals.session_of(one) is session
    assert fabric_internals.session_of(other) is None
    assert fabric_internals.session_of(invoke.Context()) is None


def private_names(tree: ast.AST) -> set[str]:
    """Return the private attributes of foreign objects that a module reads, with a dot or getattr."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            found.add(node.attr)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr"):
            found |= set(names_in(node.args[1]))
    return {name for name in found if name.startswith("_") and not name.startswith("__")}


def names_in(argument: ast.AST) -> list[str]:
    """Return the name given to getattr, as far as it is constant."""
    head = argument.values[0] if isinstance(argument, ast.JoinedStr) else argument
    return [head.value] if isinstance(head, ast.Constant) else []


@pytest.mark.parametrize(
    "name", sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
)
def test_no_other_module_touches_them(name):
    """Only one file can break with a new Fabric."""
    if name == "fabric_internals.py":
        return
    allowed = OTHERS.get(name, set()) | NAMEDTUPLE
    tree = ast.parse((PACKAGE / name).read_text())
    assert not private_names(tree) - allowed, f"labfab/{name}: go through fabric_internals.py"
    assert "vars(c)" not in ast.unparse(tree), f"labfab/{name}: go through fabric_internals.py"


def test_the_rule_finds_what_it_forbids():
    """A dot, getattr with a constant and getattr with an f-string are all found."""
    for text in ("c.config._set(a=1)", 'getattr(c, "_x", None)', 'getattr(c, f"_{level}")'):
        assert private_names(ast.parse(text)), text
    assert not private_names(ast.parse('self._x; getattr(c, "x"); c.__class__'))
