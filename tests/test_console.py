"""What the user sees: a line a change, signs of life, nothing that moves where nothing can move."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from labfab import console
from labfab.errors import SetupError


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(console, "terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")


@pytest.fixture
def clock(monkeypatch):
    """A clock that is advanced by hand."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_a_quick_change_is_one_line_without_a_time(capsys):
    """Below a second, no time is shown."""
    console.changed("box", "open port 22", 0.4)
    console.changed("box", "install ufw", 12.34)
    assert capsys.readouterr().out == "[box] open port 22\n[box] install ufw  12.3 s\n"


@pytest.mark.parametrize(
    "seconds, text", [(0, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 00 s"), (3661, "61 min 01 s")]
)
def test_durations_are_read_at_a_glance(seconds, text):
    """Seconds below a minute, then minutes."""
    assert console.duration(seconds) == text


def test_without_a_terminal_there_are_signs_of_life(capsys, clock):
    """There is a line every 15 seconds, no control character, and nothing for quick work."""
    with console.working("box", "install ufw") as tell:
        for second in range(0, 46, 5):
            clock[0] = second
            tell(f"line {second}")
    said = capsys.readouterr().out
    assert [line.partition(" … ")[2][:6] for line in said.splitlines()] == [
        "15.0 s",
        "30.0 s",
        "45.0 s",
    ]
    assert "\r" not in said and "\x1b" not in said


def test_on_a_terminal_one_line_moves_and_vanishes(capsys, clock, terminal):
    """The line is never wider than the terminal, and is removed at the end."""
    with console.working("box", "install ufw") as tell:
        tell("x" * 500)
    said = capsys.readouterr().out
    assert "\n" not in said and said.endswith("\r\x1b[K")
    assert max(len(part) for part in said.split("\r\x1b[K")) < 60


def test_the_line_vanishes_when_the_work_fails(capsys, terminal):
    """The error begins on an empty line."""
    with pytest.raises(RuntimeError), console.working("box", "install ufw"):
        raise RuntimeError
    assert capsys.readouterr().out.endswith("\r\x1b[K")


def test_several_hosts_at_once_do_not_move_a_line(capsys, terminal, monkeypatch):
    """Lines of two hosts would overwrite each other."""
    monkeypatch.setattr(console, "alone", False)
    with console.working("box", "install ufw") as tell:
        tell("line")
    assert capsys.readouterr().out == ""


def test_a_plan_is_indented_below_its_why(capsys):
    """The diff belongs to the change above it."""
    console.planned("box", "refuse passwords", "-a\n+b\n")
    assert capsys.readouterr().out == "[box] would refuse passwords\n    -a\n    +b\n"


def test_warnings_go_to_stderr(capsys):
    """The output can still be used."""
    console.warn("careful")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "  ! careful\n")


def test_one_thread_speaks_aside_while_another_does_not(capsys):
    """Each host's document stays intact, whatever another thread sends to stderr, and whenever."""
    both = threading.Barrier(2, timeout=5)

    def work(name: str) -> None:
        with console.on_stderr(name == "a"):
            both.wait()
            console.say(f"work {name}")
            both.wait()
        both.wait()
        console.say(f"document {name}")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, "ab"))
    said = capsys.readouterr()
    assert (
        sorted(said.out.splitlines()) == ["document a", "document b", "work b"]
        and said.err == "work a\n"
    )


def test_speaking_aside_can_be_nested(capsys):
    with console.on_stderr(), console.on_stderr(False):
        console.say("aside")
    console.say("aloud")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("aloud\n", "aside\n")


@pytest.mark.parametrize("sign", ["\x1b]52;c;aGk=\x07", "\x1b[2J", "\x9b2J", "\r", "\x08"])
def test_no_host_speaks_to_the_terminal(capsys, terminal, sign):
    """Control characters from a host have no effect: in lines, in errors and in the line that is redrawn."""
    console.say(f"a{sign}b")
    console.warn(f"a{sign}b")
    with console.working("box", f"a{sign}b") as tell:
        tell(f"c{sign}d")
    said = capsys.readouterr()
    text = said.out.replace(console.CLEAR, "") + said.err + str(SetupError(f"a{sign}b"))
    assert "a" in text and not any(letter in text for letter in "\x1b\x9b\x07\r\x08")
