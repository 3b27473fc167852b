"""Stores: where the laptop's browsers look up which CAs they trust.

Owns: in each of them the certificate `labfab ALIAS`.  Undo: remove
On Linux, Chromium, Chrome and Firefox use NSS. A Mac has its keychain. Windows has a store that is
reached from WSL.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ..errors import SetupError
from . import certificate

# Databases of differently packaged Chromiums, and folders of Firefox profiles, below a home.
CHROMIUM = ("snap/*/current/.pki/nssdb", ".var/app/*/.pki/nssdb")
FIREFOX = (
    ".mozilla/firefox",
    ".config/mozilla/firefox",
    "snap/firefox/common/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/config/mozilla/firefox",
    ".librewolf",
    ".var/app/io.gitlab.librewolf-community/.librewolf",
)


class Store(Protocol):
    """One store. name: what the CA is called in it. ca: the file of the CA."""

    where: str

    def holds(self, name: str, ca: Path) -> bool:
        """Return whether it trusts this CA under this name."""

    def add(self, name: str, ca: Path) -> None:
        """Trust the CA. Raises SetupError."""

    def remove(self, name: str, ca: Path) -> bool:
        """Remove this CA, and others of this name. Returns whether there was one."""


def here() -> list[Store]:
    """Return the stores of this machine."""
    if sys.platform == "darwin":
        return [Keychain()]
    windows: list[Store] = [Windows()] if shutil.which("certutil.exe") else []
    if windows and not shutil.which("certutil"):
        return windows
    return [*map(Nss, databases(Path.home())), *windows]


def databases(home: Path) -> Iterator[Path]:
    """Yield an account's NSS databases: Chromium's, even if not made yet, and Firefox's."""
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    old, new = home / ".pki/nssdb", data / "pki/nssdb"
    # If both exist, Chromium uses the old one.
    yield new if new.is_dir() and not old.is_dir() else old
    found = [path for pattern in CHROMIUM for path in home.glob(pattern)]
    found += [path.parent for base in FIREFOX for path in (home / base).glob("*/cert9.db")]
    yield from dict.fromkeys(path.resolve() for path in sorted(found))


class Nss:
    """A database of NSS."""

    def __init__(self, folder: Path) -> None:
        """Name the database for messages. folder: it has, or will have, cert9.db."""
        self.folder = folder
        firefox = (folder / "cert9.db").exists() and folder.name != "nssdb"
        self.where = f"Firefox ({folder})" if firefox else f"Chromium and Chrome ({folder})"

    def certutil(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run certutil on this database. words: an action and its arguments."""
        if not shutil.which("certutil"):
            raise SetupError(
                "certutil, which adds CAs to browsers, is missing: "
                "sudo apt install libnss3-tools (Fedora: nss-tools)"
            )
        return run("certutil", words[0], "-d", f"sql:{self.folder}", *words[1:])

    def holds(self, name: str, ca: Path) -> bool:
        """Return whether the certificate is there, trusted for web sites and nothing else."""
        if not (self.folder / "cert9.db").exists():
            return False
        found = self.certutil("-L", "-n", name, "-a").stdout
        flags = [
            line.split()[-1]
            for line in self.certutil("-L").stdout.splitlines()
            if line.startswith(f"{name} ")
        ]
        return bool(found) and der(found) == der(ca.read_text()) and flags == ["C,,"]

    def add(self, name: str, ca: Path) -> None:
        """Trust the CA for web sites, in a new database if there is none."""
        if not (self.folder / "cert9.db").exists():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            require_success(self.where, self.certutil("-N", "--empty-password"))
        self.remove(name, ca)
        require_success(self.where, self.certutil("-A", "-n", name, "-t", "C,,", "-i", str(ca)))

    def remove(self, name: str, ca: Path) -> bool:
        """Remove every certificate of this name."""
        if not (self.folder / "cert9.db").exists():
            return False
        found = False
        while self.certutil("-L", "-n", name).returncode == 0:
            require_success(self.where, self.certutil("-D", "-n", name))
            found = True
        return found


class Keychain:
    """The login keychain of a Mac, which asks for the account's password in a window."""

    where = "the login keychain (Safari, Chrome, Firefox)"

    def __init__(self) -> None:
        """Find the keychain."""
        self.path = str(Path.home() / "Library/Keychains/login.keychain-db")

    def holds(self, name: str, ca: Path) -> bool:
        """Return whether the certificate is there."""
        return sha1(ca) in run("security", "find-certificate", "-a", "-Z", self.path).stdout

    def add(self, name: str, ca: Path) -> None:
        """Trust the CA for TLS."""
        options = ("-r", "trustRoot", "-p", "ssl", "-k", self.path)
        require_success(self.where, run("security", "add-trusted-cert", *options, str(ca)))

    def remove(self, name: str, ca: Path) -> bool:
        """Remove the trust and the certificate."""
        found = self.holds(name, ca)
        if found:
            require_success(self.where, run("security", "remove-trusted-cert", str(ca)))
            require_success(
                self.where, run("security", "delete-certificate", "-Z", sha1(ca), self.path)
            )
        return found


class Windows:
    """The store of the Windows account, through WSL. Windows asks in a window."""

    where = "Windows (Edge, Chrome)"

    def holds(self, name: str, ca: Path) -> bool:
        """Return whether the certificate is there."""
        return run("certutil.exe", "-user", "-store", "Root", sha1(ca)).returncode == 0

    def add(self, name: str, ca: Path) -> None:
        """Add the certificate."""
        path = run("wslpath", "-w", str(ca)).stdout.strip()
        require_success(self.where, run("certutil.exe", "-user", "-addstore", "Root", path))

    def remove(self, name: str, ca: Path) -> bool:
        """Remove the certificate."""
        found = self.holds(name, ca)
        if found:
            require_success(self.where, run("certutil.exe", "-user", "-delstore", "Root", sha1(ca)))
        return found


def is_wsl() -> bool:
    """Return whether this Linux runs in Windows."""
    return "microsoft" in os.uname().release.lower()


def der(pem: str) -> bytes:
    """Return the bytes of the first certificate of a text; empty if there is none."""
    from cryptography.hazmat.primitives.serialization import Encoding

    found = certificate.parse(pem)
    return found.public_bytes(Encoding.DER) if found else b""


def sha1(ca: Path) -> str:
    """Return the hash by which the keychain and Windows find a certificate."""
    return hashlib.sha1(der(ca.read_text()), usedforsecurity=False).hexdigest().upper()


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a program here. One that cannot be run, or takes too long, counts as failed."""
    try:
        return subprocess.run(
            words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(words, 1, "", str(error))


def require_success(where: str, done: subprocess.CompletedProcess[str]) -> None:
    """Raise SetupError if the program failed. where: the store."""
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or "no reason given"
        raise SetupError(f"could not change {where}: {said.splitlines()[-1]}")
