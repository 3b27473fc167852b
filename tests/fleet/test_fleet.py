"""Many hosts: none is forgotten or waits for a question, one failure stops no other, Ctrl-C all."""

import io
import json
import os
import re
import signal
import stat
import threading
import time

import pytest
from fabric import Config, Connection, Task, task
from fabric.main import Fab
from invoke import Collection, Exit

from labfab import console, fabric_internals
from labfab.errors import SetupError, Unreachable
from labfab.fleet import executor, log, questions, workers
from labfab.fleet.member import Member
from labfab.fleet.questions import QuestionPending, Questions
from labfab.fleet.view import Block, View
from labfab.host.session import Host
from labfab.local_state import ssh_config
from labfab.run.task import host_task, laptop_task
from tests.fake import alone as alone_

alone = alone_
THREE = "root@a,root@b,root@c"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def fab(alone, capsys, monkeypatch):
    """Run functions as tasks: fab("-H", "a,b", "work", work=…) returns code, stdout, stderr."""
    monkeypatch.setattr(console, "alone", True)

    def run(*words: str, **tasks) -> tuple[int, str, str]:
        namespace = Collection(
            *(made if isinstance(made, Task) else ours(made, name) for name, made in tasks.items())
        )
        program = Fab(
            name="fab",
            version="0",
            executor_class=executor.Executor,
            config_class=Config,
            namespace=namespace,
        )
        try:
            program.run(["fab", *words])
            code = 0
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return code, said.out, said.err

    return run


def ours(body, name: str, **options):
    """Make a task of labfab that needs no running host."""
    options = {"reads": True, "connects_itself": True} | options
    made = lambda c: body(c)  # noqa: E731
    made.__module__ = __name__
    return host_task(name=name, **options)(made)


def rows(text: str) -> dict[str, list[str]]:
    """Return the recap: host -> result, changes, time."""
    table = text[text.index("host  ") :].splitlines()[1:]
    return {line.split("  ")[0]: re.split(r"  +", line)[1:] for line in table[: table.index("")]}


def test_every_host_is_worked_on_and_told_of(fab):
    """The recap has a line for each; output carries the host's name; logs are named."""
    code, out, err = fab("-H", THREE, "work", work=lambda c: console.say(f"hello from {c.host}"))
    assert code == 0 and err == ""
    assert {name: row[:2] for name, row in rows(out).items()} == {
        f"root@{name}": ["done", "0"] for name in "abc"
    }
    assert "[root@b]\nhello from b\n" in out
    assert "3 of 3 hosts done; logs: ~/.local/state/labfab/log/" in out


def test_one_that_fails_stops_no_other_and_is_left_out_of_what_follows(fab, alone):
    """Any error is one line with the host's name and what to type; exit code 1."""
    worked = []

    def first(c):
        if c.host == "b":
            raise SetupError(f"{c.host}: the disk is full: free some")
        if c.host == "c":
            raise ValueError("what nobody\nthought of")

    code, out, err = fab(
        "-H",
        f"{THREE},root@d",
        "first",
        "second",
        first=first,
        second=lambda c: worked.append(c.host),
    )
    assert code == 1 and sorted(worked) == ["a", "d"]
    assert {name: row[0] for name, row in rows(out).items()} == {
        "root@a": "done",
        "root@b": "failed",
        "root@c": "failed",
        "root@d": "done",
    }
    assert "root@b: the disk is full: free some" in out and "root@c: what nobody thought of" in out
    assert (
        "failed on root@b, root@c: see above; to run it again there: fab -H root@b,root@c …" in err
    )
    kept = next((alone / "home/.local/state/labfab/log").glob("*/root@c.log")).read_text()
    assert "Traceback" in kept and "ValueError" in kept  # for debugging


def test_tasks_of_others_run_as_they_are(fab):
    """They print directly and have their own connection. Errors name the host."""

    @task
    def backup(c, where="here"):
        print(f"{c.user}@{c.host} to {where}")
        if c.host == "b":
            raise Exit("no room", 3)

    code, out, err = fab("-H", "root@a,root@b", "backup", "--where", "there", backup=backup)
    assert code == 1
    assert {"root@a to there", "root@b to there"} <= set(out.splitlines())
    assert "[root@b] no room" in err and rows(out)["root@a"][0] == "done"


@pytest.mark.parametrize("parallel, at_once", [("1", 1), ("2", 2), ("10", 4)])
def test_no_more_hosts_at_once_than_wanted(fab, monkeypatch, parallel, at_once):
    """One by one, or in parallel."""
    monkeypatch.setenv("LABFAB_PARALLEL", parallel)
    busy, most, lock = set(), [0], threading.Lock()
    full = threading.Barrier(at_once, timeout=5)

    def work(c):
        with lock:
            busy.add(c.host)
            most[0] = max(most[0], len(busy))
        full.wait()
        with lock:
            busy.remove(c.host)

    assert fab("-H", f"{THREE},root@d", "work", work=work)[0] == 0
    assert most[0] == at_once


def test_a_host_that_is_named_twice_is_worked_on_once(fab, alone):
    """Also by its alias and by the login it had before setup."""
    worked = []
    ssh_config.write(
        alone / "home/.ssh/config",
        ssh_config.Alias("box", "203.0.113.5", "lab", 2222, former_logins="root@203.0.113.5:22"),
    )
    names = "box,root@203.0.113.5,root@a,root@a,lab@203.0.113.5:2222,root@a:22,eve@a"
    code, out, _ = fab("-H", names, "work", work=lambda c: worked.append(f"{c.user}@{c.host}"))
    assert code == 0 and len(worked) == 3
    assert list(rows(out)) == ["box", "root@a", "eve@a"]
    assert "root@203.0.113.5 is the same login as box: it runs only once" in out


def test_a_host_that_failed_is_not_worked_on_under_its_other_name(fab):
    worked = []

    def first(c):
        if c.host == "a":
            raise SetupError("a: no")

    code, out, _ = fab(
        "-H",
        "root@a,root@a:22,root@b",
        "first",
        "second",
        first=first,
        second=lambda c: worked.append(c.host),
    )
    assert code == 1 and worked == ["b"] and list(rows(out)) == ["root@a", "root@b"]


@pytest.mark.parametrize("given, code", [(3, 3), ("so it ends", 1), (None, 0)])
def test_a_task_that_ends_the_program_ends_its_host_only(fab, given, code):
    """Some libraries do that. No host is left waiting, and none counts as done."""
    worked = []

    def work(c):
        worked.append(c.host)
        if c.host == "a":
            raise SystemExit(given)

    ended, out, _ = fab("-H", THREE, "work", work=work)
    assert sorted(worked) == ["a", "b", "c"] and bool(ended) == bool(code)
    assert (
        rows(out)["root@a"][0] == ("failed" if code else "done")
        and rows(out)["root@c"][0] == "done"
    )


def test_a_code_without_a_word_is_no_failure(fab):
    """A plan with something to do ends with 2; a failure takes precedence."""

    def plan(c):
        if c.host != "a":
            raise Exit(code=2)

    code, out, err = fab("-H", THREE, "plan", plan=plan)
    assert code == 2 and err == "" and "3 of 3 hosts done" in out
    assert rows(out)["root@b"][0] == "ended with 2" and rows(out)["root@a"][0] == "done"

    def fails(c):
        raise SetupError("no") if c.host == "c" else Exit(code=2)

    assert fab("-H", THREE, "fails", fails=fails)[0] == 1


# Documents -------------------------------------------------------------------------------------


def test_with_json_stdout_is_one_document(fab):
    """It holds each host's answer; everything else goes to stderr."""

    @host_task(reads=True, connects_itself=True)
    def report(c, json=False):
        with console.on_stderr(json):
            console.say("looking")
        if c.host == "b":
            raise SetupError(f"{c.host}: out of reach")
        console.say(f'{{"name": "{c.host}"}}')

    report.body.__module__ = __name__
    code, out, err = fab("-H", THREE, "report", "--json", report=report)
    found = json.loads(out)
    assert (
        code == 1
        and found["schema"] == 1
        and found["summary"] == {"hosts": 3, "done": 2, "changes": 0}
    )
    assert [(entry["host"], entry["result"], entry["answer"]) for entry in found["hosts"]] == [
        ("root@a", "done", {"name": "a"}),
        ("root@b", "failed", None),
        ("root@c", "done", {"name": "c"}),
    ]
    assert (
        "out of reach" in found["hosts"][1]["error"]
        and "looking" in err
        and "failed on root@b" in err
    )


@pytest.mark.parametrize("hosts, count", [(THREE, 3), ("root@a", 1)])
def test_any_task_can_end_in_a_document(fab, monkeypatch, hosts, count):
    """LABFAB_RECAP=json works with one host too, so that scripts need no special case."""
    monkeypatch.setenv("LABFAB_RECAP", "json")
    code, out, _ = fab("-H", hosts, "work", work=lambda c: console.say("two\nlines"))
    found = json.loads(out)
    assert code == 0 and len(found["hosts"]) == count
    assert found["hosts"][0]["answer"] == ["two\nlines"] and set(found["hosts"][0]) == {
        "host",
        "result",
        "code",
        "error",
        "changes",
        "seconds",
        "log",
        "answer",
    }


def test_what_others_print_does_not_get_into_the_document(fab, monkeypatch):
    monkeypatch.setenv("LABFAB_RECAP", "json")

    @task
    def backup(c):
        print("done")

    code, out, err = fab("-H", THREE, "backup", backup=backup)
    assert code == 0 and len(json.loads(out)["hosts"]) == 3 and err.count("done\n") == 3


# Logs ------------------------------------------------------------------------------------------


def test_logs_are_for_you_alone_and_only_the_last_runs_are_kept(fab, alone, monkeypatch):
    """Folders are 0700, files 0600; other files in the folder stay."""
    logs = alone / "home/.local/state/labfab/log"
    logs.mkdir(parents=True)
    (logs / "mine").mkdir()
    for n in range(30):
        (logs / f"20200101-0000{n:02}-1").mkdir()
    fab("-H", "root@a,lab@[2001:db8::1]:22", "work", work=lambda c: console.say("hello"))
    runs = sorted(path.name for path in logs.iterdir())
    assert len(runs) == log.KEPT + 1 and runs[-1] == "mine" and runs[0] == "20200101-000011-1"
    last = logs / runs[-2]
    assert stat.S_IMODE(last.stat().st_mode) == 0o700
    assert {path.name for path in last.iterdir()} == {"root@a.log", "lab@_2001:db8::1_:22.log"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in last.iterdir()} == {0o600}
    assert re.fullmatch(r"\d\d:\d\d:\d\d hello\n", (last / "root@a.log").read_text())


def test_no_log_has_what_the_laptop_answers(fab):
    """It may be an address with a token."""

    @laptop_task
    def url(c):
        with console.on_stderr():
            console.say("looking")
        console.say("http://127.0.0.1:9000/?token=0123456789")

    url.body.__module__ = __name__
    code, out, _ = fab("-H", THREE, "url", url=url)
    assert code == 0 and out.count("0123456789") == 3
    kept = [path.read_text() for path in log.place().glob("*/*.log")]
    assert len(kept) == 3 and all("looking" in text and "0123456789" not in text for text in kept)


def test_without_a_place_for_logs_the_work_goes_on(fab, alone):
    (alone / "home/.local").write_text("no folder")
    code, out, err = fab("-H", THREE, "work", work=lambda c: None)
    assert (
        code == 0
        and "no logs are kept: cannot create the folder" in err
        and "3 of 3 hosts done" in out
        and "logs:" not in out
    )


def test_no_file_name_leads_out_of_the_folder():
    assert (
        log.name_of("../../x@y z") == "_.._x@y_z.log"
        and "/" not in log.name_of("a/b\0c\n")
        and len(log.name_of("x" * 999)) < 110
    )


# Questions -------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
    """Somebody at the keyboard: the questions seen, and the answers to give in order."""
    seen, answers = [], []

    def prompt(text: str, secret: bool) -> str:
        seen.append(text)
        answer = answers.pop(0)
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr(console, "prompt", prompt)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    return seen, answers


@pytest.fixture
def dialed(monkeypatch, asked):
    """Hosts that ask for a password: the passwords by name, and the logins tried."""
    wanted: dict[str, str] = {}
    tried: list[tuple[str, str]] = []

    def open_(host: Host) -> None:
        for _ in range(9):
            if host.c.host in wanted and not getattr(host, "in_", False):
                given = console.hidden("password of", f"root@{host.c.host}")
                tried.append((host.c.host, given))
                host.in_ = given == wanted[host.c.host]

    monkeypatch.setattr(Host, "open", open_)
    return wanted, tried


def test_a_password_is_asked_for_once_and_tried_everywhere(fab, asked, dialed):
    """It is asked for before the work, and again only for a host that refuses it."""
    seen, answers = asked
    wanted, tried = dialed
    wanted |= {"a": "one", "b": "two", "c": "one"}
    answers += ["one", "two"]
    began = []
    code, out, err = fab("-H", f"{THREE},root@free", "work", work=lambda c: began.append(len(seen)))
    assert code == 0, err
    assert seen == [
        "password of root@a, root@b, root@c (the same for all; empty: ask for each)",
        "password of root@b",
    ]
    assert began == [2, 2, 2, 2]
    assert sorted(tried) == [("a", "one"), ("b", "one"), ("b", "two"), ("c", "one")]


def test_a_password_goes_to_no_host_that_the_question_did_not_name():
    """A host that answers late, or asks in a later task, gets its own question."""
    questions = Questions()
    questions.shared["password of"], questions.named["password of"] = "of a", {"a"}
    assert questions.answer("a", "password of", "root@a", True) == "of a"
    with pytest.raises(QuestionPending):
        questions.answer("b", "password of", "root@b", True)


def test_each_host_may_have_a_password_of_its_own(fab, asked, dialed):
    """An empty answer to the common question asks for each."""
    seen, answers = asked
    dialed[0].update(a="one", b="two")
    answers += ["", "one", "two"]
    assert fab("-H", "root@a,root@b", "work", work=lambda c: None)[0] == 0
    assert seen[1:] == ["password of root@a", "password of root@b"] and sorted(dialed[1]) == [
        ("a", "one"),
        ("b", "two"),
    ]


def test_a_wrong_password_is_told_after_three_tries_and_the_others_go_on(fab, asked, dialed):
    seen, answers = asked
    dialed[0].update(a="a-secret", b="two")
    answers += ["a-secret", "x", "y", "z"]
    code, out, err = fab(
        "-H", "root@a,root@b", "work", work=ours(lambda c: None, "work", connects_itself=False)
    )
    assert code == 1 and len(seen) == 3
    assert "root@b: password of root@b: refused 3 times" in out and rows(out)["root@a"][0] == "done"
    assert not [path for path in log.place().rglob("*.log") if "a-secret" in path.read_text()]


def test_a_closed_input_fails_the_host_that_asks(fab, asked, dialed):
    """After Ctrl-D, no answer is not an empty password."""
    dialed[0].update(a="one")
    asked[1].append(None)
    asked[1].append(None)
    code, out, _ = fab(
        "-H", "root@a,root@free", "work", work=ours(lambda c: None, "work", connects_itself=False)
    )
    assert (
        code == 1
        and "no answer to 'password of root@a'" in out
        and rows(out)["root@free"][0] == "done"
    )


def test_what_comes_up_in_the_middle_of_the_work_is_asked_by_the_main_thread(
    fab, asked, monkeypatch
):
    """Ctrl-C works there and the block is out of the way. Several hosts ask only once."""
    seen, answers = asked
    monkeypatch.setattr(Host, "open", lambda host: None)
    answers += ["secret"]
    threads, got = [], []
    prompt = console.prompt
    monkeypatch.setattr(
        console,
        "prompt",
        lambda *words: threads.append(threading.current_thread()) or prompt(*words),
    )
    together = threading.Barrier(3, timeout=5)

    def work(c):
        together.wait()
        got.append(console.hidden("passphrase of the CA"))

    assert fab("-H", THREE, "work", work=work)[0] == 0
    assert got == ["secret"] * 3 and seen == ["passphrase of the CA"]
    assert threads == [threading.main_thread()]


def test_every_new_host_key_is_asked_about_by_itself(asked):
    """Each has its own fingerprint, and agreeing to one is not agreeing to another."""
    seen, answers = asked
    answers += ["yes", "no", "yes"]
    talk = Questions()
    put_off = [
        QuestionPending(host, f"{host} shows the key SHA256:{host} …", "", False) for host in "abc"
    ]
    talk.ask(put_off)
    assert len(seen) == 3
    assert [talk.answer(later.host, later.question, "", False) for later in put_off] == [
        "yes",
        "no",
        "yes",
    ]
    with pytest.raises(QuestionPending):  # another key than the one that was agreed to
        talk.answer("a", "a shows the key SHA256:other …", "", False)


def test_a_host_that_does_not_answer_keeps_nobody_waiting(fab, asked, monkeypatch):
    """It gets little time before the work and all its time during the work."""
    given = []

    def open_(host: Host) -> None:
        given.append((host.c.host, host.c.connect_timeout))
        if host.c.host == "b":
            raise Unreachable(f"b: no answer within {host.c.connect_timeout} s")

    monkeypatch.setattr(Host, "open", open_)
    code, out, _ = fab(
        "-H", THREE, "work", work=ours(lambda c: None, "work", connects_itself=False)
    )
    assert code == 1 and "root@b: no answer within" in out and rows(out)["root@a"][0] == "done"
    assert given.index(("b", 3)) < min(n for n, (_, timeout) in enumerate(given) if timeout != 3)
    assert {timeout for _, timeout in given} == {3, 10}


def test_without_a_terminal_nobody_is_asked(fab, dialed, monkeypatch):
    """No host is dialed before the work either, because there is nothing to ask."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert fab("-H", THREE, "work", work=lambda c: None)[0] == 0
    assert dialed[1] == []


def test_many_hosts_are_counted_in_a_question():
    assert questions.several([f"h{n}" for n in range(200)]) == "h0, h1, h2 and 197 more"


def test_passwords_of_the_environment_are_there_for_every_host(fab, monkeypatch):
    """Although the first thread that reads the variable removes it."""
    from labfab.local_state import secrets

    monkeypatch.setenv("LABFAB_LOGIN_PASSWORD", "from outside")
    got = []
    fab(
        "-H",
        THREE,
        "work",
        work=lambda c: got.append(secrets.take_from_environment("login-password").reveal()),
    )
    assert got == ["from outside"] * 3 and "LABFAB_LOGIN_PASSWORD" not in os.environ


# Ctrl-C ----------------------------------------------------------------------------------------


def test_ctrl_c_ends_every_host_as_it_ends_a_single_one(fab, monkeypatch):
    """KeyboardInterrupt reaches the threads, so guards can report. Waiting hosts do not start."""
    monkeypatch.setenv("LABFAB_PARALLEL", "2")
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # ignored, where the tests were started in the background
    begun, heard, cleaned = [], [], []
    both = threading.Barrier(2, action=lambda: os.kill(os.getpid(), signal.SIGINT), timeout=5)

    def work(c):
        begun.append(c.host)
        try:
            both.wait()
            for _ in range(500):
                time.sleep(0.01)
        except KeyboardInterrupt:
            heard.append(c.host)
            console.warn("stopped: the host will revert the change by itself")
            raise
        finally:
            cleaned.append(c.host)

    try:
        code, out, err = fab(
            "-H",
            f"{THREE},root@d",
            "work",
            "after",
            work=work,
            after=lambda c: begun.append("after"),
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130
    assert len(begun) == 2 and sorted(heard) == sorted(begun) == sorted(cleaned)
    assert err.count("stopped: the host will revert the change by itself") == 2
    assert sorted(row[0] for row in rows(out).values()) == [
        "stopped",
        "stopped",
        "waiting",
        "waiting",
    ]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hosts-")]


def test_ctrl_c_at_a_question_ends_it_all(fab, dialed, monkeypatch):
    dialed[0].update(a="one")

    def prompt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(console, "prompt", prompt)
    code, out, _ = fab("-H", THREE, "work", work=lambda c: pytest.fail("it began"))
    assert code == 130 and "0 of 3 hosts done" in out


def test_ctrl_c_on_a_single_host_ends_with_the_same_code(fab):
    def work(c):
        raise KeyboardInterrupt

    assert fab("-H", "root@a", "work", work=work)[0] == 130


# The screen ------------------------------------------------------------------------------------


@pytest.fixture
def crowd(alone, monkeypatch):
    """Members in each state."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "12")

    def make(**states: str) -> list[Member]:
        made = []
        for name, state in states.items():
            member = Member(name, None)
            member.state = state
            made.append(member)
        return made

    return make


def test_the_block_has_a_line_for_each_host_and_no_line_is_too_long(crowd):
    members = crowd(one="at work", two="done", three="failed", four="waiting")
    members[0].now, members[1].changes, members[2].problem = (
        "install \x1b[2Jtmux  " + "x" * 200,
        3,
        "no answer: is it on?",
    )
    out = Terminal()
    block = Block(members, out)
    block.draw()
    first = out.getvalue()
    assert [
        line[:18].strip() for line in first.replace("\x1b[K", "").replace("\x1b[J", "").splitlines()
    ] == [
        "one    install ?[2",
        "two    done, 3 cha",
        "three  failed: no",
        "four   waiting",
        "4 hosts: 1 done, 1",
    ]
    assert max(len(line) for line in first.replace("\x1b[K", "").splitlines()) < 60
    assert "\x1b[2J" not in first
    block.warn(members[0], "careful")
    block.draw()
    assert out.getvalue()[len(first) :].startswith("\x1b[5A\r  ! [one] careful\x1b[K\none")
    block.close()
    assert out.getvalue().endswith("\x1b[5A\r\x1b[J")


def test_where_there_is_no_room_for_all_those_at_work_are_shown(crowd):
    """And the others are counted."""
    members = crowd(
        **{f"h{n:03}": "done" for n in range(150)},
        busy="at work",
        bad="failed",
        **{f"w{n}": "waiting" for n in range(48)},
    )
    shown = Block(members, Terminal()).rows()
    assert len(shown) == 11 and shown[0].startswith("busy") and shown[1].startswith("bad")
    assert shown[-1].startswith("200 hosts: 150 done, 48 waiting, 1 failed, 1 at work")


def test_elsewhere_there_is_a_sign_of_life_now_and_then(crowd, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    out = io.StringIO()
    (member,) = crowd(one="at work")
    view = View([member], out)
    member.now = "install tmux"
    for second in range(0, 46, 5):
        now[0] = float(second)
        view.sign_of_life(member)
    assert out.getvalue().count("[one] install tmux …") == 3 and "\x1b" not in out.getvalue()


def test_on_a_terminal_what_a_host_was_asked_for_is_shown_in_one_piece(fab, monkeypatch):
    """It appears above the block; at the end only it and the recap are left."""
    out = Terminal()
    monkeypatch.setattr("sys.stdout", out)
    fab("-H", THREE, "work", work=lambda c: [console.say(f"{c.host} {n}") for n in range(3)])
    said = out.getvalue()
    for name in "abc":
        assert re.search(
            rf"\[root@{name}\](\x1b\[K)?\n" + "".join(rf"{name} {n}(\x1b\[K)?\n" for n in range(3)),
            said,
        )
    assert "3 of 3 hosts done" in said.rpartition("\x1b[J")[2]


# What it costs ---------------------------------------------------------------------------------


def test_a_host_that_is_done_is_hung_up_on(fab, monkeypatch):
    """After the last task; earlier only if there are more hosts than run in parallel."""
    closed = []
    monkeypatch.setattr(Host, "close", lambda host: closed.append(host.c.host))
    count = []
    work = lambda c: Host.of(c) and count.append(len(closed))  # noqa: E731
    fab("-H", THREE, "one", "two", one=work, two=work)
    assert sorted(closed) == ["a", "b", "c"] and count[:3] == [0, 0, 0]
    closed.clear()
    monkeypatch.setenv("LABFAB_PARALLEL", "2")
    fab("-H", THREE, "one", "two", one=work, two=work)
    assert len(closed) == 6


def test_the_configuration_does_not_grow_with_the_hosts(alone):
    """Fabric's own clone() adds ~/.ssh/config to the original each time."""
    (alone / "home/.ssh").mkdir(mode=0o700, exist_ok=True)
    (alone / "home/.ssh/config").write_text("Host box\n  HostName 203.0.113.5\n  User ada\n")
    config = Config()
    size = len(config.base_ssh_config._config)
    copies = [fabric_internals.copy_for_host(config) for _ in range(5)]
    assert len(config.base_ssh_config._config) == size
    for copy in copies:
        c = Connection("box", config=copy)
        assert (c.host, c.user) == ("203.0.113.5", "ada")
    copies[0].run.dry = True
    assert not config.run.dry and not copies[1].run.dry


@pytest.mark.parametrize(
    "soft, hard, hosts, most",
    [
        (256, 4096, 200, 200),
        (256, -1, 200, 200),
        (256, 256, 200, 11),
        (256, 500, 200, 28),
        (64, 64, 5, 1),
        (-1, -1, 5, 5),
    ],
)
def test_no_more_files_are_opened_than_the_system_allows(monkeypatch, soft, hard, hosts, most):
    """The limit is raised if possible; else fewer hosts run in parallel."""
    import resource

    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "RLIM_INFINITY", -1)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.append(wanted))
    assert workers.connection_limit(hosts) == most


def test_an_interrupt_reaches_a_thread():
    """Ctrl-C reaches threads this way on every supported Python."""
    begun, heard = threading.Event(), threading.Event()

    def work():
        try:
            begun.set()
            for _ in range(500):
                time.sleep(0.01)
        except KeyboardInterrupt:
            heard.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    begun.wait(5)
    workers.interrupt(thread)
    thread.join(5)
    assert heard.is_set()
