"""What a host answers: facts, journal, JupyterLab's activity, API, jobs."""

import base64
import contextlib
import json
from functools import cached_property
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labfab import decode
from labfab.facts import reader
from labfab.facts.records import Facts
from labfab.host import journal
from labfab.laptop import api, kernel, transfer
from labfab.server import usage
from labfab.stages.lab import notebook_jobs
from labfab.text import printable

from .hostile import DATA, JSON, LINE, TEXT, attempt, blob, documents, dumped

SECTIONS = ("lab", "ssh", "accounts")
KEYS = (
    *("kernel", "machine", "boot_id", "login", "age", "listed", "pending", "sleep", "package.x"),
    *(
        "a.uid",
        "a.home",
        "a.shell",
        "a.groups",
        "a.keys.stat",
        "a.keys.text",
        "sudoers.stat",
        "sudoers.text",
    ),
    *(
        "port.x",
        "listening.x",
        "listening.22",
        "a.permitrootlogin",
        "other_ports",
        "remote_login",
        "main.stat",
    ),
    *(
        "allowed.x",
        "allowed.22",
        "version.x",
        "config.stat",
        "config.text",
        "cert.stat",
        "cert.text",
    ),
    *("vhost.1", "vhost.x", "fault", "unit.stat", "hook.stat", "plist.text", "folder_link"),
)
VALUE = LINE.map(printable) | DATA.map(lambda data: base64.b64encode(data).decode())
PARTS = sorted(name for name, one in vars(Facts).items() if isinstance(one, cached_property))


class Given(Facts):
    """The facts of a host that says this in each section."""

    def __init__(self, values):
        self.values = values

    def raw(self, section):
        return self.values


@given(st.dictionaries(st.sampled_from(KEYS) | LINE, VALUE, max_size=12))
def test_each_section_of_the_facts(values):
    for part in PARTS:
        attempt(getattr, Given(values), part)


@given(TEXT)
def test_the_facts_as_a_whole(said):
    for section, values in (attempt(reader.parse, said, SECTIONS) or {}).items():
        assert section in SECTIONS
        assert all(value == printable(value) for value in values.values())


@given(st.lists(LINE, min_size=3, max_size=3), st.integers(0, 2))
def test_a_value_changes_no_other_section(values, forged):
    """Whatever an account calls its things, all other sections say what they said."""
    before = dict(zip(SECTIONS, values, strict=True))
    after = before | {SECTIONS[forged]: "as it was"}

    def said(values):
        return attempt(
            reader.parse, "".join(f"[{s}]\nkey={v}\n" for s, v in values.items()), SECTIONS
        )

    changed = [name for name in SECTIONS if said(before)[name] != said(after)[name]]
    assert changed in ([SECTIONS[forged]], [])


@given(
    TEXT
    | st.lists(
        documents("number", "time", "stage", "why", "undo", "undone", "step").map(json.dumps)
    ).map("\n".join)
)
@example("[" * 100_000)
def test_a_garbled_journal(text):
    attempt(journal.parse, text)


@given(st.lists(st.tuples(LINE, LINE, st.lists(LINE, max_size=3)), max_size=4), TEXT)
def test_the_journal_keeps_each_entry(entries, path):
    """Each entry is read as it was written, whatever names it holds."""
    texts = [*(part for stage, why, undo in entries for part in (stage, why, *undo)), path]
    if any(not is_utf8(text) for text in texts):
        return
    written = [journal.entry(stage, why, undo, path) for stage, why, undo in entries]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in written)
    read = attempt(journal.parse, text)
    assert [(one.stage, one.why, one.undo, one.path) for one in read] == [
        (line["stage"], line["why"], line.get("undo", []), line.get("path", "")) for line in written
    ]


def is_utf8(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


ACTIVITY = st.dictionaries(
    st.sampled_from(
        (
            "kernels.1",
            "kernels.x",
            "sessions.1",
            "parent.1",
            "parent.x",
            "process.a",
            "gpu.1",
            "disk",
        )
    ),
    VALUE
    | st.lists(documents("id", "name", "execution_state", "last_activity"), max_size=3).map(blob)
    | st.just(blob([{"id": "a", "name": "x", "execution_state": "idle"}]))
    | st.sampled_from(("1 2 3", "1 2 nan", "1 2 inf", "² 1 1", "9" * 5000, "1 2 /")),
)


@given(ACTIVITY)
def test_what_computes(values):
    for one in attempt(lambda: list(usage.kernels(values))) or []:
        assert printable(one.label) == one.label
        json.dumps(one._asdict(), allow_nan=False)
    attempt(lambda: list(usage.silent(values)))


@given(LINE)
@example("0001-01-01T00:00:00+23:59")
@example("9999-12-31T23:59:59-23:59")
def test_how_long_a_kernel_is_idle(last):
    assert attempt(usage.idle, last) >= 0


@given(DATA | JSON.map(dumped))
@example(b"[" * 60_000)
def test_the_version_of_a_server(answer):
    """The answer of whatever listens there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "ask", lambda *_: (200, answer))
        version = attempt(api.answers, "http://127.0.0.1:1/")
    assert version is None or version == printable(version)


@given(DATA | st.lists(documents("id", "name"), max_size=3).map(dumped))
@example(b"[" * 60_000)
def test_records(data):
    """Only ValueError, as it says."""
    with contextlib.suppress(ValueError):
        attempt(decode.records, data, usage.KernelAnswer)


JOB = documents(
    *(
        "job",
        "state",
        "notebook",
        "error",
        "cell",
        "cells",
        "started",
        "submitted",
        "ended",
        "boot",
        "pid",
    )
)


@given(
    DATA
    | documents("jobs", "now", "state", "notebook").map(dumped)
    | st.lists(JOB).map(lambda jobs: dumped({"jobs": jobs, "now": 1}))
)
@example(b"[" * 60_000)
def test_the_list_of_jobs(data):
    answer = attempt(notebook_jobs.parsed, data.decode(errors="replace"), "box") or {"jobs": []}
    for state in answer["jobs"]:
        job = attempt(notebook_jobs.checked, state, "box")
        if job:
            line = notebook_jobs.row(job, answer["now"])
            assert line == printable(line) and "\n" not in line
            notebook_jobs.as_json("box", [job])


@given(DATA | documents("state", "notebook").map(dumped))
def test_a_fetched_notebook(data):
    answer = attempt(notebook_jobs.parsed, data.decode(errors="replace"), "box")
    if answer:
        attempt(notebook_jobs.unzipped, answer.get("notebook"), "box")


MESSAGE = documents("parent_header", "channel", "msg_type", "content")


class Channel:
    """A websocket with these messages, the last of them the kernel's own end."""

    def __init__(self, messages):
        self.messages = messages

    def send(self, text):
        self.request = json.loads(text)["header"]["msg_id"]

    def recv(self):
        end = {"msg_type": "status", "content": {"execution_state": "idle"}, "channel": "iopub"}
        end["parent_header"] = {"msg_id": self.request}
        return self.messages.pop(0) if self.messages else dumped(end)

    def close(self):
        pass


@given(st.lists(DATA | MESSAGE.map(dumped), max_size=3))
@example([b"[" * 60_000])
def test_what_a_kernel_says(messages):
    client = SimpleNamespace(base_url="http://127.0.0.1:1/")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "connect", lambda *_, **__: Channel(messages))
        attempt(kernel.run_cell, client, "id", "1")


@given(DATA | documents("id").map(dumped))
def test_the_id_of_a_kernel(content):
    answer = SimpleNamespace(content=content)
    found = attempt(kernel.read_id, answer, SimpleNamespace(base_url="http://127.0.0.1:1/"))
    assert found is None or found.replace("-", "x").isalnum() or "_" in found


RSYNC = st.sampled_from(
    (">f+++++++++ 5 ", "*deleting   ", "cL+++++++++ 0 ", ".d..t...... 4096 ", "x")
)


@given(st.lists(st.tuples(RSYNC, LINE), max_size=5))
def test_what_rsync_lists(lines):
    """A name is one file, whatever it holds: it can neither add a line nor hide one."""
    found = attempt(transfer.parse, "".join(f"{head}{name}\n" for head, name in lines))
    for head, names in ((">f", found.new), ("*d", found.deleted)):
        assert len(names) <= len([1 for start, _ in lines if start.startswith(("cL", head))])


@given(TEXT)
def test_printable(text):
    once = printable(text)
    assert printable(once) == once and len(once) == len(text)
    assert not any(char in once for char in "\x1b\x9b\x07\r\0\x85\u2028\x7f")
