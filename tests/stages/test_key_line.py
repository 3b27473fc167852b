"""What a line of authorized_keys allows: options, time, forced commands."""

import subprocess

import pytest

from labfab.stages.keys import key_line

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIexample"
SORRY = 'no-port-forwarding,command="echo \'Please login as the user \\"ubuntu\\"\';sleep 10" '


@pytest.mark.parametrize(
    "options, why",
    [
        ("", ""),
        ('from="203.0.113.0/24",no-pty ', ""),
        ('environment="A=command=x y" ', ""),
        ('command="/usr/bin/true" ', "it may only run /usr/bin/true"),
        ('restrict,Command="a \\"b\\", c" ', 'it may only run a "b", c'),
        ("cert-authority ", "it signs certificates (cert-authority)"),
        ('expiry-time="20200101" ', "it has expired (expiry-time 20200101)"),
        ('expiry-time="202001010000Z" ', "it has expired (expiry-time 202001010000Z)"),
        ('expiry-time="29991231" ', ""),
    ],
)
def test_what_keeps_a_key_from_being_carried_over(options, why):
    line = key_line.parse(f"{options}{KEY} command=me@nas")
    assert line.obstacle(frozenset()) == why and line.who == "command=me@nas"
    assert line.text == f"{options}{KEY} command=me@nas" and not line.refuses


def test_a_revoked_key_is_none():
    line = key_line.parse(KEY)
    assert "revoked" in line.obstacle(frozenset({line.blob})) and line.who.startswith("the key …")


def test_the_line_of_cloud_images_only_refuses():
    assert key_line.parse(f"{SORRY}{KEY} ubuntu").refuses
    assert not key_line.parse(f'command="/bin/sh # echo Please login as x" {KEY}').refuses


@pytest.mark.parametrize("text", ["", "# ssh-ed25519 AAAAx", "nothing", 'command="x ssh-rsa AAAAx'])
def test_what_is_no_key(text):
    assert key_line.parse(text) is None


def test_a_key_is_described_in_one_harmless_line():
    key = "AAAAC3NzaC1lZDI1NTE5AAAAIGH9PWcjXwBkYvbsqoGAp8pBCQTyuHcoVHEuUBzVu9kX"
    line = key_line.parse(f'from="10.0.0.1",no-pty ssh-ed25519 {key} me\u2028\x07 here')
    assert line.described("/root/x").startswith("me?? here, from /root/x (SHA256:")
    assert line.described("/root/x").endswith('; from="10.0.0.1",no-pty)')
    assert line.fingerprint == f"SHA256:{keygen(line.text)}"
    assert key_line.parse("ssh-ed25519 AAAA… x").described("here") == "x, from here"


def keygen(line: str) -> str:
    """Return what ssh-keygen says of a key."""
    said = subprocess.run(
        ["ssh-keygen", "-lf", "-"], input=line, capture_output=True, text=True, check=True
    )
    return said.stdout.split()[1].removeprefix("SHA256:")
