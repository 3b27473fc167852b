"""Secrets: come from the environment, or from a file that only you can read.

Owns: ~/.config/labfab/<alias>/{login,sudo,jupyter}-password, login-of-lab-user, jupyter-token,
host-keys (the fingerprints of the host that they are for), and sudo-account (whose sudo password).
A CA passphrase is never kept.  Undo: forget(alias)
"""

from __future__ import annotations

import contextlib
import hmac
import os
import re
from pathlib import Path
from typing import NoReturn

from ..errors import SetupError
from . import files

NAMES = (
    "login-password",
    "login-of-lab-user",
    "sudo-password",
    "jupyter-password",
    "jupyter-token",
    "ca-passphrase",
)
HOST_KEYS = "host-keys"
SUDO_ACCOUNT = "sudo-account"
ASIDE = ".other-host"  # the end of the name of a secret that is for another host
# Reading a variable removes it from the environment. Later tasks of the same run find it here.
TAKEN: dict[str, Secret] = {}


class Secret:
    """A value that stays hidden when it is printed, formatted, logged or pickled."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself, for a library that needs it, never for a message."""
        return self._value

    def __repr__(self) -> str:
        return "********"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(
            self._value.encode(), other._value.encode()
        )

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Secret:
        # Invoke deep-copies its configuration.
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


def variable(name: str) -> str:
    """Return the environment variable of a secret."""
    return "LABFAB_" + check_name(name).upper().replace("-", "_")


def take_from_environment(name: str) -> Secret | None:
    """Read LABFAB_<NAME> and remove it, so that no child process inherits it.

    Returns None if it was never set.
    """
    value = os.environ.pop(variable(name), "")
    if value:
        TAKEN[name] = Secret(check_value(value, variable(name)))
    return TAKEN.get(name)


def clean_environment() -> dict[str, str]:
    """Return the environment for a program of others: without our variables, secrets among them."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LABFAB_")}


def load(alias: str, name: str) -> Secret | None:
    """Read a stored secret; None if there is none. A file that others can read becomes 0600."""
    path = path_of(alias, name)
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"cannot read {path}: {error}: repair it, or delete it") from None
    value = re.sub(r"\r?\n\Z", "", text)
    return Secret(check_value(value, str(path))) if value else None


def store(alias: str, name: str, value: str | Secret, replace: bool = False) -> Path:
    """Store a secret in a file and return its path. An existing one is kept unless *replace*."""
    path = path_of(alias, name)
    text = value.reveal() if isinstance(value, Secret) else value
    data = check_value(text, name).encode() + b"\n"
    files.make_private(path.parent).chmod(0o700)
    try:
        if replace:
            files.replace(path, data, 0o600)
        else:
            with contextlib.suppress(FileExistsError):
                files.create(path, data)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from None
    return path


def bind(alias: str, fingerprints: set[str]) -> None:
    """Note the host that the secrets of an alias are for."""
    if fingerprints:
        path = files.config_folder(alias) / HOST_KEYS
        files.replace(path, "".join(f"{one}\n" for one in sorted(fingerprints)).encode(), 0o600)


def note_sudo_account(alias: str, account: str) -> None:
    """Note the account whose sudo password is kept."""
    files.replace(files.config_folder(alias) / SUDO_ACCOUNT, f"{account}\n".encode(), 0o600)


def sudo_account(alias: str) -> str:
    """Return the account whose sudo password is kept; empty if an earlier version kept it."""
    return files.load(files.config_folder(alias) / SUDO_ACCOUNT).decode(errors="replace").strip()


def discard(alias: str, name: str) -> None:
    """Delete a secret that turned out to be of no use."""
    path_of(alias, name).unlink(missing_ok=True)


def set_aside(alias: str) -> None:
    """Keep the secrets of another host under other names."""
    for name in NAMES:
        path = path_of(alias, name)
        with contextlib.suppress(FileNotFoundError):
            path.rename(path.with_name(name + ASIDE))


def belongs_to(alias: str, fingerprints: set[str]) -> bool:
    """Return whether the secrets of an alias may be for the host with these keys.

    One that was stored by an earlier version may be for any.
    """
    known = files.load(files.config_folder(alias) / HOST_KEYS).decode(errors="replace").split()
    return not known or not fingerprints.isdisjoint(known)


def forget(alias: str) -> None:
    """Delete every secret of a lab, and its folder if that leaves it empty."""
    folder = files.config_folder(alias)
    for name in (*NAMES, *(f"{one}{ASIDE}" for one in NAMES), HOST_KEYS, SUDO_ACCOUNT, files.LOCK):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def path_of(alias: str, name: str) -> Path:
    """Return the file of a secret."""
    return files.config_folder(alias) / check_name(name)


def check_name(name: str) -> str:
    """Return the name if it is a secret's. Raises ValueError for any other."""
    if name not in NAMES:
        raise ValueError(f"no such secret: {name}")
    return name


def check_value(value: str, source: str) -> str:
    """Return a value if it is one line of UTF-8, because sudo and PAM read no more."""
    if re.search(r"[\0\r\n\ud800-\udfff]", value):
        raise SetupError(f"{source}: a password is one line of text (UTF-8): choose another one")
    return value
