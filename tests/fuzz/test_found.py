"""What fuzzing has found, as plain cases: each of these was a traceback, a hang or a lie."""

import json
import re
import ssl

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from labfab import decode
from labfab.certificates import certificate
from labfab.check.findings import UNCHECKED
from labfab.check.inspection import answer
from labfab.check.rows import Check
from labfab.errors import SetupError
from labfab.facts.records import Facts
from labfab.host import journal
from labfab.laptop import api, archive, notebooks, transfer
from labfab.local_state import alias_block, files, keypair, known_hosts, public_key
from labfab.server import usage
from labfab.settings import checked
from labfab.setup import history
from labfab.stages.backup import restoring
from labfab.stages.lab import notebook_jobs
from tests import made_certificates

from .hostile import blob, limited

DEEP = "[" * 100_000


@pytest.mark.parametrize("odd", ["\x85", "\u2028", "\x0b", "\x1c"])
def test_a_name_with_an_odd_line_end_stays_in_the_journal(odd):
    """The change was read as two halves of a line, skipped, and never undone."""
    line = journal.entry("files", f"push a{odd}b", ("remove %s", f"a{odd}b"))
    (read,) = journal.parse(json.dumps(line, ensure_ascii=False) + "\n")
    assert read.undo == ["remove %s", f"a{odd}b"]


@pytest.mark.parametrize(
    "line", ['{"number": 1}', '{"number": []}', '{"number": "1", "time": "x"}']
)
def test_a_line_of_the_journal_that_is_no_entry(line):
    with pytest.raises(SetupError, match=r"has a line that is no entry"):
        journal.parse(line)


def test_a_time_that_no_clock_shows():
    assert history.clock(2**62) == "no time"


def test_json_without_end():
    with pytest.raises(ValueError, match="nested too deeply"):
        decode.parsed(DEEP)
    with pytest.raises(ValueError, match="nested too deeply"):
        decode.records(b'[{"a": ' * 100_000, usage.KernelAnswer)
    assert journal.parse(DEEP) == []


def test_an_answer_without_end(monkeypatch):
    monkeypatch.setattr(api, "ask", lambda *_: (200, DEEP.encode()))
    assert api.answers("http://127.0.0.1:1/") is None


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("system", {}),
        ("accounts", {"x.uid": "one"}),
        ("ssh", {"listening.x": "sshd"}),
        ("firewall", {"allowed.22": "allow 22 comment=xyz"}),
        ("jupyter", {"config.stat": "600"}),
        ("jupyter", {"config.stat": "rw lab"}),
        ("https", {"cert.stat": "600 lab", "cert.text": "x"}),
        ("proxy", {"vhost.1": "one field"}),
    ],
)
def test_facts_that_make_no_sense(section, values):
    class Said(Facts):
        def raw(self, section):
            return values

    with pytest.raises(SetupError, match=f"the host's answer about {section} cannot be read"):
        getattr(Said(None), section)


def test_activity_that_makes_no_sense():
    kernel = [{"id": "a", "name": "x", "execution_state": "idle"}]
    values = {"kernels.1": blob(kernel), "process.a": "1 2 nan", "gpu.1": "x"}
    (found,) = usage.kernels(values)
    assert found.cpu_percent is None and found.gpu_bytes is None
    assert list(usage.silent({"kernels.x": blob({}), "parent.x": "yes"})) == []


@pytest.mark.parametrize(
    "said",
    [
        "",
        "3",
        DEEP,
        '{"jobs": [], "now": 1e999}',
        '{"jobs": 3}',
        '{"jobs": [{}]}',
        '{"jobs": [], "now": "x"}',
    ],
)
def test_jobs_that_are_none(said):
    """What an account's own jobs.py prints."""
    with pytest.raises(SetupError, match="job runner"):
        for state in notebook_jobs.parsed(said, "box")["jobs"]:
            notebook_jobs.checked(state, "box")


def test_a_row_whose_answer_cannot_be_read():
    def ask(probe):
        raise ValueError("could not convert string to float: 'x'")

    row = answer(None, Check("host-x", "x", "", (), ask), {})
    assert row.state == UNCHECKED and "the answer to it cannot be read" in row.detail


def test_many_asterisks_in_known_hosts():
    """Each one made the search longer by a power."""
    with limited():
        assert not known_hosts.matches("*a" * 40 + "b", "a" * 80)
        assert known_hosts.matches("[*].example.org,!x", "[y].example.org")


def test_digits_that_int_does_not_know():
    assert alias_block.parse("a", "    Port ²\n").port == 22
    assert alias_block.canonical("root@192.0.2.1:²") == ""


def test_the_home_of_nobody():
    for call in (
        lambda: public_key.read_publics("~no-such-account/id.pub"),
        lambda: keypair.ensure("~no-such-account/id"),
        lambda: archive.find("~no-such-account/x", "homelab"),
        lambda: files.expanded("~no-such-account"),
    ):
        with pytest.raises(SetupError, match="~no-such-account is the home of no account here"):
            call()


def test_a_private_key_that_is_no_base64(home):
    path = home / "id"
    path.write_bytes(b"-----BEGIN OPENSSH PRIVATE KEY-----\nA\n-----END OPENSSH PRIVATE KEY-----")
    for call in (lambda: keypair.is_encrypted(path), lambda: keypair.opens(path, "x")):
        with pytest.raises(SetupError, match="is damaged"):
            call()


def test_a_notebook_nested_without_end(home):
    (home / "x.ipynb").write_text(DEEP)
    with pytest.raises(SetupError, match="is not a notebook"):
        notebooks.load(home / "x.ipynb")


def test_a_long_name_of_the_hosts_choice(home):
    place = notebooks.save("homelab", home, "a" * 5000 + ".ipynb", b"{}", force=False)
    assert place.read_bytes() == b"{}" and len(place.name) < 255


@pytest.mark.parametrize("entries", ['{"a": 1}', "[]", "3"])
def test_a_manifest_with_other_things_in_it(home, entries):
    manifest = {"entries": json.loads(entries)}
    manifest["seal"] = archive.manifest_digest(manifest)
    (home / archive.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(SetupError, match="the backup is damaged"):
        archive.read(home)
    assert archive.summary(home)["whole"] is False


def test_a_backup_of_a_long_name(home):
    with pytest.raises(SetupError, match="there is no backup"):
        archive.find("a" * 5000, "homelab")


@pytest.mark.parametrize("text", ["", DEEP, "[]", '{"ServerApp": 3}'])
def test_a_configuration_in_a_backup_that_is_none(home, text):
    (home / "jupyter").mkdir()
    (home / "jupyter" / restoring.CONFIG).write_text(text)
    with pytest.raises(SetupError, match="is not a configuration of Jupyter"):
        restoring.config_of(home)


@pytest.mark.parametrize("odd", ["\x85", "\u2028", "\x0b"])
def test_a_file_name_adds_no_line_to_what_rsync_lists(odd):
    """A host could name a file so that another one seemed to be deleted, or did not."""
    found = transfer.parse(f">f+++++++++ 5 a{odd}*deleting   keep\n")
    assert (found.new, found.deleted) == ((f"a{odd}*deleting   keep",), ())


def test_a_setting_that_is_no_text():
    with pytest.raises(SetupError, match="here: sudo cannot be"):
        checked({"sudo": "\udc80"}, "here")


@pytest.mark.parametrize("offset", [0, 1])
def test_a_certificate_with_a_garbled_name(offset):
    """Its names are decoded only when they are asked for."""
    whole = made_certificates.issue("lab", ("example.org",)).certificate.public_bytes(Encoding.DER)
    at = [found.start() for found in re.finditer(rb"\x0c\x03lab", whole)][offset]
    garbled = whole[:at] + b"\x00" + whole[at + 1 :]
    assert certificate.read(ssl.DER_cert_to_PEM_cert(garbled)) is None


def test_a_certificate_with_a_key_of_an_unknown_kind():
    ca = made_certificates.issue("ca")
    der, kind = ca.certificate.public_bytes(Encoding.DER), bytes.fromhex("06072a8648ce3d0201")
    odd = ssl.DER_cert_to_PEM_cert(der.replace(kind, kind[:-1] + b"\x63"))
    leaf = made_certificates.issue("lab", ("example.org",), by=ca)
    assert not certificate.signed_by(leaf.pem, odd)
