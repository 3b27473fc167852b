"""What is typed wrong, and --help wherever it stands."""

import subprocess
import sys

import pytest

from tests.rig.places import REPO

FAB = [sys.executable, "-c", "from fabric.main import program; program.run()"]


def fab(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*FAB, *words], cwd=REPO, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "words",
    [
        ("lab.submit", "--help"),
        ("-H", "root@203.0.113.5", "lab.submit", "--help"),
        ("-H", "root@203.0.113.5", "lab.cancel", "-h"),
        ("lab.submit", "a.ipynb", "--help"),
        ("setup.undo", "--help"),
        ("--help", "lab.submit"),
    ],
)
def test_help_is_shown_wherever_it_stands(words):
    said = fab(*words)
    name = next(word for word in words if "." in word and "@" not in word)
    assert said.returncode == 0 and f"[--core-opts] {name} " in said.stdout, said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("setup.ful",), "setup.ful: no such task; did you mean setup.full?"),
        (("xyzzy",), "xyzzy: no such task; fab --list shows them all"),
        (("lab.open", "--nonsense"), "--nonsense: no such option here; fab TASK --help"),
        (("lab.cancel",), "lab.cancel: which job? Type lab.cancel JOB; fab lab.cancel --help"),
    ],
)
def test_what_is_not_understood_is_said_in_words(words, told):
    said = fab(*words)
    assert said.returncode == 1 and told in said.stderr, said
