"""Both platforms have every name in the interface, with the same signature; nothing uses others."""

import ast
import inspect
import typing
from collections.abc import Callable, Collection
from pathlib import Path
from types import ModuleType

import pytest

from labfab.platforms import FAMILIES, base, debian, launchd, load, macos, systemd

LABFAB = Path(base.__file__).parents[1]
MODULES = {base.Platform: (debian, macos), base.Service: (systemd, launchd)}
PAIRS = [(contract, module) for contract, modules in MODULES.items() for module in modules]
TREES = {path.relative_to(LABFAB): ast.parse(path.read_text()) for path in LABFAB.rglob("*.py")}


def functions(contract: type) -> dict[str, inspect.Signature]:
    """The functions of an interface, without self, with their types as written."""
    found = {}
    for name, value in vars(contract).items():
        if inspect.isfunction(value) and not name.startswith("_"):
            signature = inspect.signature(value)
            _, *parameters = signature.parameters.values()
            found[name] = signature.replace(parameters=parameters)
    return found


def constants(contract: type) -> dict[str, str]:
    """The constants of an interface, with their types as written."""
    return inspect.get_annotations(contract)


def names(contract: type) -> set[str]:
    return {*functions(contract), *constants(contract)}


def is_platform(node: ast.AST, known: Collection[str] = ()) -> bool:
    """Whether an expression is a platform. known: names of variables that hold one."""
    if isinstance(node, ast.Name):
        return node.id in known
    called = isinstance(node, ast.Call) and ast.unparse(node.func) == "platform"
    return called or ast.unparse(node) == "probe.platform"


def is_service(node: ast.AST, known: Collection[str] = ()) -> bool:
    """Whether an expression is the service of a platform. known: names of variables that hold one."""
    if isinstance(node, ast.Name):
        return node.id in known
    if not (isinstance(node, ast.Attribute) and node.attr == "service"):
        return False
    return isinstance(node.value, ast.Name) or is_platform(node.value)


SEARCH: dict[type, Callable[..., bool]] = {base.Platform: is_platform, base.Service: is_service}


def assigned(node: ast.Assign) -> list[tuple[ast.expr, ast.expr]]:
    """Each target of an assignment with its value, also in `a, b = c, d`."""
    pairs = []
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs += zip(target.elts, node.value.elts, strict=True)
        else:
            pairs.append((target, node.value))
    return pairs


def holders(function: ast.AST, contract: type) -> set[str]:
    """The variables and parameters of a function that hold a platform, or its service."""
    known: set[str] = set()
    for node in ast.walk(function):
        if (
            isinstance(node, ast.arg)
            and node.annotation is not None
            and ast.unparse(node.annotation).split(".")[-1] == contract.__name__
        ):
            known.add(node.arg)
        if isinstance(node, ast.Assign):
            held = [left for left, right in assigned(node) if SEARCH[contract](right, known)]
            known |= {left.id for left in held if isinstance(left, ast.Name)}
    return known


def used(tree: ast.AST, contract: type) -> set[str]:
    """The names that a module uses from a platform, or from its service."""
    found = set()
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        known = holders(function, contract)
        found |= {
            node.attr
            for node in ast.walk(function)
            if isinstance(node, ast.Attribute) and SEARCH[contract](node.value, known)
        }
    return found


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


@pytest.mark.parametrize("contract", MODULES)
def test_the_contract_declares_what_others_ask_and_no_more(contract: type):
    asked = {
        name
        for path, tree in TREES.items()
        if path.parts[0] != "platforms"
        for name in used(tree, contract)
    }
    assert names(contract) == asked


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
        "def f(probe): return probe.platform.KNOWN",
        "def f(c):\n want, host = Settings.of(c), platform(c)\n host.KNOWN(c)",
        "def f(c, system: Platform): system.KNOWN(c)",
    ],
)
def test_the_search_finds_each_way_to_ask(text: str):
    assert used(ast.parse(text), base.Platform) == {"KNOWN"}


@pytest.mark.parametrize(
    "text",
    [
        "def f(c): platform(c).service.KNOWN(c)",
        "def f(probe): return probe.platform.service.KNOWN",
        "def f(c):\n want, system = Settings.of(c), platform(c).service\n system.KNOWN(c)",
        "def f(c, service: Service): service.KNOWN(c)",
    ],
)
def test_the_search_finds_each_way_to_ask_the_service(text: str):
    assert used(ast.parse(text), base.Service) == {"KNOWN"}
