import os

import pytest

from labfab.errors import SetupError
from labfab.laptop.transfer import Preview, parse
from labfab.local_state import ssh_config
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


@pytest.mark.parametrize(
    ("account", "user", "name"),
    [
        ("jupyter", "jupyter", "homelab"),
        ("lab", "lab", "homelab-admin"),
        ("nb", "lab", "homelab-admin"),
    ],
)
def test_rsync_runs_over_the_login_of_its_account_or_of_the_one_with_sudo(
    fake, alone, account, user, name
) -> None:
    (alone / "home/.ssh").mkdir(mode=0o700)
    box = fake("lab")
    block = ssh_config.Alias("homelab", box.c.host, "lab", box.c.port, lab_user="jupyter")
    ssh_config.write(alone / "home/.ssh/config", block)
    login = files.login_for(box.c, account)
    assert (login.user, login.target.alias, login.port) == (user, name, box.c.port)


@pytest.mark.parametrize("remote", ["data/", "", ".", "data/.", "a/..", "~", "~/", "/"])
def test_contents_need_a_folder_to_go_to(fake, remote) -> None:
    with pytest.raises(SetupError, match="the host chooses the names in .*--to results"):
        files.target_of_pull(fake().c, remote, "")
    with pytest.raises(SetupError, match="is or holds this folder.*--to results"):
        files.target_of_pull(fake().c, remote, ".")
    assert files.target_of_pull(fake().c, remote, "results").name == "results"


def test_one_name_goes_to_the_present_folder_unless_it_has_a_meaning_there(fake) -> None:
    assert str(files.target_of_pull(fake().c, "x/data", "")) == os.getcwd()
    with pytest.raises(SetupError, match="would be run or read by its name.*--to results"):
        files.target_of_pull(fake().c, "x/fabfile.py", "")


LIST = """\
>f.st...... 1 old\x1f
.f...p..... 1 mode\x1f
>f+++++++++ 1 new\x1f
cd+++++++++ 1 folder/\x1f
"""


def test_what_is_replaced_here_is_named_and_asked_about(fake, monkeypatch, capsys) -> None:
    found = parse(LIST)
    assert found.overwritten == ("old", "mode") and found.other == 2
    box = fake("lab")
    assert not files.confirm_replacement(box.c, Preview(new=("a",), other=1), False)
    with pytest.raises(
        SetupError, match=r"2 files would be replaced on this machine \(old, mode\): .*add --yes"
    ):
        files.confirm_replacement(box.c, found, False)
    many = Preview(replaced=tuple("abcdefg"))
    assert files.confirm_replacement(box.c, many, True)
    assert "replaced on this machine: a, b, c, d, e and 2 more" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("labfab.console.agreed", lambda question: True)
    assert files.confirm_replacement(box.c, many, False)
    monkeypatch.setattr("labfab.console.agreed", lambda question: False)
    with pytest.raises(SetupError, match="nothing was replaced, and nothing was copied"):
        files.confirm_replacement(box.c, many, False)
