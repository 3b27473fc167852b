"""The rules of the house, read off the source: one door, constant shell text, arrows one way, quick to start."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs import rooms

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "labfab").rglob("*.py"))
TREES = {
    path.relative_to(ROOT / "labfab").as_posix(): ast.parse(path.read_text()) for path in FILES
}
STAGES = [name for name in TREES if name.startswith(("stages/", "platforms/", "server/"))]


def calls(tree: ast.AST):
    """Yield every call with the name that is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield (
                node,
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else getattr(node.func, "id", ""),
            )


def loose(node: ast.AST, scope: dict[str, list[ast.AST]], seen: tuple[str, ...] = ()) -> list[str]:
    """Return what is not constant in shell text: anything but literals, CONSTANTS and names made of those."""
    if isinstance(node, ast.Constant):
        return []
    if isinstance(node, ast.Name):
        if node.id.isupper() or node.id in seen:
            return []
        return [
            word
            for value in scope.get(node.id, [node])
            for word in (loose(value, scope, (*seen, node.id)) if value is not node else [node.id])
        ]
    if isinstance(node, ast.BinOp) and isinstance(
        node.op, ast.Mult
    ):  # " %s" * len(names): the count is not text
        sides = [
            side
            for side in (node.left, node.right)
            if isinstance(side, (ast.Constant, ast.Name, ast.JoinedStr))
        ]
        return [] if any(not loose(side, scope, seen) for side in sides) else [ast.unparse(node)]
    if isinstance(node, (ast.BinOp, ast.IfExp, ast.JoinedStr, ast.FormattedValue)):
        parts = (
            [node.body, node.orelse]
            if isinstance(node, ast.IfExp)
            else list(ast.iter_child_nodes(node))
        )
        return [
            word
            for part in parts
            if not isinstance(part, ast.operator)
            for word in loose(part, scope, seen)
        ]
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "loader.as_command":
        return []
    return [] if ast.unparse(node) in ALLOWED else [ast.unparse(node)]


# Text that a function of ours makes from constants, or from settings that can only be plain words.
ALLOWED = {
    "commands.newer",
    "commands.update",
    "commands.back",
    "LIST.format(listed=commands.listed)",
    "FIND_NEWER.format(newer=commands.newer + options)",
    "run_sshd(c)",
    "system.FIND_PIP_WHEEL",
}


@pytest.mark.parametrize("name", STAGES)
def test_shell_text_is_a_constant(name):
    """No stage builds a command from values. They are inserted for %s, which labfab.host quotes."""
    for function in [node for node in ast.walk(TREES[name]) if isinstance(node, ast.FunctionDef)]:
        scope: dict[str, list[ast.AST]] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                scope.setdefault(node.targets[0].id, []).append(node.value)
            elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                scope.setdefault(node.target.id, []).append(node.value)
        for call, called in calls(function):
            if called in ("change", "ask", "fill") and len(call.args) > 1:
                text = call.args[0] if called == "fill" else call.args[1]
                assert not loose(text, scope), f"labfab/{name}:{call.lineno}: {ast.unparse(text)}"


def test_the_rule_finds_what_it_forbids():
    """An f-string, a + and a % with a value are all found."""
    for text in (
        "f'rm {name}'",
        "'rm ' + name",
        "'rm %s' % name",
        "'rm {}'.format(name)",
        "COMMAND + want.user",
    ):
        assert loose(ast.parse(text, mode="eval").body, {}), text
    assert not loose(ast.parse("f'{APT} x' + 'y' + ' %s' * len(names)", mode="eval").body, {})


@pytest.mark.parametrize("name", [name for name in TREES if not name.startswith("laptop/")])
def test_only_the_door_touches_the_wire(name):
    """c.run, c.sudo, c.put and channels belong to host/. Other modules use ask() and change()."""
    forbidden = {
        "sudo",
        "put",
        "get",
        "local",
        "exec_command",
        "open_session",
        "invoke_shell",
        "sftp",
    }
    if name.startswith(("host/", "check/")) or name == "run/guard.py":
        return
    for call, called in calls(TREES[name]):
        if (
            isinstance(call.func, ast.Attribute)
            and isinstance(call.func.value, ast.Name)
            and call.func.value.id == "c"
        ):
            assert called not in forbidden | {"run"}, f"labfab/{name}:{call.lineno}: c.{called}"


LEVEL = {room: level for level, floor in enumerate(rooms.FLOORS) for room in floor}


def test_each_room_has_its_floor():
    """A new room is listed in docs/rooms.py, on its floor and with its purpose."""
    assert set(rooms.rooms()) == set(LEVEL) == set(rooms.WHAT)


@pytest.mark.parametrize("room", sorted(LEVEL))
def test_no_arrow_runs_up(room):
    """A room imports only rooms below it, even for types and inside functions."""
    up = {other for other in rooms.rooms()[room] if LEVEL[other] >= LEVEL[room]}
    assert not up, f"{room} imports {', '.join(sorted(up))}, which is not below it"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from ..setup import plan", {"setup.plan"}),
        ("from labfab.setup import plan", {"setup.plan"}),
        ("import labfab.setup.plan", {"setup.plan"}),
        ("def f():\n    import json, labfab.setup.plan as p", {"setup.plan"}),
        ("if TYPE_CHECKING:\n    from ..fleet import view", {"fleet.view"}),
        ("import labfab", set()),
        ("import json", set()),
    ],
)
def test_every_kind_of_import_counts(text, found):
    """An arrow is seen however the import is written."""
    assert rooms.imported(ast.parse(text), ["host"], rooms.modules()) == found


def test_no_arrow_runs_in_a_circle():
    """No module imports itself through others, even for types and inside functions."""
    found = circles(rooms.imports())
    assert not found, "; ".join(" -> ".join(circle) for circle in found)


def test_folders_of_stages_form_no_circle():
    """The same rule applies to the namespaces of tasks."""
    graph: dict[str, set[str]] = {}
    for module, others in rooms.imports().items():
        own = stage_of(module)
        graph[own] = graph.get(own, set()) | ({stage_of(other) for other in others} - {own})
    found = circles({name: others - {""} for name, others in graph.items() if name})
    assert not found, "; ".join(" -> ".join(circle) for circle in found)


def stage_of(module: str) -> str:
    words = module.split(".")
    return words[1] if words[0] == "stages" and len(words) > 1 else ""


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of nodes that reach each other."""

    def reach(node: str) -> set[str]:
        seen, todo = set(), [node]
        while todo:
            for other in graph.get(todo.pop(), set()) - seen:
                seen.add(other)
                todo.append(other)
        return seen

    reached = {node: reach(node) for node in graph}
    groups = {
        frozenset(other for other in reached[node] if node in reached.get(other, set()))
        for node in graph
        if node in reached[node]
    }
    return [sorted(group) for group in groups]


def test_the_rule_finds_a_circle():
    """Indirect circles count too."""
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


# Objects of other libraries, which are made to be configured by their attributes.
FOREIGN = re.compile(
    r"c|new|stranger|context|options|house|thread|everywhere|environ|sys|cell|vendor"
)


@pytest.mark.parametrize("name", [name for name in TREES if not name.startswith("on_host/")])
def test_nobody_writes_the_attributes_of_another_object(name):
    """An object changes itself through its methods. Only objects of libraries are set from outside."""
    if name == "fabric_internals.py":
        return
    for node in ast.walk(TREES[name]):
        for target in written(node):
            owner = ast.unparse(target.value)
            assert owner in ("self", "cls") or FOREIGN.fullmatch(owner.split(".")[-1]), (
                f"labfab/{name}:{target.lineno}: {ast.unparse(target)}"
            )


def written(node: ast.AST) -> list[ast.Attribute]:
    """Return the attributes that a statement sets or deletes."""
    if isinstance(node, (ast.Assign, ast.Delete)):
        found = node.targets
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
        found = [node.target]
    else:
        return []
    flat = [part for one in found for part in (one.elts if isinstance(one, ast.Tuple) else [one])]
    return [part for part in flat if isinstance(part, ast.Attribute)]


def test_the_source_names_no_secret_in_a_repr_or_print():
    """reveal() is for libraries and the host's input.

    Only setup's summary and a new password of JupyterLab are shown, on a terminal.
    """
    shown = ("setup/summary.py", "stages/jupyter/passwords.py")
    for name, tree in [(name, tree) for name, tree in TREES.items() if name not in shown]:
        for node in ast.walk(tree):
            if isinstance(node, ast.FormattedValue):
                assert ".reveal(" not in ast.unparse(node), f"labfab/{name}:{node.lineno}"


def test_nothing_is_left_to_a_local_shell():
    """No shell=True, no os.system: the laptop's programs get their arguments as a list."""
    for path in FILES:
        assert not re.search(r"shell=True|os\.system|os\.popen", path.read_text()), path


def test_no_browser_is_told_to_overlook_a_certificate():
    """A test with a real browser proves something only if the browser checks certificates itself."""
    for path in [
        ROOT / "tasks.py",
        *FILES,
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "docs").rglob("*.py"),
    ]:
        assert not re.search(
            r"ignore[-_](certificate|https|ssl)|bypass[-_]csp", path.read_text(), re.IGNORECASE
        ), path


def test_listing_the_tasks_loads_nothing_heavy():
    """What only some tasks need is imported there, whether a library or a module of ours."""
    heavy = ("rich", "jinja2", "argon2", "httpx", "websocket", "msgspec", "plistlib")
    heavy += tuple(
        f"labfab.{name}"
        for name in (
            "facts.records",
            "setup.history",
            "check.inspection",
            "platforms.debian",
            "platforms.macos",
        )
    )
    code = f"import sys, labfab; print(sorted(set(sys.modules) & set({heavy!r})))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("forbidden", ["", "1"])
def test_a_checkout_is_compiled_once(tmp_path, forbidden):
    """fabfile.py overrides Invoke, which writes no bytecode. The user's own variable still counts."""
    for name in ("labfab", "fabfile.py"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    for old in [*tmp_path.rglob("__pycache__")]:
        shutil.rmtree(old)
    fab = [sys.executable, "-c", "from fabric.main import program; program.run()", "--list"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": forbidden}
    assert (
        "setup.full"
        in subprocess.run(
            fab, capture_output=True, text=True, cwd=tmp_path, env=env, check=True
        ).stdout
    )
    assert bool([*tmp_path.rglob("runner.*.pyc")]) is not bool(forbidden)


def test_an_import_changes_no_flag_of_python():
    """The fabfile is the program and may do that; an imported library may not."""
    code = "import sys; sys.dont_write_bytecode = True; import labfab, labfab.fleet; " + (
        "print(sys.dont_write_bytecode)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "True"


def test_every_function_of_a_stage_is_short():
    """No function of a stage has more than 25 lines of statements."""
    for name in STAGES:
        for node in ast.walk(TREES[name]):
            if isinstance(node, ast.FunctionDef):
                body = node.body[ast.get_docstring(node) is not None :]
                lines = sum(len(ast.unparse(statement).splitlines()) for statement in body)
                assert lines <= 25, f"labfab/{name}: {node.name} has {lines} lines"


def test_every_module_and_task_says_what_it_is_for():
    """Each module and each public function of a stage begins with one sentence."""
    for name, tree in TREES.items():
        assert ast.get_docstring(tree), name
        for node in tree.body:
            if (
                name.startswith("stages/")
                and isinstance(node, ast.FunctionDef)
                and node.decorator_list
            ):
                assert ast.get_docstring(node), f"{name}: {node.name}"
