"""The command `labfab`, as somebody without a checkout types it."""

import subprocess
import sys
from pathlib import Path

import pytest

from labfab import ns, program, text
from tests.throwaway_home import home

__all__ = ["home"]


def labfab(*words: str, cwd) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "labfab", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_alone_it_greets(tmp_path):
    said = labfab(cwd=tmp_path)
    assert said.returncode == 0 and "labfab -H root@203.0.113.5 setup.full" in said.stdout


def test_every_task_is_listed_once_under_a_heading(tmp_path):
    listed = labfab("--list", cwd=tmp_path).stdout.splitlines()
    names = [line.split()[0] for line in listed if line.startswith("  ")]
    groups = [group for groups in program.HEADINGS.values() for group in groups]
    assert sorted(names) == sorted(
        f"{group}.{ns.transform(name)}"
        for group, collection in ns.collections.items()
        for name in collection.tasks
    )
    assert sorted(groups) == sorted(ns.collections)
    assert max(map(len, listed)) <= program.COLUMNS
    assert labfab("--list", "ssh", cwd=tmp_path).stdout.count("change-port") == 1


def test_messages_name_the_program_that_was_typed(tmp_path):
    said = labfab("lab.status", cwd=tmp_path)
    assert said.returncode == 1
    assert said.stderr == "lab.status needs a host: labfab -H root@ADDRESS …\n"
    said = labfab("xyzzy", cwd=tmp_path)
    assert said.returncode == 1 and "labfab --list shows them all" in said.stderr


@pytest.mark.parametrize(
    "message, typed",
    [
        ("type fab -H homelab lab.open", "type labfab -H homelab lab.open"),
        ("correct fab -i, or fab --list; not /usr/bin/fab -x", None),
        ("prefab -x and fab's own", "prefab -x and fab's own"),
    ],
)
def test_only_commands_are_renamed(monkeypatch, message, typed):
    assert text.as_typed(message) == message
    monkeypatch.setattr(text, "program", "labfab")
    expected = typed or "correct labfab -i, or labfab --list; not /usr/bin/fab -x"
    assert text.as_typed(message) == expected


def test_the_settings_of_the_folder_count(tmp_path):
    (tmp_path / "invoke.yaml").write_text("lab:\n  lab_prot: 1\n")
    said = labfab("keys.generate", cwd=tmp_path)
    assert said.returncode == 1 and "unknown setting 'lab_prot'" in said.stderr
    (tmp_path / "fabric.yaml").write_text("lab: [")
    assert "fabric.yaml cannot be read" in labfab("keys.generate", cwd=tmp_path).stderr


def test_no_python_of_the_folder_is_run(tmp_path):
    """Its files may come from a host: files.pull."""
    for name in ("fabric.py", "invoke.py", "fabfile.py", "tasks.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    command = [sys.executable, "-P", "-m", "labfab"] if sys.version_info >= (3, 11) else None
    command = command or [str(Path(sys.executable).with_name("labfab"))]
    for words in (["--list"], ["lab.status"], ["keys.generate"]):
        subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, check=False)
    assert not (tmp_path / "ran").exists()
