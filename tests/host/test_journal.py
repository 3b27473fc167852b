"""What was done is on the host, line by line, without a secret; files as they were lie beside it."""

import json
import os
import subprocess

import pytest

from labfab.host import journal
from labfab.on_host import loader

WHY = 'it\'s a "test" of $HOME, `id` and Käse\\n'


@pytest.fixture
def run(tmp_path):
    """Run the journal's shell text for real, in a temporary folder."""

    def go(line: dict, then: str = "true") -> subprocess.CompletedProcess:
        script = loader.words("Linux") + journal.command(line)
        script = script.replace(journal.FOLDER, str(tmp_path / "lib"))
        return subprocess.run(
            ["sh", "-c", script + then], capture_output=True, text=True, cwd=tmp_path
        )

    go.folder = tmp_path / "lib"
    return go


def test_each_line_is_json_whatever_it_says(run):
    """Quotes, $, backslashes, umlauts and line breaks survive unchanged."""
    for number in range(3):
        assert (
            run(
                journal.entry(
                    "ssh", WHY + "\nsecond", ["ufw delete allow 22/tcp"], number=str(number)
                )
            ).returncode
            == 0
        )
    lines = [json.loads(line) for line in (run.folder / "journal.jsonl").read_text().splitlines()]
    assert [line["number"] for line in lines] == ["0", "1", "2"]
    assert lines[0] | {"time": 0} == {
        "number": "0",
        "time": 0,
        "stage": "ssh",
        "why": WHY + "\nsecond",
        "undo": ["ufw delete allow 22/tcp"],
    }


def test_half_a_line_of_a_full_disk_does_not_take_the_next_one_with_it(run):
    run(journal.entry("ssh", "first", number="1"))
    with (run.folder / "journal.jsonl").open("a") as torn:
        torn.write('{"number": "2", "stage": "ssh", "why": "sec')
    run(journal.entry("ssh", "third", number="3"))
    script = loader.words("Linux") + journal.mark_undone(["1"])
    subprocess.run(
        ["sh", "-c", script.replace(journal.FOLDER, str(run.folder))], check=True, cwd=run.folder
    )
    found = journal.parse((run.folder / "journal.jsonl").read_text())
    assert [(entry.why, entry.undone) for entry in found] == [("first", True), ("third", False)]


def test_only_root_reads_it(run):
    """Only the owner can read the folder and the kept files."""
    run(journal.entry("ssh", WHY))
    assert (
        os.stat(run.folder).st_mode & 0o777 == 0o700
        and os.stat(run.folder / "before").st_mode & 0o777 == 0o700
    )


@pytest.mark.parametrize("name", ["plain", "with space", "it's", "$HOME `id`", "Käse", "-n"])
def test_a_file_is_kept_as_it_was(run, tmp_path, name):
    """Content and mode are kept under the number of the line."""
    path = tmp_path / name
    path.write_bytes(b"\x00bytes\n")
    path.chmod(0o640)
    assert (
        run(
            journal.entry("ssh", WHY, path=str(path), number="7"), f"printf new >'{tmp_path}/other'"
        ).returncode
        == 0
    )
    kept = run.folder / "before" / "7"
    assert kept.read_bytes() == b"\x00bytes\n" and kept.stat().st_mode & 0o777 == 0o640


def test_a_link_is_kept_as_a_link(run, tmp_path):
    """The link itself is copied, not its target, even if there is no target."""
    (tmp_path / "link").symlink_to("/nowhere")
    run(journal.entry("ssh", WHY, path=str(tmp_path / "link"), number="7"))
    assert os.readlink(run.folder / "before" / "7") == "/nowhere"


def test_beside_a_link_is_what_it_leads_to(run, tmp_path):
    """A change may write through the link, so the content is kept too, except for a link to a folder."""
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "other").symlink_to(".")
    run(
        journal.entry(
            "ssh", WHY, path=str(tmp_path / "link"), keep=[str(tmp_path / "link")], number="7"
        )
    )
    run(journal.entry("ssh", WHY, path=str(tmp_path / "other"), number="8"))
    before = run.folder / "before"
    aside = before / "7.kept" / str(tmp_path / "link").replace("/", "%")
    assert os.readlink(before / "7") == os.readlink(aside) == "real"
    assert (
        (before / "7.content").read_text()
        == aside.with_name(f"{aside.name}.content").read_text()
        == "old"
    )
    assert not (before / "8.content").exists()


def test_a_file_that_is_not_there_leaves_nothing(run, tmp_path):
    """Undoing then means deleting it."""
    assert run(journal.entry("ssh", WHY, path=str(tmp_path / "none"), number="7")).returncode == 0
    assert list((run.folder / "before").iterdir()) == []


def test_nothing_is_changed_without_a_line(run, tmp_path):
    """If the journal cannot be written, the change does not begin."""
    run.folder.write_text("a file where the folder should be")
    assert run(journal.entry("ssh", WHY), f"touch '{tmp_path}/changed'").returncode == journal.FULL
    assert not (tmp_path / "changed").exists()


def test_numbers_never_repeat():
    """Two runs in the same second have different numbers."""
    assert len({journal.new_number() for _ in range(1000)}) == 1000


def test_a_run_keeps_the_order_of_its_stages_and_runs_that_of_the_file():
    """Lines from before steps existed, from other laptops and from interrupted runs keep their places."""
    lines = [
        ("old", "", 0),
        ("c", "one", 3),
        ("a", "one", 1),
        ("b", "one", 1),
        ("older clock", "two", 1),
        ("alone", "", 0),
    ]
    text = "\n".join(
        json.dumps(
            {"number": str(at), "time": 9 - at, "stage": "ssh", "why": why}
            | ({"run": run, "step": step} if run else {})
        )
        for at, (why, run, step) in enumerate(lines)
    )
    assert [entry.why for entry in journal.parse(text)] == [
        "old",
        "a",
        "b",
        "c",
        "older clock",
        "alone",
    ]
