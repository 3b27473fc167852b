"""Files of the laptop that others may have written: ssh's own, keys, notebooks, backups."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labfab.errors import SetupError
from labfab.laptop import archive, notebooks
from labfab.local_state import alias_block, known_hosts, private_key, public_key, ssh_config
from labfab.local_state.alias_block import Alias
from labfab.stages.keys import authorized_keys

from .hostile import DATA, LINE, TEXT, attempt, documents, dumped

ED25519 = "AAAAC3NzaC1lZDI1NTE5AAAAIJ8Nlq5tCSqFUrPnVnFbcJfWJ6Vb0LHKTxsFLWZ8gNVg"
BLOB = st.sampled_from((ED25519, ED25519[:-4], "AAAA", "")) | LINE
KNOWN = st.tuples(
    st.sampled_from(("192.0.2.1", "*", "|1|x|y", "@revoked", "[192.0.2.1]:22")) | LINE, LINE, BLOB
)
ALIAS = st.builds(
    Alias,
    name=st.sampled_from(("homelab", "a", "b.c")) | LINE,
    hostname=st.sampled_from(("192.0.2.1", "example.org", "2001:db8::1")) | LINE,
    user=st.sampled_from(("root", "lab")) | LINE,
    port=st.integers(-1, 70_000),
    identity=st.sampled_from(("", "~/.ssh/id", "/a b/id")) | LINE,
    former_logins=st.just("") | LINE,
    proxy_jump=st.just("") | LINE,
    proxy_command=st.sampled_from(("", 'nc "a b" %h %p')) | LINE,
    options=st.just(()) | st.tuples(st.tuples(st.just("HostKeyAlias"), LINE)),
)


@pytest.fixture
def path(home):
    return home / "file"


@given(
    data=DATA
    | st.lists(KNOWN.map(" ".join)).map("\n".join).map(lambda text: text.encode(errors="replace"))
)
@example(data=b"*a" * 200 + b"b ssh-ed25519 AAAA\n")
def test_known_hosts(path, data):
    """Any file is read; forget() takes only our own lines of that host."""
    path.write_bytes(data)
    attempt(known_hosts.pinned, path, "a" * 200, 22)
    attempt(known_hosts.pinned, path, "192.0.2.1", 22)
    attempt(known_hosts.forget, path, "192.0.2.1", 22)
    kept = path.read_bytes().splitlines(keepends=True)
    for line in data.splitlines(keepends=True):
        assert line in kept or line.rstrip().endswith(b"labfab")


@given(data=DATA)
def test_pin_keeps_each_other_byte(path, data):
    path.write_bytes(data)
    key = known_hosts.key_of("ssh-ed25519", ED25519)
    if attempt(known_hosts.pin, path, "192.0.2.1", 2222, key):
        assert path.read_bytes().startswith(data)
        assert key in known_hosts.pinned(path, "192.0.2.1", 2222)


@given(kind=LINE, blob=BLOB)
def test_a_host_key(kind, blob):
    attempt(known_hosts.key_of, kind, blob)
    attempt(known_hosts.key_of, "ssh-ed25519", blob)


@given(
    data=DATA
    | st.lists(st.tuples(ALIAS, TEXT))
    .map(lambda pairs: "".join(alias_block.render(a, "\n") + t for a, t in pairs))
    .map(lambda text: text.encode(errors="replace")),
    alias=ALIAS,
)
def test_ssh_config(path, data, alias):
    """Whatever the file holds: an alias goes in, all else stays byte by byte, and remove() restores it."""
    path.write_bytes(data)
    wrote = attempt(ssh_config.write, path, alias)
    if not wrote:
        assert path.read_bytes() == data
        return
    found = {one.name: one for one in ssh_config.read(path)}[alias.name]
    assert found._replace(former_logins="") == alias._replace(former_logins="")
    without = ssh_config.cut(data, path, alias.name)
    assert attempt(ssh_config.remove, path, alias.name)
    assert path.read_bytes() == without


@given(alias=ALIAS)
def test_an_alias_reads_as_it_was_written(alias):
    """Nothing that a name holds becomes an option of another host, or of all."""
    try:
        alias_block.check(alias)
    except SetupError:
        return
    text = alias_block.render(alias, "\n")
    assert alias_block.parse(alias.name, text)._replace(former_logins="") == alias._replace(
        former_logins=""
    )
    options = [line for line in text.split("\n") if line and line[0] not in "# "]
    names = dict.fromkeys([alias.name, alias.admin_name])
    assert options == [*(f"Host {name}" for name in names), "Host *"]


@given(
    value=TEXT
    | LINE.map(lambda comment: f"ssh-ed25519 {ED25519} {comment}")
    | LINE.map(lambda options: f"{options} ssh-ed25519 {ED25519}")
)
@example(value="~nobody-at-all/id.pub")
@example(value='command="' + '\\"' * 30_000 + " ssh-ed25519 AAAA")
@example(value="no-pty," * 9_000 + " ssh-ed25519 AAAA")
def test_public_keys(value):
    """What passes is one line of sshd's, with the key in it, and passes again."""
    for line in attempt(public_key.read_publics, value) or ():
        assert not re.search(r"[\0-\x08\x0a-\x1f\x7f]", line)
        assert authorized_keys.key_of(line) and line in value
        assert public_key.read_publics(line) == [line]


@given(data=DATA)
def test_key_files(path, data):
    for text in (
        data,
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n%b\n-----END" % data,
        b"PRIVATE KEY-----" + data,
    ):
        path.write_bytes(text)
        attempt(public_key.read_publics, str(path))
        attempt(private_key.derive, path)
        attempt(private_key.is_encrypted, path)
        attempt(private_key.opens, path, "x")


@given(line=LINE)
def test_the_key_of_a_line(line):
    """A comment never counts as a key, and options never hide one."""
    assert authorized_keys.key_of(f"#{line}") == ""
    assert authorized_keys.key_of(f"ssh-ed25519 {ED25519} {line}") == ED25519


@given(data=DATA | documents("nbformat", "cells", "metadata").map(dumped))
@example(data=b"[" * 100_000)
@example(data=b'{"nbformat": 4, "cells": [{"outputs": %b}]}' % (b"[" * 900 + b"]" * 900))
def test_a_notebook_to_submit(path, data):
    path.write_bytes(data)
    text = attempt(notebooks.load, path)
    assert text is None or isinstance(json.loads(text)["nbformat"], int)


@given(name=LINE, data=DATA)
@example(name="a" * 5000, data=b"")
@example(name="..", data=b"")
def test_a_notebook_that_is_fetched(home, name, data):
    """The name of the host's choice stays in its folder, and on one line."""
    folder = home / "here"
    assert notebooks.place(folder, name).parent == folder
    place = attempt(notebooks.save, "homelab", folder, name, data, True)
    if place:
        assert place.read_bytes() == data and place.name.isprintable()
        assert {path.parent for path in home.rglob("*.executed.ipynb")} == {folder}


@given(note=DATA | documents("x").map(dumped))
def test_the_note_of_what_was_fetched(path, note):
    path.write_bytes(note)
    assert isinstance(attempt(notebooks.remembered, path), dict)


@given(
    manifest=DATA | documents("version", "made", "entries", "seal", "host").map(dumped),
    sealed=st.booleans(),
)
@example(manifest=b"[" * 100_000, sealed=False)
@example(manifest=b'{"entries": {"a": 1}}', sealed=True)
@example(manifest=b'{"entries": []}', sealed=True)
def test_a_backup(home, manifest, sealed):
    """A manifest of anybody's making, also one whose seal is right."""
    folder = home / "labfab-backups" / "homelab" / "2026-01-01T000000"
    folder.mkdir(parents=True, exist_ok=True)
    if sealed:
        manifest = with_seal(manifest)
    (folder / archive.MANIFEST).write_bytes(manifest)
    attempt(archive.read, folder)
    attempt(archive.verify, folder)
    json.dumps(attempt(archive.summary, folder))


def with_seal(manifest: bytes) -> bytes:
    try:
        values = json.loads(manifest)
    except (ValueError, RecursionError):
        return manifest
    return (
        dumped({**values, "seal": archive.manifest_digest(values)})
        if isinstance(values, dict)
        else manifest
    )


@given(name=TEXT)
@example(name="~nobody-at-all")
@example(name="\0")
def test_the_name_of_a_backup(home, name):
    found = attempt(archive.find, name, "homelab")
    assert found is None or isinstance(found, Path)
