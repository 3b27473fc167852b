"""The framed shell, against the real `sh` of this machine."""

import os
import shutil
import signal
import time
from unittest.mock import Mock

import paramiko
import pytest

from labfab.errors import SetupError
from labfab.host.run_lock import RunLock
from labfab.host.shell import ConnectionLost, Result, Shell, WrongSudoPassword
from tests.local_sh import opened

HOSTILE = [
    "it's",
    'say "hi"',
    "$HOME `id` $(id)",
    "back\\slash\\n",
    "two\nlines\n",
    "  spaces  ",
    "Käse €",
    "-n",
    "%s%d",
    "!",
    "*",
    "",
]
SUDO = """case $* in *-n*) exit 1 ;; esac
printf 'labfab-wants-a-password:' >&2; IFS= read -r given
[ "$given" = "$(cat "$HOME/sudo-password")" ] || { printf 'Sorry, try again.\\nlabfab-wants-a-password:' >&2; read -r again; exit 1; }
[ "$1" = -S ] && shift 3; exec "$@"
"""


@pytest.fixture
def sh(tmp_path):
    with opened(tmp_path) as shell:
        yield shell


@pytest.mark.parametrize("text", HOSTILE)
def test_values_arrive_as_they_are(sh, text):
    """What is quoted by shlex comes out unchanged, whatever characters it has."""
    from labfab.host.changes import fill

    assert sh.run(fill("printf '[%%s]' %s", text)).out == f"[{text}]"


def test_outputs_and_exit_code_stay_apart(sh):
    """stdout, stderr and the exit code are those of the script."""
    assert sh.run("echo out; echo err >&2; exit 3") == Result(3, "out\n", "err\n")


@pytest.mark.parametrize(
    "script",
    [
        "if then fi (",
        "echo 'open",
        "exit 3",
        "cd /nowhere",
        "set -eu; false",
        "exec false",
        "trap 'exit 9' EXIT; false",
    ],
)
def test_a_broken_script_does_not_reach_the_next_one(sh, script):
    """A syntax error, an exit, set -e or a trap ends only its own frame."""
    assert not sh.run(script).ok
    assert sh.run("echo next; pwd") == Result(0, "next\n/\n", "")


def test_nothing_is_left_behind_by_a_script(sh):
    """The next script does not see a script's variables, functions and folder."""
    sh.run("mine=1; f() { :; }; cd /tmp; umask 077; set -u")
    assert sh.run(
        'echo "${mine-none} $(type f >/dev/null 2>&1 || echo none) $(pwd) $(umask)"'
    ).out.split() == ["none", "none", "/", "0022"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no newline at the end",
        "\n\n",
        "ends with newline\n",
        "\n labfab-0123456789abcdef 0\n",
        "labfab-",
    ],
)
def test_output_is_neither_cut_nor_lengthened(sh, text):
    """Text without a final newline, blank lines and text like the frame's end arrive unchanged."""
    from labfab.host.changes import fill

    assert sh.run(fill("printf %%s %s; printf %%s %s >&2", text, text)) == Result(0, text, text)


def test_bytes_of_a_file_arrive_as_they_came(sh):
    """A file of an account may hold anything; what cannot be a file's is refused in one line."""
    text = b"caf\xe9 \xff".decode(errors="surrogateescape")
    assert sh.run(f"printf %s '{text}' | od -An -tx1").out.split() == [
        "63",
        "61",
        "66",
        "e9",
        "20",
        "ff",
    ]
    with pytest.raises(SetupError, match="not Unicode"):
        sh.run("echo '\ud800'")
    assert sh.run("echo on").out.strip() == "on"


def test_bytes_that_are_no_text_do_no_harm(sh):
    """Binary output is shown with replacement characters and the frame still ends."""
    result = sh.run("printf '\\377\\000\\200ok'")
    assert result.ok and result.out.endswith("ok") and "\ufffd" in result.out


def test_five_megabytes_on_both_outputs(sh):
    """Large output on stdout and stderr together neither blocks nor takes long."""
    began = time.monotonic()
    result = sh.run(
        "head -c 5000000 /dev/zero | tr '\\0' x; head -c 1000000 /dev/zero | tr '\\0' y >&2"
    )
    assert (len(result.out), len(result.err)) == (5_000_000, 1_000_000)
    assert time.monotonic() - began < 2


def test_a_large_script_is_sent_whole(sh):
    """A file of 300 kB fits into a frame, though not into an argument list."""
    from labfab.host.changes import fill

    assert sh.run(fill("printf %%s %s | wc -c", "ü'" * 100_000)).out.strip() == "300000"


@pytest.mark.skipif(not shutil.which("flock"), reason="needs flock, which every Debian has")
def test_one_run_at_a_time_holds_the_lock(tmp_path, monkeypatch):
    """Until the first shell ends, the second one learns who holds the lock. Programs that a script starts do not hold it."""
    monkeypatch.setattr("labfab.host.run_lock.LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr("labfab.host.run_lock.PATIENCE", 0)
    with opened(tmp_path) as first, opened(tmp_path) as second:
        assert RunLock().take(first)
        with pytest.raises(
            SetupError, match=r"another run of labfab is at work there \(pid \d+\): wait"
        ):
            RunLock().take(second)
        first.run(f"sleep 3 >/dev/null 2>&1 & echo $! >'{tmp_path}/pid'")
        first.close()
        assert RunLock().take(second)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)


@pytest.mark.skipif(not shutil.which("flock"), reason="needs flock, which every Debian has")
def test_what_works_beside_a_run_that_died_is_waited_for(tmp_path, monkeypatch):
    """Its shell lives until its script has ended, and two of them do not exclude each other."""
    monkeypatch.setattr("labfab.host.run_lock.LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr("labfab.host.run_lock.PATIENCE", 0)
    with (
        opened(tmp_path) as main,
        opened(tmp_path) as left,
        opened(tmp_path) as right,
        opened(tmp_path) as other,
    ):
        assert RunLock().take(main)
        for shell in (left, right):
            RunLock().join(shell)
            assert shell.run("true").ok
        main.close()
        right.close()
        with pytest.raises(
            SetupError, match=r"another run of labfab is at work there \(pid \d+\): wait"
        ):
            RunLock().take(other)
        left.close()
        assert RunLock().take(other)


@pytest.mark.skipif(not shutil.which("flock"), reason="needs flock, which every Debian has")
def test_a_run_knows_whether_another_one_came_between(tmp_path, monkeypatch):
    """After its connection broke, it gets the lock again unless somebody else has held it since; then its facts are stale."""
    monkeypatch.setattr("labfab.host.run_lock.LOCK", str(tmp_path / "lock"))
    mine, other = RunLock(), RunLock()
    with opened(tmp_path) as shell:
        assert mine.take(shell)
    with opened(tmp_path) as shell:
        assert mine.take(shell)
    with opened(tmp_path) as shell:
        assert other.take(shell)
    with (
        opened(tmp_path) as shell,
        pytest.raises(SetupError, match="another run worked there or the host was rebooted"),
    ):
        mine.take(shell)


def test_scripts_sent_together_are_answered_in_order(sh):
    """Each has its own output and exit code, in any order; one that nobody asks for does no harm."""
    frames = [sh.send(f"echo {number}; echo e{number} >&2; exit {number}") for number in range(4)]
    assert frames[2].result() == Result(2, "2\n", "e2\n") and frames[0].result() == Result(
        0, "0\n", "e0\n"
    )
    assert sh.run("echo last") == Result(0, "last\n", "")


def test_the_lock_is_where_only_root_writes(tmp_path, monkeypatch):
    """Its folder is private. If the lock cannot be opened, that is one line, and the shell survives."""
    monkeypatch.setattr("labfab.host.run_lock.LOCK", str(tmp_path / "new/lock"))
    with opened(tmp_path, flock="exit 0") as shell:
        assert RunLock().take(shell) and (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    (tmp_path / "taken/lock").mkdir(parents=True)
    monkeypatch.setattr("labfab.host.run_lock.LOCK", str(tmp_path / "taken/lock"))
    with opened(tmp_path, flock="exit 0") as shell:
        with pytest.raises(SetupError, match="box: cannot hold .*/taken/lock on the host: "):
            RunLock().take(shell)
        assert shell.run("echo on").out.strip() == "on"


def test_a_script_cannot_eat_the_next_frame(sh):
    """A command that reads its input gets nothing, not what follows on the channel."""
    assert sh.run("cat; echo end").out == "end\n"
    assert sh.run("echo still here").out == "still here\n"


def test_background_output_does_not_end_a_frame_early(sh):
    """The end of a frame counts only where the token stands on a line of its own."""
    assert sh.run("printf 'a '; sleep 0.05; printf b").out == "a b"


def test_the_script_is_in_no_argument_list(sh):
    """ps on the host does not show what a script contains."""
    assert (
        "s3cret"
        not in sh.run(
            "word=s3cret; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -a 's3cre[t]'; true"
        ).out
    )


def test_lines_are_told_as_they_come(sh):
    """Progress shows each line, also those that a carriage return overwrites, but never the frame's token."""
    told = []
    sh.run("echo one; printf '10%%\\r20%%\\n'; echo warn >&2", told.append)
    assert {"one", "10%", "20%", "warn"} <= set(told)
    assert not [line for line in told if "labfab-" in line]


@pytest.mark.parametrize("script", ["kill -9 $$", "echo begun; sleep 0.05; kill $$; sleep 0.1"])
def test_a_killed_shell_is_a_lost_connection(sh, script):
    """If the shell dies during a script, one line says what to type; so does the next use."""
    for each in (script, "echo again"):
        with pytest.raises(
            ConnectionLost, match="box: the connection broke: run the same command again"
        ):
            sh.run(each, timeout=5)


@pytest.mark.parametrize(
    "error",
    [EOFError(), OSError("Socket is closed"), paramiko.SSHException("Key-exchange timed out")],
)
def test_whatever_paramiko_calls_it_a_broken_line_is_told_in_one(sh, error, monkeypatch):
    """Its thread may have noticed or not, or the connection breaks during a key exchange."""
    monkeypatch.setattr(sh.channel, "sendall", Mock(side_effect=error))
    with pytest.raises(
        ConnectionLost, match="box: the connection broke: run the same command again"
    ):
        sh.run("true")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            paramiko.ChannelException(2, "Connect failed"),
            "box: the login works, but sshd refuses to open a session: look at MaxSessions",
        ),
        (
            paramiko.SSHException("Channel closed."),
            "box: the login works, but sshd refuses to run a command: run the same command again",
        ),
        (
            EOFError(),
            "box: the login works, but the host then hangs up: run the same command again",
        ),
    ],
)
def test_a_host_that_grants_no_session_is_told_in_one_line(error, told):
    """A login without a session is not enough."""
    transport = Mock(
        open_session=Mock(side_effect=error),
        is_active=Mock(return_value=not isinstance(error, EOFError)),
    )
    with pytest.raises(SetupError, match=told):
        Shell(transport, "box")


def test_silence_is_a_lost_connection(sh):
    """A host that stays silent for the allowed time counts as lost."""
    with pytest.raises(ConnectionLost):
        sh.run("sleep 5", timeout=0.1)


def test_last_words_are_the_end_of_what_was_said():
    """Errors quote the last three lines that are not empty, stderr before stdout."""
    assert Result(1, "", "a\n\nb\n c \nd\n").last_words == "b | c | d"
    assert Result(1, "only out\n", "").last_words == "only out"
    assert Result(7, "\n", " ").last_words == "exit code 7, no output"


@pytest.mark.parametrize("password", ["simple", 'it\'s "$HOME" `x` \\n', "  Käse €  "])
def test_sudo_gets_its_password_on_its_input(tmp_path, password):
    """A password with any characters reaches sudo byte by byte, and the frames after it are not swallowed."""
    (tmp_path / "sudo-password").write_text(password)
    with opened(tmp_path, password, id="echo 1000", sudo=SUDO) as shell:
        assert shell.run("echo root; echo more").out == "root\nmore\n"


@pytest.mark.parametrize("given", ["wrong", None, ""])
def test_a_wrong_or_missing_sudo_password_is_named(tmp_path, given):
    """A second prompt of sudo, or a first one without a password, raises WrongSudoPassword."""
    (tmp_path / "sudo-password").write_text("right")
    with pytest.raises(WrongSudoPassword), opened(tmp_path, given, id="echo 1000", sudo=SUDO):
        pass


def test_sudo_without_a_password_is_not_asked_for_one(tmp_path):
    """If sudo -n works, no password is sent, even if one is known."""
    with opened(tmp_path, "unused", id="echo 1000", sudo='shift; exec "$@"') as shell:
        assert shell.run("cat; echo here").out == "here\n"


@pytest.mark.parametrize(
    "sudo, says",
    [
        (
            "case $* in *-n*) exit 1;; esac; echo 'lab is not in the sudoers file.' >&2; exit 1",
            "may not use sudo",
        ),
        (
            "case $* in *-n*) exit 1;; esac; echo 'Account or password is expired, reset your password' >&2; exit 1",
            "expired",
        ),
        ("case $* in *-n*) exit 1;; esac; exit 1", "closed the session immediately"),
        (
            "case $* in *-n*) exit 1;; esac; echo 'sorry, you must have a tty to run sudo' >&2; exit 1",
            "must have a tty",
        ),
    ],
)
def test_no_way_to_root_is_told(tmp_path, sudo, says):
    """Each refusal of sudo is one line that begins with the host."""
    with (
        pytest.raises(SetupError, match=says) as error,
        opened(tmp_path, "x", id="echo 1000", sudo=sudo),
    ):
        pass
    assert str(error.value).startswith("box: ") and "labfab-wants" not in str(error.value)


def test_another_system_is_named(tmp_path):
    """A host that is neither Linux nor macOS is refused before anything else."""
    with (
        pytest.raises(SetupError, match="box runs FreeBSD: labfab sets up"),
        opened(tmp_path, uname="echo FreeBSD"),
    ):
        pass


def test_without_sudo_root_is_asked_for(tmp_path):
    """Without root and sudo, the message says to log in as root."""
    with (
        pytest.raises(SetupError, match="sudo is not installed: log in as root"),
        opened(tmp_path, path="", id="echo 1000"),
    ):
        pass


@pytest.mark.parametrize(
    "said, says",
    [
        (
            'Please login as the user "ubuntu" rather than the user "root".',
            "log in as ubuntu: fab -H ubuntu@",
        ),
        (
            "WARNING: Your password has expired.\nPassword change required but no TTY available.",
            "the password has expired",
        ),
        ("This account is currently not available.", "not available"),
    ],
)
def test_a_forced_command_is_told(tmp_path, said, says):
    """What a cloud image or an expired password prints instead of a shell becomes one line."""
    quoted = said.replace('"', '\\"')
    with (
        pytest.raises(SetupError, match=says),
        opened(tmp_path, id=f'printf "%s\\n" "{quoted}" >&2; kill $PPID; sleep 0.1'),
    ):
        pass


# A hostile host -------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["", " >&2"])
def test_an_answer_that_would_fill_the_memory_ends(tmp_path, monkeypatch, stream):
    """One line says so, and nothing more is taken from that host."""
    monkeypatch.setattr("labfab.host.shell.LARGEST", 3_000_000)
    monkeypatch.setattr(Shell.receive, "__defaults__", (None, 3_000_000))
    with opened(tmp_path) as shell:
        began = time.monotonic()
        with pytest.raises(SetupError, match="answered more than 3 MB") as error:
            shell.run(f"yes{stream}")
        assert not isinstance(error.value, ConnectionLost) and shell.channel.closed
        assert max(map(len, shell.seen.values())) < 4_000_000 and time.monotonic() - began < 30


def test_an_answer_that_never_ends_ends(tmp_path, monkeypatch):
    """A host may send a byte now and then for years."""
    monkeypatch.setattr("labfab.host.shell.PATIENCE", 1)
    with opened(tmp_path) as shell, pytest.raises(SetupError, match="has been answering"):
        shell.run("while sleep 0.1; do echo; done", timeout=1)


def test_a_greeting_that_never_ends_ends(tmp_path):
    """Before the root shell is there, little is listened to."""
    with (
        pytest.raises(SetupError, match=r"answered more than 0\.1 MB"),
        opened(tmp_path, id="echo 1000", sudo="yes"),
    ):
        pass


def test_a_large_answer_arrives_whole_and_soon(sh):
    """Also where its end is cut in two; the time does not grow with the square of the size."""
    began = time.monotonic()
    said = sh.run("head -c 30000000 /dev/zero | tr '\\0' x; echo; echo err >&2; exit 3")
    assert (said.code, len(said.out), said.err) == (3, 30_000_001, "err\n")
    assert time.monotonic() - began < 60
    assert sh.run("echo next").out == "next\n"
