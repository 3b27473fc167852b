"""Shortcuts: whose files they are, their names, and homes and aliases that need quotes."""

import json
import os
import subprocess

import pytest

from labfab.errors import SetupError
from labfab.laptop import openssh, shortcuts, tunnel
from labfab.laptop.openssh import Target

# Logs how it was called. While LOG.open exists, it answers like an ssh that holds a tunnel.
SSH = """#!/bin/sh
printf '%s\\n' "$@" "--end--" >>"$LOG"
case "$*" in
    *" -O check "*) [ -e "$LOG.open" ] || exit 255; echo 'Master running (pid=77)' >&2 ;;
    *" -M "*) touch "$LOG.open" ;;
    *" -O exit "*) rm "$LOG.open" ;;
esac
"""


def texts(alias: str = "homelab", url: str = "http://127.0.0.1:9000/", tty: bool = False):
    return shortcuts.texts(Target(alias), url, 9000, 9999, "/home/lab", tty)


def install(alias: str = "homelab") -> None:
    wanted = texts(alias)
    for path in shortcuts.differing(wanted, alias):
        shortcuts.write(path, wanted[path])


def names(home) -> set[str]:
    return {path.name for path in (home / ".local/bin").iterdir()}


def test_the_guide_s_words_are_those_of_the_first_lab(home):
    """Those of another lab end with its alias. Each lab keeps its own, and is removed alone."""
    install("macmini")
    install("box")
    words = {"callhome", "connectlab", "closelab", "launchlab"}
    assert names(home) == words | {f"{word}-box" for word in words}
    assert all(os.access(home / ".local/bin" / name, os.X_OK) for name in names(home))
    assert (
        " macmini " in (home / ".local/bin/callhome").read_text()
        and " box " in (home / ".local/bin/callhome-box").read_text()
    )
    assert {path.name for path in shortcuts.remove("macmini")} == words and shortcuts.remove(
        "macmini"
    ) == []
    assert shortcuts.differing(texts("box"), "box") == [] and names(home) == {
        f"{word}-box" for word in words
    }


def test_only_what_differs_is_written(home):
    """The second time nothing; after the settings or a file's mode change, that file."""
    install()
    assert shortcuts.differing(texts(), "homelab") == []
    (home / ".local/bin/callhome").chmod(0o644)
    assert [path.name for path in shortcuts.differing(texts(), "homelab")] == ["callhome"]
    assert {
        path.name for path in shortcuts.differing(texts(url="https://127.0.0.1:9000/j/"), "homelab")
    } == {"callhome", "connectlab"}


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_what_is_not_ours_stays(home, kind):
    """It is neither overwritten nor removed: a file, a dangling link or a folder."""
    place = home / ".local/bin/closelab"
    place.parent.mkdir(parents=True)
    {
        "file": lambda: place.write_text("#!/bin/sh\necho mine\n"),
        "link": lambda: place.symlink_to("nowhere"),
        "folder": place.mkdir,
    }[kind]()
    with pytest.raises(SetupError, match="closelab exists and is not labfab's: move it away"):
        shortcuts.differing(texts(), "homelab")
    shortcuts.remove("homelab")
    assert os.path.lexists(place)


@pytest.mark.parametrize("alias", ["-oProxyCommand=x", "a b", "$(x)", "../x", "x'"])
def test_a_hostile_alias_is_none(home, alias):
    """It never gets into names or scripts, where it would need quoting."""
    with pytest.raises(SetupError, match="cannot be an alias"):
        texts(alias)


def test_they_say_what_is_so_in_a_home_that_needs_quotes(tmp_path, monkeypatch):
    """Open, open again with the same port, known to fab, closed: in a home full of shell syntax."""
    home, log = tmp_path / 'it\'s $(touch x) %d "h"', tmp_path / "log"
    (home / ".config/labfab/homelab").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LOG", str(log))
    install()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh").write_text(SSH)
    (tmp_path / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}/.local/bin:{tmp_path}/bin:/usr/bin:/bin")

    def said(*words: str) -> str:
        return subprocess.run(
            words, capture_output=True, text=True, check=True, cwd=tmp_path
        ).stdout

    assert said("connectlab", "9100") == "the tunnel is open: http://127.0.0.1:9100/lab\n"
    assert said("connectlab") == "the tunnel is open already: http://127.0.0.1:9100/lab\n"
    state = json.loads(tunnel.state_path("homelab").read_text())
    assert tunnel.load("homelab") == state and (state["local_port"], state["pid"]) == (9100, 77)
    assert said("closelab") + said("closelab") == "the tunnel is closed\nno tunnel was open\n"
    said("callhome", "echo a", "b")
    calls = [
        call.split("\n")
        for call in log.read_text().removesuffix("\n--end--\n").split("\n--end--\n")
    ]
    assert calls[-1][-3:] == ["homelab", "echo a", "b"]
    assert ["-L", "127.0.0.1:9100:127.0.0.1:9999", "homelab"] in [call[-3:] for call in calls]
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "told",
    ["/h/$(touch x)", '/h/"; touch x; "', "/h/${HOME}", "/h/%h", "/h:1", "/h\ntouch x", "h", "~"],
)
def test_a_home_that_a_host_invents_never_reaches_a_shell(home, told):
    """Only the host knows where its socket is. What it answers is neither run nor expanded here."""
    with pytest.raises(
        SetupError, match="characters that a tunnel cannot use: leave listen at tcp"
    ):
        shortcuts.texts(
            Target("homelab"), "http://127.0.0.1:9000/", 9000, ".jupyter/lab.sock", told, False
        )


def test_the_far_end_is_quoted_besides(home, monkeypatch):
    """In case that check is ever relaxed."""
    monkeypatch.setattr(openssh, "below", lambda base, path: f"{base}/{path}")
    wanted = shortcuts.texts(
        Target("homelab"), "http://127.0.0.1:9000/", 9000, "s", "/h/$(touch x)", False
    )
    script = wanted[home / ".local/bin/connectlab"]
    assert (
        "far='/h/$(touch x)/s'\n" in script
        and script.count("touch x") == 1
        and '-L "127.0.0.1:$port:$far"' in script
    )


def test_a_tunnel_that_is_kept_is_open_too(home, monkeypatch):
    """A kept tunnel has no control socket: tunnel.json says that it is open."""
    install()
    folder = home / ".config/labfab/homelab"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tunnel.json").write_text(
        json.dumps({"keeper": "systemd", "local_port": 9005}, indent=2)
    )
    done = subprocess.run(
        [str(home / ".local/bin/connectlab")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "the tunnel is open already: http://127.0.0.1:9005/lab\n"
    done = subprocess.run(
        [str(home / ".local/bin/closelab")], capture_output=True, text=True, check=True
    )
    assert "fab -H homelab tunnel.forget ends it" in done.stdout


def test_what_hides_them_is_told(home, tmp_path, monkeypatch):
    """A folder that is not on the PATH, and a command of the same name before ours."""
    install()
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert "is not on your PATH: add this line" in next(shortcuts.obstacles(texts()))
    (tmp_path / "callhome").write_text("#!/bin/sh\n")
    (tmp_path / "callhome").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{home}/.local/bin/:/usr/bin")
    assert list(shortcuts.obstacles(texts())) == [
        f"callhome is {tmp_path}/callhome in your shell: "
        f"it comes before {home}/.local/bin/callhome on your PATH"
    ]


def test_a_password_is_asked_for_on_a_terminal_only(home):
    """If JupyterLab runs as another account, sudo asks."""
    assert "ssh -t " not in texts()[home / ".local/bin/launchlab"]
    assert " -t homelab .local/bin/launchlab" in texts(tty=True)[home / ".local/bin/launchlab"]


def test_no_shortcut_takes_the_agent_along(home):
    """What runs there could log in with it elsewhere, as the account with sudo too."""
    for path, script in texts().items():
        assert path.name == "closelab" or {"ForwardAgent=no", "ForwardX11=no"} <= {*script.split()}
