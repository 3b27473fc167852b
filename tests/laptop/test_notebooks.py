"""Notebooks on the laptop: what may be submitted, and what a fetched one may overwrite."""

import json

import pytest

from labfab.errors import SetupError
from labfab.laptop import notebooks

CELL = {
    "cell_type": "code",
    "source": "1",
    "outputs": [{"output_type": "stream", "text": "x" * 1000}],
}


def test_it_is_read_without_its_outputs(tmp_path):
    """The job makes new ones, so the old ones are not sent."""
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "cells": [CELL]}))
    assert json.loads(notebooks.load(path))["cells"][0] == {
        "cell_type": "code",
        "source": "1",
        "outputs": [],
    }


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"nbformat": "4"}', "print(1)", "\udcff"])
def test_anything_else_is_refused(tmp_path, text):
    """In one line that names the file, whatever it is called."""
    path = tmp_path / "a\nb.py"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SetupError, match=r"a b.py is not a notebook"):
        notebooks.load(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    """The first may be a path on the host."""
    with pytest.raises(SetupError, match="there is no .*lab.submit --there"):
        notebooks.load(tmp_path / "a.ipynb")
    with pytest.raises(SetupError, match="cannot read .*: Is a directory"):
        notebooks.load(tmp_path)


def test_only_what_was_fetched_and_not_touched_is_replaced(tmp_path):
    """Each fetch of a running job brings more; a file of the user needs --force."""
    place = notebooks.save("box", tmp_path / "new", "a.ipynb", b"1", force=False)
    assert place == tmp_path / "new" / "a.executed.ipynb"
    notebooks.save("box", tmp_path / "new", "a.ipynb", b"2", force=False)
    assert place.read_bytes() == b"2"
    place.write_bytes(b"mine")
    with pytest.raises(SetupError, match="exists already and differs: --force"):
        notebooks.save("box", tmp_path / "new", "a.ipynb", b"3", force=False)
    notebooks.save("box", tmp_path / "new", "a.ipynb", b"mine", force=False)
    notebooks.save("box", tmp_path / "new", "a.ipynb", b"3", force=True)
    assert place.read_bytes() == b"3"


@pytest.mark.parametrize(
    "name", ["../../.bashrc", "/etc/passwd", "..", "", "a\x1b[2J\n.ipynb", "..\\x"]
)
def test_a_name_from_the_host_stays_in_its_folder(tmp_path, name):
    """Wherever it points, and whatever a terminal would do with it."""
    place = notebooks.save("box", tmp_path / "in", name, b"1", force=False)
    assert (
        place.parent == tmp_path / "in"
        and place.name.endswith(".executed.ipynb")
        and place.name.isprintable()
    )
    assert [path.name for path in (tmp_path / "in").iterdir()] == [place.name]


def test_a_garbled_note_is_no_obstacle(tmp_path, home):
    """Then every file that differs counts as the user's."""
    notebooks.save("box", tmp_path, "a.ipynb", b"1", force=False)
    (home / ".config/labfab/box/fetched.json").write_text("[")
    with pytest.raises(SetupError, match="differs"):
        notebooks.save("box", tmp_path, "a.ipynb", b"2", force=False)


def test_a_link_is_not_written_through(home, tmp_path) -> None:
    """It may have come with files of the host, and lead to one that is not there yet."""
    target = tmp_path / "profile"
    (tmp_path / "a.executed.ipynb").symlink_to(target)
    with pytest.raises(SetupError, match="is a link: --force"):
        notebooks.save("homelab", tmp_path, "a.ipynb", b"{}", force=False)
    assert not target.exists()


@pytest.mark.parametrize(
    "name", ["x" * 5000, "ä" * 300, "../../x", "..", ".", "", "a/..", "\x1b[2J"]
)
def test_any_name_of_a_host_stays_in_the_folder(home, tmp_path, name) -> None:
    folder = tmp_path / "here"
    at = notebooks.save("homelab", folder, name, b"{}", force=False)
    assert at.parent == folder and [path.name for path in folder.iterdir()] == [at.name]
    assert at.name.endswith(".executed.ipynb") and at.name.isprintable()
