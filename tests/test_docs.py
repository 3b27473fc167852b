"""The text keeps up with the code: names, variables, paths and messages that it speaks of exist."""

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import labfab
from docs import reference
from labfab.settings import Settings, checked
from labfab.settings.sources import NOT_SETTINGS

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SOURCES = sorted((ROOT / "labfab").rglob("*.py"))
VALUED = {"-H", "-i", "-f", "-F", "-S", "-t", "--help"}  # options of fab with a value of their own
NO_TASKS = re.compile(
    r".*\.(py|json|log|plist|socket|service)"
)  # look like tasks, but are files and units

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.fixture(scope="module")
def tasks() -> set[str]:
    """Return all names that `fab` accepts, including those of groups."""
    fab = Path(sys.executable).parent / "fab"
    listed = subprocess.run(
        [fab, "--list", "-F", "json"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    groups = json.loads(listed.stdout)["collections"]
    return {f"{group['name']}.{task['name']}" for group in groups for task in group["tasks"]} | {
        group["name"] for group in groups
    }


def code(page: Path) -> list[str]:
    """Return the code spans and the lines of code blocks of a page."""
    text = page.read_text()
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(
        r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    )
    return spans + [line for block in blocks for line in block.splitlines()]


def named_by(command: str) -> Iterator[str]:
    """Return the tasks that a command line of fab names."""
    words = shlex.split(command, comments=True)
    words = iter(words[words.index("fab") + 1 :])
    for word in words:
        if word in VALUED:
            next(words, None)
        elif not word.startswith("-") and re.fullmatch(r"[a-z.-]+", word):
            yield word


def own(name: str, tasks: set[str]) -> bool:
    """Return whether a task exists here, or below `lab.` in a fabfile that puts all of labfab there."""
    return name in tasks or name.removeprefix("lab.") in tasks


def test_commands_are_found_in_the_pages():
    commands = [
        line for page in PAGES for line in code(page) if re.search(r"(^|[\s$])fab -H ", line)
    ]
    assert len(commands) > 20
    assert list(
        named_by("LABFAB_USER=a fab --dry -H root@203.0.113.5 user.add setup.full  # all")
    ) == ["user.add", "setup.full"]


@each_page
def test_every_command_names_tasks_that_exist(page, tasks):
    for line in code(page):
        if re.search(r"(^|[\s$])fab [a-z-]", line) and not line.startswith("#"):
            for name in named_by(line.lstrip("$ ").replace("'", "")):
                assert own(name, tasks), f"{line}: there is no task {name}"


@each_page
def test_every_task_named_exists(page, tasks):
    for span in code(page):
        if (
            re.fullmatch(r"[a-z]+\.[a-z-]+", span)
            and span.split(".")[0] in tasks
            and not NO_TASKS.fullmatch(span)
        ):
            assert own(span, tasks), f"there is no task {span}"


def test_every_task_named_in_a_message_exists(tasks):
    groups = {name for name in tasks if "." not in name}
    for path in SOURCES:
        for text in texts(path):
            for name in re.findall(r"(?<![\w./@-])([a-z]+\.[a-z]+(?:-[a-z]+)*)(?![\w/])", text):
                if name.split(".")[0] in groups and " " in text and not NO_TASKS.fullmatch(name):
                    assert name in tasks, f"{path.name}: {text!r} names {name}"


@cache
def texts(path: Path) -> list[str]:
    """Return the strings of a module, with … for what is filled in at run time."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
            found.append("".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(re.sub(r"\{\w+\}", "…", node.value))
    return found


def test_every_message_explained_is_one_of_ours():
    scripts = [path.read_text() for path in (ROOT / "labfab" / "on_host").glob("*.sh")]
    said = [text for path in SOURCES for text in texts(path)]
    ours = " ".join(" ".join(text.split()) for text in [*said, *scripts])
    rows = re.findall(
        r"^\| (`.*?) \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE
    )
    assert len(rows) > 40
    for row in rows:
        for message in re.findall(r"`([^`]+)`", row):
            for part in filter(None, map(str.strip, message.split("…"))):
                assert part in ours, f"{message}: nothing says {part!r}"


@each_page
def test_every_variable_exists(page):
    for name in re.findall(r"\bLABFAB_([A-Z]+(?:_[A-Z]+)*)\b", page.read_text()):
        assert name.lower() in Settings._fields or name in NOT_SETTINGS, (
            f"there is no LABFAB_{name}"
        )


@each_page
def test_every_setting_exists(page):
    text = page.read_text()
    named = re.findall(r"\bsettings? `(\w+)`", text) + re.findall(
        r"`(\w+): (?:true|false|\w+passwd|anaconda|\"\{)", text
    )
    for name in named:
        assert name in Settings._fields, f"there is no setting {name}"


def test_the_example_settings_are_valid():
    from invoke.vendor import yaml

    examples = re.findall(
        r"^```yaml\n(lab:.*?)^```",
        (ROOT / "docs" / "reuse.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert examples
    for example in examples:
        checked(yaml.safe_load(example)["lab"], "docs/reuse.md")


@each_page
def test_every_link_and_path_exists(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{target} is missing"
    for span in code(page):
        if re.fullmatch(r"(?:docs|config|labfab|tests)/[a-z_./-]+", span):
            assert (ROOT / span).exists(), f"{span} is missing"


@pytest.mark.parametrize(
    "picture", sorted((ROOT / "docs").glob("*.png")), ids=lambda path: path.name
)
def test_every_picture_is_shown_and_small(picture):
    assert picture.stat().st_size < 150_000
    assert any(picture.name in page.read_text() for page in PAGES)


@pytest.mark.parametrize("name", reference.pages())
def test_generated_pages_are_fresh(name):
    assert (ROOT / "docs" / name).read_text() == reference.pages()[name], (
        f"docs/{name} is stale: inv docs"
    )


@pytest.mark.parametrize("name", labfab.ns.task_names)
def test_every_task_is_described(name):
    task = labfab.ns[name]
    first = (task.__doc__ or "").strip().partition("\n")[0]
    assert first.endswith(".") and len(first) <= 60, f"{name}: {first!r} is no line for fab --list"
    for flag, about in reference.arguments(task).items():
        assert about, f"{name} --{flag} has no help"


# Names in prose ------------------------------------------------------------------------------

CODE = sorted([*(ROOT / "labfab").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])
SCRIPTS = sorted((ROOT / "labfab" / "on_host").glob("*.sh"))
HOUSE = ("labfab", "tests", "bench", "docs", "config")
FILES = {path.name for folder in HOUSE for path in (ROOT / folder).rglob("*.*")}
FILES |= {path.name for path in ROOT.glob("*.*")}
FOREIGN = {"deploy.py", "jupyter_server_config.py", "jupyter_notebook_config.py"}


def prose(path: Path) -> str:
    """The docstrings and comments of a file."""
    text = path.read_text()
    lines = re.findall(r"^\s*#(.*)$|  #(.*)$", text, re.MULTILINE)
    found = ["".join(words) for words in lines]
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                found.append(ast.get_docstring(node) or "")
    return "\n".join(found)


@pytest.mark.parametrize("path", [*CODE, *SCRIPTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_named_in_docstrings_and_comments_exist(path):
    named = set(re.findall(r"(?<![\w.])(?:[a-z_]+/)*([a-z_]+\.(?:py|sh))\b", prose(path)))
    assert named <= FILES | FOREIGN


@each_page
def test_modules_named_in_the_pages_exist(page):
    for span in code(page):
        if re.fullmatch(r"[a-z_/]+\.(py|sh)", span):
            assert span.split("/")[-1] in FILES | FOREIGN | {"x.py"}, f"{span} is missing"


DEFINED = {
    node.name
    for path in CODE
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, (ast.FunctionDef, ast.ClassDef))
}
PYTHON = {
    "select",
    "clone",
    "exit",
    "super",
    "import",
    "splitlines",
    "namedtuple",
    "encode",
    "start_client",
}


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_named_in_docstrings_and_comments_exist(path):
    named = set(re.findall(r"(?<![\w.])([a-z_]+)\(\)", prose(path)))
    assert named <= DEFINED | PYTHON
