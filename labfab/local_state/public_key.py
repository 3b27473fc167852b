"""Public keys: lines fit for authorized_keys, checked before a host ever sees them.

sshd passes over a line that it cannot read without a word, so a garbled key would only be noticed at the next
login. Whatever is given is therefore parsed here, with options and comment kept as they are.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path

from ..errors import SetupError

TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
LARGEST = 64 * 1024  # bytes; a key with its comment is below 1,000
# sshd(8), "AUTHORIZED_KEYS FILE FORMAT"; cert-authority and principals belong to no plain key.
OPTION = (
    r"(?:(?:no-)?(?:agent-forwarding|port-forwarding|pty|user-rc|x11-forwarding|touch-required)"
    r"|restrict|verify-required"
    r'|(?:command|environment|expiry-time|from|permitlisten|permitopen|tunnel)="(?:[^"\\]|\\"|\\(?!"))*")'
)
LINE = (
    rf"(?i)(?:(?P<options>{OPTION}(?:,{OPTION})*)[ \t]+)?"
    r"(?P<type>(?:ssh|ecdsa|sk)-[\w.@-]+)[ \t]+(?P<blob>[A-Za-z0-9+/]+=*)(?:[ \t].*)?"
)
LITERAL = r"(?i)-----BEGIN|\n|(^|[ \t])(ssh|ecdsa|sk)-[\w.@-]+[ \t]"


def read_publics(value: str) -> list[str]:
    """Return the checked lines of a public key file, or of a key given in full."""
    value = value.strip()
    if not value:
        raise SetupError("no public key is given: name a file that ends in .pub")
    if re.search(LITERAL, value):
        return parse(value, "the public key given")
    path = Path(value).expanduser()
    return parse(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Read a small text file; refuse what cannot be a public key."""
    try:
        if path.is_dir():
            raise SetupError(f"{path} is a folder: name the .pub file in it")
        if not path.exists():
            raise SetupError(
                f"there is no public key file {path}: correct the path, or type fab keys.generate"
            )
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise SetupError(f"{path} is no public key: name a file that ends in .pub")
        data = path.read_bytes()
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}") from None
    if b"\0" in data:
        raise SetupError(f"{path} is no text, so no public key: name a file that ends in .pub")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")  # an old comment; the key itself is ASCII


def parse(text: str, source: str) -> list[str]:
    """Check every line of a text; comments and blank lines are dropped."""
    if "PRIVATE KEY" in text or text.startswith("PuTTY-User-Key-File"):
        raise SetupError(
            f"{source}: that is the private half, which never leaves this machine: name {public_name(source)}"
        )
    if "BEGIN" in text and "PUBLIC KEY" in text:
        raise SetupError(
            f"{source} is not in OpenSSH's format: turn it with ssh-keygen -i -f FILE > NEW.pub"
        )
    lines = [(number, line.strip()) for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1)]
    keys = [
        check(line, f"{source}, line {number}") for number, line in lines if line and line[0] != "#"
    ]
    if not keys:
        raise SetupError(f"{source} holds no public key: name a file that ends in .pub")
    return list(dict.fromkeys(keys))


def public_name(source: str) -> str:
    """Guess the public half of a private key."""
    return f"{source}.pub" if "/" in source or "\\" in source else "the file that ends in .pub"


def check(line: str, place: str) -> str:
    """Return one line unchanged when sshd would accept it."""
    found = re.fullmatch(LINE, line)
    if not found or re.search(r"[\0-\x08\x0a-\x1f\x7f]", line):
        raise SetupError(
            f"{place}: this is no public key, or one with unknown options: copy the whole line again"
        )
    kind = found["type"]
    if "-cert-v0" in kind:
        raise SetupError(
            f"{place}: that is a certificate, which goes into no authorized_keys: name the plain .pub file"
        )
    if kind not in TYPES:
        raise SetupError(
            f"{place}: hosts take no {kind} keys any more: make a new pair with fab keys.generate"
        )
    if not is_whole(kind, found["blob"]):
        raise SetupError(
            f"{place}: the {kind} key is damaged or cut off: copy the whole line again"
        )
    return line


def is_whole(kind: str, blob: str) -> bool:
    """Tell whether the binary part is a key of that type."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    try:
        base64.b64decode(blob, validate=True)
        load_ssh_public_key(f"{kind} {blob}".encode())
    except (ValueError, UnsupportedAlgorithm, binascii.Error):
        return False
    return True
