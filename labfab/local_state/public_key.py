"""Public key: checks lines for authorized_keys before they reach a host.

sshd silently ignores a line that it cannot parse, so a garbled key would go unnoticed until the
next login. Each key is therefore parsed here; its options and comment stay as they are.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path

from ..errors import SetupError
from . import files

TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
# Bytes of a key file. A key with its comment has fewer than 1,000.
LARGEST = 64 * 1024
# sshd(8), "AUTHORIZED_KEYS FILE FORMAT". Plain keys have neither cert-authority nor principals.
OPTION = (
    r"(?:(?:no-)?(?:agent-forwarding|port-forwarding|pty|user-rc|x11-forwarding|touch-required)"
    r"|restrict|verify-required"
    r"|(?:command|environment|expiry-time|from|permitlisten|permitopen|tunnel)"
    r'="(?:[^"\\]|\\"|\\(?!"))*")'
)
LINE = (
    rf"(?i)(?:(?P<options>{OPTION}(?:,{OPTION})*)[ \t]+)?"
    r"(?P<type>(?:ssh|ecdsa|sk)-[\w.@-]+)[ \t]+(?P<blob>[A-Za-z0-9+/]+=*)(?:[ \t].*)?"
)
LITERAL = r"(?i)-----BEGIN|\n|(^|[ \t])(ssh|ecdsa|sk)-[\w.@-]+[ \t]"


def read_publics(value: str) -> list[str]:
    """Return the checked lines of a public key. value: its file, or the key itself."""
    value = value.strip()
    if not value:
        raise SetupError("no public key is given: name a file that ends in .pub")
    if re.search(LITERAL, value):
        return parse(value, "the public key given")
    path = files.expanded(value)
    return parse(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Return the text of a small file. Raises SetupError if it cannot be a public key."""
    try:
        if path.is_dir():
            raise SetupError(f"{path} is a folder: name the .pub file in it")
        if not path.exists():
            raise SetupError(
                f"there is no public key file {path}: correct the path, or run fab keys.generate"
            )
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise SetupError(f"{path} is not a public key: name a file that ends in .pub")
        data = path.read_bytes()
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}") from None
    if b"\0" in data:
        raise SetupError(
            f"{path} is not text, so it is not a public key: name a file that ends in .pub"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # The key itself is ASCII, so only an old comment can be the cause.
        return data.decode("latin-1")


def parse(text: str, source: str) -> list[str]:
    """Return the checked lines of a text, without comments, blank lines and duplicates."""
    if "PRIVATE KEY" in text or text.startswith("PuTTY-User-Key-File"):
        raise SetupError(
            f"{source}: that is the private half, which never leaves this machine: "
            f"name {public_name(source)}"
        )
    if "BEGIN" in text and "PUBLIC KEY" in text:
        raise SetupError(
            f"{source} is not in OpenSSH's format: convert it with ssh-keygen -i -f FILE > NEW.pub"
        )
    lines = [(number, line.strip()) for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1)]
    keys = [
        check(line, f"{source}, line {number}") for number, line in lines if line and line[0] != "#"
    ]
    if not keys:
        raise SetupError(f"{source} holds no public key: name a file that ends in .pub")
    return list(dict.fromkeys(keys))


def public_name(source: str) -> str:
    """Return the probable file of the public half."""
    return f"{source}.pub" if "/" in source or "\\" in source else "the file that ends in .pub"


def check(line: str, place: str) -> str:
    """Return a line unchanged if sshd would accept it. Raises SetupError if not."""
    found = re.fullmatch(LINE, line)
    if not found or re.search(r"[\0-\x08\x0a-\x1f\x7f]", line):
        raise SetupError(
            f"{place}: this is not a public key, or one with unknown options: "
            "copy the whole line again"
        )
    kind = found["type"]
    if "-cert-v0" in kind:
        raise SetupError(
            f"{place}: that is a certificate, which does not belong in authorized_keys: "
            "name the plain .pub file"
        )
    if kind not in TYPES:
        raise SetupError(
            f"{place}: hosts no longer accept {kind} keys: create a new pair with fab keys.generate"
        )
    if not is_whole(kind, found["blob"]):
        raise SetupError(
            f"{place}: the {kind} key is damaged or cut off: copy the whole line again"
        )
    return line


def is_whole(kind: str, blob: str) -> bool:
    """Return whether the base64 part of a key decodes to a key of that type."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    try:
        base64.b64decode(blob, validate=True)
        load_ssh_public_key(f"{kind} {blob}".encode())
    except (ValueError, UnsupportedAlgorithm, binascii.Error):
        return False
    return True
