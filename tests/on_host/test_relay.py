"""Relay: what an account's program may do to the shell that runs it, and for how long."""

import os
import subprocess
import time

import pytest

from labfab.on_host import loader

RELAY = loader.FOLDER / "relay.pl"


def relay(script: str, seconds: int = 0, size: int = 0, **more) -> subprocess.CompletedProcess:
    argv = ["perl", str(RELAY), str(seconds), str(size), "sh", "-c", script]
    return subprocess.run(argv, capture_output=True, timeout=30, check=False, **more)


@pytest.mark.parametrize(
    ("script", "code"), [("true", 0), ("exit 7", 7), ("kill -9 $$", 137), ("no-such-program", 127)]
)
def test_the_exit_code_is_the_commands(script, code):
    """Also that of a command that was killed, as a shell tells it."""
    assert relay(script).returncode == code


def test_both_outputs_and_the_input_pass():
    """Nothing is lost or mixed, however much it is."""
    done = relay("cat; head -c 3000000 /dev/zero >&2", input=b"x" * 1_000_000)
    assert done.stdout == b"x" * 1_000_000
    assert done.stderr == bytes(3_000_000)


def test_a_program_that_stays_behind_is_not_waited_for():
    """It also has no way to add to what comes after it."""
    began = time.monotonic()
    done = relay("(sleep 20; echo forged) & echo said")
    assert done.stdout == b"said\n"
    assert time.monotonic() - began < 10


def test_the_command_has_no_descriptor_but_its_own():
    """A lock or the shell's own output must not be in its hands, not even by number."""
    inner = f'exec 7>&1 9>&1 200</dev/null; exec perl {RELAY} 0 0 sh -c "$0"'
    argv = ["bash", "-c", inner, "echo forged >&7; echo forged >&9; ls /proc/$$/fd"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert "forged" not in done.stdout
    assert not {"7", "9", "200"} & set(done.stdout.split())


def test_a_limit_of_time_holds():
    """Whatever the command ignores, the shell goes on."""
    began = time.monotonic()
    done = relay("trap '' TERM; echo said; sleep 20", seconds=1)
    assert (done.returncode, done.stdout) == (124, b"said\n")
    assert time.monotonic() - began < 10


def test_a_limit_of_size_holds():
    """Half a text must be known for what it is."""
    done = relay("yes", size=200_000)
    assert done.returncode == 124
    assert len(done.stdout) <= 200_000


def test_a_command_that_nobody_listens_to_is_ended():
    """A laptop that has hung up must not leave root's shell waiting, and holding the run lock."""
    began = time.monotonic()
    inner = f"perl {RELAY} 0 0 sleep 60 | true"
    subprocess.run(["sh", "-c", inner], timeout=30, check=False)
    assert time.monotonic() - began < 20
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"perl {RELAY} 0 0 sh -c 'exec >&-; sleep 1' | true; exit ${{PIPESTATUS[0]}}",
        ],
        timeout=30,
        check=False,
    )
    assert done.returncode == 0


@pytest.mark.parametrize("later", [-7200, 7200])
def test_a_clock_that_is_set_changes_no_limit(tmp_path, later):
    """It shows two hours earlier, or later, from the second look on."""
    (tmp_path / "SetClock.pm").write_text(
        "package SetClock; my $looks = 0;"
        f"BEGIN {{ *CORE::GLOBAL::time = sub () {{ CORE::time() + ($looks++ ? {later} : 0) }} }} 1;"
    )
    env = os.environ | {"PERL5LIB": str(tmp_path), "PERL5OPT": "-MSetClock"}
    began = time.monotonic()
    assert relay("sleep 0.2; echo said; sleep 0.2; exit 3", seconds=2, env=env).returncode == 3
    assert relay("while sleep 0.1; do echo said; done", seconds=1, env=env).returncode == 124
    assert time.monotonic() - began < 5


def test_who_ran_it_is_told_which_limit_ended_it():
    assert "it took more than 1 s and was ended" in relay("sleep 20", seconds=1).stderr.decode()
    assert "it printed more than 9 bytes" in relay("yes", size=9).stderr.decode()
