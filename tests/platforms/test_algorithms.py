"""Which algorithms are weak, and reading what a server offers without believing it."""

import socket
import struct
import threading

import pytest

from labfab.platforms import algorithms

# What Debian 12 offers, as sshd -T says it.
DEBIAN_12 = {
    "KexAlgorithms": "sntrup761x25519-sha512,sntrup761x25519-sha512@openssh.com,curve25519-sha256,"
    "curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,"
    "diffie-hellman-group-exchange-sha256,diffie-hellman-group16-sha512,"
    "diffie-hellman-group18-sha512,diffie-hellman-group14-sha256",
    "HostKeyAlgorithms": "rsa-sha2-512,rsa-sha2-256,ecdsa-sha2-nistp256,ssh-ed25519",
    "Ciphers": "chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,"
    "aes128-gcm@openssh.com,aes256-gcm@openssh.com",
    "MACs": "umac-64-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-256-etm@openssh.com,"
    "hmac-sha2-512-etm@openssh.com,hmac-sha1-etm@openssh.com,umac-64@openssh.com,"
    "umac-128@openssh.com,hmac-sha2-256,hmac-sha2-512,hmac-sha1",
}
LISTS = {option: names.split(",") for option, names in DEBIAN_12.items()}


def test_what_is_left_of_debian_12():
    """Two exchanges that resist quantum computers, curve25519 and the large groups stay."""
    left = {
        option: [name for name in names if name not in algorithms.weak(option, names)]
        for option, names in LISTS.items()
    }
    assert left == {
        "KexAlgorithms": [
            "sntrup761x25519-sha512",
            "sntrup761x25519-sha512@openssh.com",
            "curve25519-sha256",
            "curve25519-sha256@libssh.org",
            "diffie-hellman-group-exchange-sha256",
            "diffie-hellman-group16-sha512",
            "diffie-hellman-group18-sha512",
        ],
        "HostKeyAlgorithms": ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"],
        "Ciphers": LISTS["Ciphers"],
        "MACs": [
            "umac-128-etm@openssh.com",
            "hmac-sha2-256-etm@openssh.com",
            "hmac-sha2-512-etm@openssh.com",
        ],
    }


def test_only_patterns_that_fit_are_named():
    """So nobody reads of what this sshd never offered."""
    assert algorithms.patterns("MACs", ["hmac-sha1", "hmac-sha1-etm@openssh.com"]) == ["hmac-sha1*"]
    assert algorithms.patterns("Ciphers", LISTS["Ciphers"]) == []


def test_group1_is_not_group16():
    kept = ["diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512"]
    assert algorithms.weak("KexAlgorithms", kept) == []
    assert algorithms.weak("KexAlgorithms", ["diffie-hellman-group1-sha1"])


@pytest.mark.parametrize(
    ("ours", "lacking"),
    [
        (LISTS, ""),
        ({}, ""),
        (LISTS | {"KexAlgorithms": ["diffie-hellman-group14-sha1"]}, "KexAlgorithms"),
        (LISTS | {"MACs": ["hmac-sha1"], "Ciphers": ["aes256-ctr"]}, "MACs"),
        # AES-GCM needs no MAC.
        (LISTS | {"MACs": ["hmac-sha1"], "Ciphers": ["aes256-gcm@openssh.com"]}, ""),
        (LISTS | {"HostKeyAlgorithms": ["ssh-rsa"]}, "HostKeyAlgorithms"),
    ],
)
def test_whether_a_client_can_still_talk(ours, lacking):
    theirs = {
        option: [name for name in names if name not in algorithms.weak(option, names)]
        for option, names in LISTS.items()
    }
    assert algorithms.common(ours, theirs) == lacking


def packet(payload: bytes) -> bytes:
    padding = 8 - (len(payload) + 5) % 8 + 4
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


def kexinit(**lists: str) -> bytes:
    names = [lists.get(name, "") for name in ("kex", "key", "enc", "enc", "mac", "mac")] + [""] * 4
    fields = b"".join(struct.pack(">I", len(name)) + name.encode() for name in names)
    return packet(bytes([20]) + bytes(16) + fields + bytes(5))


def answers(text: bytes) -> dict[str, list[str]]:
    """Let a server send this and end the connection, and read it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        sender = threading.Thread(
            target=lambda: (theirs.sendall(text), theirs.shutdown(socket.SHUT_WR))
        )
        sender.start()
        try:
            return algorithms.offered(ours)
        finally:
            ours.close()
            sender.join(5)


def test_what_a_server_offers_is_read():
    """Lines before the version are allowed, and both directions count."""
    hello = b"welcome\r\nSSH-2.0-OpenSSH_9.2p1\r\n"
    found = answers(hello + kexinit(kex="a,b", key="ssh-ed25519", enc="c", mac="d,hmac-sha1"))
    assert found == {
        "KexAlgorithms": ["a", "b"],
        "HostKeyAlgorithms": ["ssh-ed25519"],
        "Ciphers": ["c"],
        "MACs": ["d", "hmac-sha1"],
    }


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 400 Bad Request\r\n" * 30,
        b"x" * 5000,
        b"SSH-2.0-x\r\n" + struct.pack(">I", 0xFFFFFFFF) + b"x" * 100,
        b"SSH-2.0-x\r\n" + struct.pack(">I", 0),
        b"SSH-2.0-x\r\n" + packet(bytes([1]) + bytes(30)),
    ],
)
def test_a_server_that_lies_ends_in_one_line(text):
    """Nothing endless is read, and nothing that is no list of algorithms is believed."""
    with pytest.raises(ValueError):
        answers(text)


def test_a_list_that_claims_to_be_longer_than_its_packet_is_cut():
    cut = packet(bytes([20]) + bytes(16) + struct.pack(">I", 2**31) + b"hmac-sha1,a")
    assert answers(b"SSH-2.0-x\r\n" + cut)["KexAlgorithms"][0] == "hmac-sha1"


def test_a_server_that_hangs_up_is_not_believed():
    with pytest.raises(EOFError):
        answers(b"SSH-2.0-x\r\n")
