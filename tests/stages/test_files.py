import os

import pytest

from labfab.errors import SetupError
from labfab.laptop.transfer import Preview
from labfab.stages import files


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("data", "/home/lab/my notebooks/data"),
        ("data/", "/home/lab/my notebooks/data/"),
        ("", "/home/lab/my notebooks/"),
        (".", "/home/lab/my notebooks/"),
        ("..", "/home/lab/"),
        ("~", "/home/lab"),
        ("~/x", "/home/lab/x"),
        ("~x", "/home/lab/my notebooks/~x"),
        ("/srv/x/", "/srv/x/"),
        ("a\nb", "/home/lab/my notebooks/a\nb"),
        ("-x", "/home/lab/my notebooks/-x"),
    ],
)
def test_a_path_of_the_host_is_below_root_dir(fake, path, meant) -> None:
    box = fake("lab", root_dir="my notebooks")
    box.add_account("lab")
    assert files.on_host(box.c, path) == meant


def test_without_the_account_setup_comes_first(fake) -> None:
    with pytest.raises(SetupError, match="no account lab yet: type setup.full first"):
        files.on_host(fake().c, "data")


def test_a_path_of_the_laptop_keeps_its_slash(alone) -> None:
    home, here = os.environ["HOME"], os.getcwd()
    for path, meant in {
        "-x": f"{here}/-x",
        "a/": f"{here}/a/",
        ".": f"{here}/",
        "~/x": f"{home}/x",
        "a/..": f"{here}/",
        "/": "/",
    }.items():
        assert files.on_laptop(path) == meant


def test_nobody_is_asked_without_a_terminal(fake, capsys) -> None:
    box = fake("lab")
    found = Preview(deleted=("a", "b", "c", "d"))
    with pytest.raises(
        SetupError,
        match=r"4 files would be deleted on homelab \(a, b, c, …\): if that is right, add --yes",
    ):
        files.confirm_deletion(box.c, found, False, "homelab")
    assert "4 files will be deleted from homelab: a, b, c, …" in capsys.readouterr().out
    assert files.confirm_deletion(box.c, found, True, "homelab") == 4
    assert files.confirm_deletion(box.c, Preview(new=("a",)), False, "homelab") == 0


def test_what_is_copied_is_told_in_words() -> None:
    assert (
        files.in_words(Preview(("a",), ("b",), size=3_400_000))
        == "2 files (3.4 MB, 1 of them replaced)"
    )
    assert files.in_words(Preview(("a",), size=999)) == "1 file (999 bytes)"
    assert files.in_words(Preview(other=3)) == "times and modes of files"


def test_a_pull_from_several_hosts_at_once_is_refused(fake, monkeypatch) -> None:
    monkeypatch.setattr("labfab.console.alone", False)
    with pytest.raises(SetupError, match="one at a time"):
        files.pull.body(fake("lab").c, "data")
