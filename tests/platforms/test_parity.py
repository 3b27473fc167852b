"""Every platform has every name of the contract, with one signature, and nothing else is asked of it."""

import ast
import inspect
import typing
from pathlib import Path
from types import ModuleType

import pytest

from labfab.platforms import FAMILIES, base, debian, launchd, load, macos, systemd

LABFAB = Path(base.__file__).parents[1]
MODULES = {base.Platform: (debian, macos), base.Service: (systemd, launchd)}
PAIRS = [(contract, module) for contract, modules in MODULES.items() for module in modules]
TREES = {path.relative_to(LABFAB): ast.parse(path.read_text()) for path in LABFAB.rglob("*.py")}
# An expression that is a platform: `platform(c)`, `look.platform`, or a name that holds one.
ATTRIBUTE = "look.platform"


def functions(contract: type) -> dict[str, inspect.Signature]:
    """The functions of a contract, without self, with types as they are."""
    found = {}
    for name, value in vars(contract).items():
        if inspect.isfunction(value) and not name.startswith("_"):
            signature = inspect.signature(value)
            _, *parameters = signature.parameters.values()
            found[name] = signature.replace(parameters=parameters)
    return found


def constants(contract: type) -> dict[str, str]:
    """The constants of a contract, with the words for their types."""
    return inspect.get_annotations(contract)


def names(contract: type) -> set[str]:
    return {*functions(contract), *constants(contract)}


def is_platform(node: ast.AST, known: set[str]) -> bool:
    """Whether an expression is a platform. known: names of variables that hold one."""
    if isinstance(node, ast.Name):
        return node.id in known
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "platform"
        or ast.unparse(node) == ATTRIBUTE
    )


def holders(function: ast.AST) -> set[str]:
    """The variables and parameters of a function that hold a platform."""
    known: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.arg) and node.annotation is not None:
            known |= {node.arg} if ast.unparse(node.annotation).endswith("Platform") else set()
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=True))
                known |= {
                    left.id
                    for left, right in pairs
                    if isinstance(left, ast.Name) and is_platform(right, known)
                }
    return known


def used(tree: ast.AST) -> set[str]:
    """The names that a module asks of a platform."""
    found = set()
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        known = holders(function)
        found |= {
            node.attr
            for node in ast.walk(function)
            if isinstance(node, ast.Attribute) and is_platform(node.value, known)
        }
    return found


USED = {name for path, tree in TREES.items() if path.parts[0] != "platforms" for name in used(tree)}


@pytest.mark.parametrize(("contract", "module"), PAIRS)
def test_a_platform_has_every_function_as_declared(contract: type, module: ModuleType):
    for name, declared in functions(contract).items():
        given = inspect.signature(getattr(module, name))
        assert given == declared, f"{module.__name__}.{name}"


@pytest.mark.parametrize(("contract", "module"), PAIRS)
def test_a_platform_has_every_constant_of_its_type(contract: type, module: ModuleType):
    kinds = {"str": str, "bool": bool, "Service": ModuleType}
    for name, kind in constants(contract).items():
        assert type(getattr(module, name)) is kinds[kind], f"{module.__name__}.{name}"


@pytest.mark.parametrize(("contract", "module"), PAIRS)
def test_a_platform_says_what_each_function_does(contract: type, module: ModuleType):
    for name in functions(contract):
        assert getattr(contract, name).__doc__ and getattr(module, name).__doc__, name


def test_nothing_is_asked_of_a_platform_that_the_contract_lacks():
    assert names(base.Platform) >= USED, USED - names(base.Platform)


def test_nothing_is_declared_that_nobody_asks():
    assert names(base.Platform) <= USED, names(base.Platform) - USED


def test_every_supported_system_has_a_module_of_its_own_name():
    loaded = {name: load(name) for name in FAMILIES.values()}
    assert loaded == {"debian": debian, "macos": macos}


def test_the_contract_is_what_platform_returns():
    from labfab import platforms

    assert typing.get_type_hints(platforms.load)["return"] is base.Platform


@pytest.mark.parametrize(
    "text",
    [
        "def f(c): return platform(c).KNOWN",
        "def f(self): return platform(self.c).KNOWN(self.c)",
        "def f(look): return look.platform.KNOWN",
        "def f(c):\n want, host = Settings.of(c), platform(c)\n host.KNOWN(c)",
        "def f(c, system: Platform): system.KNOWN(c)",
    ],
)
def test_the_search_finds_each_way_to_ask(text: str):
    assert used(ast.parse(text)) == {"KNOWN"}
