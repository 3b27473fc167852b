"""Passwords: made and hashed on your own machine, so that only the hash goes to the host."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from ..errors import SetupError

# Without 0 O o, 1 I l and the like: somebody will read it from one screen and type it into another.
READABLE = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
# What jupyter_server takes for its own hashes (jupyter_server.auth.security.passwd).
JUPYTER = {"memory_cost": 10240, "time_cost": 10, "parallelism": 8}


def hash(password: str) -> str:
    """Hash a password as `jupyter server password` does."""
    from argon2 import PasswordHasher

    return "argon2:" + PasswordHasher(**JUPYTER).hash(encoded(password))


def verify(hashed: str, password: str) -> bool:
    """Tell whether a password belongs to a hash of Jupyter's, new (argon2) or old (sha1:salt:digest)."""
    algorithm, _, rest = hashed.strip().partition(":")
    if algorithm == "argon2":
        return verify_argon2(rest, password)
    salt, _, digest = rest.partition(":")
    try:
        made = hashlib.new(algorithm, encoded(password) + salt.encode()).hexdigest()
    except (ValueError, TypeError):  # no such algorithm, or one without a fixed length
        return False
    return bool(digest) and hmac.compare_digest(made.encode(), digest.encode())


def verify_argon2(hashed: str, password: str) -> bool:
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHash, VerificationError

    try:
        return PasswordHasher().verify(hashed, encoded(password))
    except (InvalidHash, VerificationError, UnicodeEncodeError):
        return False


def generate(length: int = 24) -> str:
    """Make a password that can be read aloud and typed; 24 characters are 139 bits."""
    return "".join(secrets.choice(READABLE) for _ in range(length))


def encoded(password: str) -> bytes:
    try:
        return password.encode()
    except UnicodeEncodeError:
        raise SetupError("the password is not valid text (UTF-8): type another one") from None
