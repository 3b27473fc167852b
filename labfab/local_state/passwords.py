"""Passwords: generates and hashes them on your own machine. Only hashes reach the host."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import TypedDict

from ..errors import SetupError

# Without 0 O o, 1 I l and the like, because people read it on one screen and type it on another.
READABLE = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


class Cost(TypedDict):
    """The cost of an argon2 hash. memory_cost: KiB."""

    memory_cost: int
    time_cost: int
    parallelism: int


# The values that jupyter_server uses for its own hashes (jupyter_server.auth.security.passwd).
JUPYTER: Cost = {"memory_cost": 10240, "time_cost": 10, "parallelism": 8}


def hash(password: str) -> str:
    """Hash a password as `jupyter server password` does."""
    from argon2 import PasswordHasher

    return "argon2:" + PasswordHasher(**JUPYTER).hash(encoded(password))


# What a hash, which comes from the host, may ask of this machine: KiB, and KiB times passes.
MOST_MEMORY = 512 * 1024
MOST_WORK = 4_000_000


def work_of(hashed: str) -> int:
    """Return what one guess at an argon2 hash costs, in KiB times passes; 0 if it is none."""
    from argon2 import extract_parameters
    from argon2.exceptions import InvalidHash

    algorithm, _, rest = hashed.strip().partition(":")
    if algorithm != "argon2":
        return 0
    try:
        cost = extract_parameters(rest)
    except (InvalidHash, ValueError):
        return 0
    return cost.memory_cost * cost.time_cost if cost.memory_cost <= MOST_MEMORY else MOST_WORK + 1


def is_slow(hashed: str) -> bool:
    """Return whether a hash makes each guess cost time and memory: argon2, not the old sha1."""
    return hashed.strip().startswith("argon2:")


def verify(hashed: str, password: str) -> bool:
    """Check a password against a hash of Jupyter's: argon2, or the older sha1:salt:digest.

    A hash that would take minutes or gigabytes to check matches nothing.
    """
    algorithm, _, rest = hashed.strip().partition(":")
    if work_of(hashed) > MOST_WORK:
        return False
    if algorithm == "argon2":
        return verify_argon2(rest, password)
    salt, _, digest = rest.partition(":")
    try:
        found = hashlib.new(algorithm, encoded(password) + salt.encode()).hexdigest()
    except (ValueError, TypeError):
        # The algorithm is unknown, or its digests have no fixed length.
        return False
    return bool(digest) and hmac.compare_digest(found.encode(), digest.encode())


def verify_argon2(hashed: str, password: str) -> bool:
    """Check a password against a hash in argon2's own notation."""
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHash, VerificationError

    try:
        return PasswordHasher().verify(hashed, encoded(password))
    except (InvalidHash, VerificationError, UnicodeEncodeError):
        return False


def generate() -> str:
    """Generate a password that is easy to read aloud and type, with 139 bits.

    Hosts may ask for small and capital letters, digits and other characters (pam_pwquality).
    """
    while True:
        groups = ["".join(secrets.choice(READABLE) for _ in range(4)) for _ in range(6)]
        password = "-".join(groups)
        if all(re.search(kind, password) for kind in ("[a-z]", "[A-Z]", "[0-9]")):
            return password


def encoded(password: str) -> bytes:
    """Encode a password as UTF-8. Raises SetupError if it has lone surrogates."""
    try:
        return password.encode()
    except UnicodeEncodeError:
        raise SetupError("the password is not valid text (UTF-8): type another one") from None
