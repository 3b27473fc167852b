"""The scripts of the platforms, run for real with stubs of the programs that they call."""

import pytest

from labfab.on_host import loader
from tests.local_sh import opened

LOCKED = "E: Could not get lock /var/lib/apt/lists/lock"


def script(name: str, tmp_path, *arguments: str) -> str:
    """A script with its arguments, whose files are below tmp_path."""
    text = loader.as_command(name, len(arguments)) % arguments
    return text.replace("/var/cache/labfab", f"{tmp_path}/cache")


@pytest.mark.parametrize("busy", [0, 2])
def test_the_lists_are_fetched_once_another_apt_has_finished(tmp_path, busy):
    apt = f'echo >>"$HOME/tried"; [ "$(wc -l <"$HOME/tried")" -gt {busy} ] || {{ echo "{LOCKED}"; exit 100; }}'
    stubs = {"apt-get": apt, "sleep": ":"}
    with opened(tmp_path, **stubs) as sh:
        done = sh.run(f"HOME={tmp_path}; export HOME; {script('apt_update', tmp_path)}")
    assert done.ok and done.out.splitlines() == ["waiting for another apt"] * busy
    assert (tmp_path / "cache/updated").exists()


def test_a_mirror_that_fails_is_asked_once_and_its_words_are_passed_on(tmp_path):
    apt = 'echo >>"$HOME/tried"; echo "E: no such mirror"; exit 100'
    with opened(tmp_path, **{"apt-get": apt}) as sh:
        done = sh.run(f"HOME={tmp_path}; export HOME; {script('apt_update', tmp_path)}")
    assert (done.code, done.out) == (100, "E: no such mirror\n")
    assert (tmp_path / "tried").read_text() == "\n" and not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("No new software available.", True),
        ("* Label: Safari19.0", True),
        ("Can't connect to Apple", False),
    ],
)
def test_only_an_answer_of_apple_is_kept(tmp_path, said, kept):
    """softwareupdate exits with 0 nevertheless."""
    with opened(tmp_path, softwareupdate=f'echo "{said}"') as sh:
        done = sh.run(script("list_mac_updates", tmp_path))
    assert done.ok is kept and (said in done.err) is not kept
    assert (tmp_path / "cache/softwareupdate").exists() is kept


@pytest.mark.parametrize(
    ("shell", "said", "out"),
    [
        ("/bin/zsh", "", ""),
        ("/bin/zsh", "### Error:-14120", "no access\n"),
        ("", "### Error:-14120", None),
    ],
)
def test_an_account_counts_as_added_if_it_is_there(tmp_path, shell, said, out):
    """sysadminctl, too, exits with 0 nevertheless. out: None: the script fails."""
    stubs = {"sysadminctl": f'echo "{said}" >&2', "values": f'echo "{shell}"'}
    with opened(tmp_path, **stubs) as sh:
        done = sh.run(script("add_mac_account", tmp_path, "lab"))
    assert done.ok is (out is not None)
    assert done.out == (out or "") and (out is not None or said in done.err)
