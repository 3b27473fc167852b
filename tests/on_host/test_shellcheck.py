"""shellcheck reads every script that a host runs, alone and as the loader joins them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from labfab.on_host import loader

SCRIPTS = sorted(path.name for path in loader.FOLDER.glob("*.sh"))
RC = Path(__file__).parents[2] / ".shellcheckrc"
# A variable of one script is set or read by another. Joined, these two checks hold as well.
ACROSS = "--exclude=SC2034,SC2154"
# The words are functions, of which a script calls only some.
UNCALLED = "--exclude=SC2317,SC2329"


def text(*names: str) -> str:
    return "".join((loader.FOLDER / name).read_text() for name in names)


def joined(system: str) -> dict[str, str]:
    """What a host of this system runs, by the names of the scripts: the words and what follows."""
    words = (f"words.{system}.sh", "words.sh")
    others = {name.split(".")[0] for name in SCRIPTS} - {"words", "survey"}
    found = {("words",): text(*words)}
    for name in sorted(others):
        own = [f"{name}.{system}.sh"] if f"{name}.{system}.sh" in SCRIPTS else []
        found[(name,)] = text(*words, *own, f"{name}.sh")
    parts = (f"facts.{system}.sh", f"survey.{system}.sh", "survey.sh", "facts.sh")
    found["facts", "survey"] = text(*words, *parts)
    if system == "linux":
        found["apache", "facts"] = text(*words, "apache.sh", "facts.linux.sh", "facts.sh")
        found["undo", "apache"] = text(*words, "undo.linux.sh", "undo.sh", "apache.sh")
    return {f"{system} {' '.join(names)}": script for names, script in found.items()}


JOINED = {name: script for one in loader.SYSTEMS.values() for name, script in joined(one).items()}


def complaints(script: str, *options: str) -> str:
    """Run shellcheck over a script, at every severity."""
    program = shutil.which("shellcheck")
    if not program:
        assert not os.environ.get("CI"), "shellcheck is missing: apt-get install shellcheck"
        pytest.skip("no shellcheck here: apt-get install shellcheck")
    argv = [program, "--shell=sh", "--severity=style", "--format=gcc", *options, "-"]
    done = subprocess.run(
        argv, input=script, capture_output=True, text=True, cwd=RC.parent, check=False
    )
    assert not done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_says_what_it_is_for_and_parses(name):
    script = text(name)
    assert script.startswith("# ")
    done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.local
@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_is_clean(name):
    assert complaints(text(name), ACROSS) == ""


@pytest.mark.local
@pytest.mark.parametrize("name", JOINED)
def test_what_a_host_runs_is_clean(name):
    """In the joined scripts, nothing is unused or unset."""
    assert complaints(JOINED[name], UNCALLED) == ""


def test_what_is_excluded_says_why():
    """A reason is on the line of a directive, or above an exclusion of .shellcheckrc."""
    for name in SCRIPTS:
        for line in text(name).splitlines():
            if "shellcheck disable" in line:
                assert re.search(r"disable=SC[\d,SC]+  # \w", line), f"{name}: {line}"
    lines = RC.read_text().splitlines()
    for before, line in zip(lines, lines[1:], strict=False):
        assert not line.startswith("disable=") or before.startswith("# "), line


@pytest.mark.parametrize("script, code", [("echo $1", "SC2086"), ("a=1", "SC2034")])
def test_what_is_wrong_is_found(script, code):
    assert code in complaints(f"{script}\n")
