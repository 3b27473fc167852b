"""Stores: where the programs of your machine look up whom they trust.

Owns: in each of them the certificate `labfab ALIAS`.  Undo: remove
NSS is what Chromium, Chrome and Firefox on Linux use; a Mac has its keychain, Windows a store that WSL reaches.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ..errors import SetupError

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
    """One place that can be told to trust a CA; name is what the CA is called there."""

    where: str

    def holds(self, name: str, ca: Path) -> bool:
        """Whether it trusts this CA, under this name."""

    def add(self, name: str, ca: Path) -> None:
        """Trust the CA. Raises SetupError where that fails."""

    def remove(self, name: str, ca: Path) -> bool:
        """Trust neither this CA nor another one of this name; tell whether it did. Raises SetupError where that fails."""


def here() -> list[Store]:
    """The stores of this machine."""
    if sys.platform == "darwin":
        return [Keychain()]
    windows: list[Store] = [Windows()] if shutil.which("certutil.exe") else []
    return (
        windows
        if windows and not shutil.which("certutil")
        else [*map(Nss, databases(Path.home())), *windows]
    )


def databases(home: Path) -> Iterator[Path]:
    """The NSS databases of an account: the one of Chromium, be it still to be made, and that of each profile of Firefox."""
    old, new = (
        home / ".pki/nssdb",
        Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share") / "pki/nssdb",
    )
    yield (
        new if new.is_dir() and not old.is_dir() else old
    )  # where both are, Chromium takes the old one
    found = [path for pattern in CHROMIUM for path in home.glob(pattern)]
    found += [path.parent for base in FIREFOX for path in (home / base).glob("*/cert9.db")]
    yield from dict.fromkeys(path.resolve() for path in sorted(found))


class Nss:
    """A database of NSS."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        firefox = (folder / "cert9.db").exists() and folder.name != "nssdb"
        self.where = f"Firefox ({folder})" if firefox else f"Chromium and Chrome ({folder})"

    def certutil(self, *words: str) -> subprocess.CompletedProcess[str]:
        if not shutil.which("certutil"):
            raise SetupError(
                "certutil is missing, which tells browsers whom to trust: sudo apt install libnss3-tools (Fedora: nss-tools)"
            )
        return run("certutil", words[0], "-d", f"sql:{self.folder}", *words[1:])

    def holds(self, name: str, ca: Path) -> bool:
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
        if not (self.folder / "cert9.db").exists():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            insist(self.where, self.certutil("-N", "--empty-password"))
        self.remove(name, ca)
        insist(self.where, self.certutil("-A", "-n", name, "-t", "C,,", "-i", str(ca)))

    def remove(self, name: str, ca: Path) -> bool:
        count = 0
        while (self.folder / "cert9.db").exists() and self.certutil(
            "-L", "-n", name
        ).returncode == 0:
            insist(self.where, self.certutil("-D", "-n", name))
            count += 1
        return count > 0


class Keychain:
    """The login keychain of a Mac; it asks for the password of the account in a window."""

    where = "the login keychain (Safari, Chrome, Firefox)"

    def __init__(self) -> None:
        self.path = str(Path.home() / "Library/Keychains/login.keychain-db")

    def holds(self, name: str, ca: Path) -> bool:
        return sha1(ca) in run("security", "find-certificate", "-a", "-Z", self.path).stdout

    def add(self, name: str, ca: Path) -> None:
        insist(
            self.where,
            run(
                "security",
                "add-trusted-cert",
                "-r",
                "trustRoot",
                "-p",
                "ssl",
                "-k",
                self.path,
                str(ca),
            ),
        )

    def remove(self, name: str, ca: Path) -> bool:
        found = self.holds(name, ca)
        if found:
            insist(self.where, run("security", "remove-trusted-cert", str(ca)))
            insist(self.where, run("security", "delete-certificate", "-Z", sha1(ca), self.path))
        return found


class Windows:
    """The store of the Windows account, reached from WSL; Windows asks in a window."""

    where = "Windows (Edge, Chrome)"

    def holds(self, name: str, ca: Path) -> bool:
        return run("certutil.exe", "-user", "-store", "Root", sha1(ca)).returncode == 0

    def add(self, name: str, ca: Path) -> None:
        insist(
            self.where,
            run(
                "certutil.exe",
                "-user",
                "-addstore",
                "Root",
                run("wslpath", "-w", str(ca)).stdout.strip(),
            ),
        )

    def remove(self, name: str, ca: Path) -> bool:
        found = self.holds(name, ca)
        if found:
            insist(self.where, run("certutil.exe", "-user", "-delstore", "Root", sha1(ca)))
        return found


def is_wsl() -> bool:
    return "microsoft" in os.uname().release.lower()


def der(pem: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.replace("\r\n", "\n").strip() + "\n")


def sha1(ca: Path) -> str:
    """What keychain and Windows call a certificate by."""
    return hashlib.sha1(der(ca.read_text()), usedforsecurity=False).hexdigest().upper()


def run(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(words, 1, "", str(error))


def insist(where: str, done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        said = (
            done.stderr.strip() or done.stdout.strip() or "it failed without a word"
        ).splitlines()
        raise SetupError(f"{where} could not be told: {said[-1]}")
