"""Trust: make the laptop's browsers trust a lab's CA, for the names of that lab alone.

Owns: the certificate `labfab ALIAS` in their stores, and ~/.config/labfab/<alias>/trusted.pem, a
copy of it.  Undo: remove
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from ..errors import SetupError
from ..local_state import files
from . import certificate, constraints, stores, vault

# Where Linux distributions keep additional CAs, and the command that loads them.
SYSTEM = {
    "/usr/local/share/ca-certificates": "update-ca-certificates",
    "/etc/pki/ca-trust/source/anchors": "update-ca-trust",
    "/etc/ca-certificates/trust-source/anchors": "update-ca-trust",
}


def load_ca(alias: str) -> tuple[Path, frozenset[str]]:
    """Return the CA of a lab and the names that it may vouch for.

    Raises SetupError if there is none, or if it may vouch for more than a lab.
    """
    path = vault.path_of(alias)
    text = files.load(path).decode(errors="replace")
    if not text:
        raise SetupError(
            f"its CA is not known on this machine: fab -H {alias} https.issue", host=alias
        )
    names = constraints.permitted(text)
    if names is None:
        remedy = f"delete it, then fab -H {alias} https.issue"
        # An earlier version may have shown it to a browser, or told you to install it.
        if certificate.only_certificate(text) is None:
            remedy = f"fab -H {alias} https.untrust, then https.issue"
        raise SetupError(
            f"{path} may vouch for more than this lab, so it will not be trusted: {remedy}"
        )
    return path, names


def stores_lacking(alias: str, ca: Path) -> list[stores.Store]:
    """Return the stores of this machine that do not trust this CA yet."""
    return [store for store in stores.here() if not store.holds(nickname(alias), ca)]


def add(alias: str, ca: Path) -> Iterator[str]:
    """Make each store trust the CA instead of an earlier one; yield the stores that changed.

    Raises SetupError at the end if some of them could not be changed.
    """
    old, problems = vault.path_of(alias, "trusted.pem"), []
    with files.locked(old.parent.parent):  # runs for two labs would write to the same stores
        for store in stores_lacking(alias, ca):
            try:
                if old.exists():
                    store.remove(nickname(alias), old)
                store.add(nickname(alias), ca)
                yield store.where
            except SetupError as error:
                problems.append(error.text)
        files.replace(old, ca.read_bytes(), 0o600)
    if problems:
        raise SetupError("; ".join(problems))


def remove(alias: str) -> Iterator[str]:
    """Remove the CAs of this lab from each store; yield the stores that changed."""
    known = kept(alias)
    if not known:
        return
    with files.locked(vault.path_of(alias).parent.parent):
        for store in stores_holding(alias):
            for ca in known:
                store.remove(nickname(alias), ca)
            yield store.where
        vault.path_of(alias, "trusted.pem").unlink(missing_ok=True)


def stores_holding(alias: str) -> list[stores.Store]:
    """Return the stores of this machine that trust a CA of this lab."""
    known = kept(alias)
    if not known:
        return []
    return [
        store for store in stores.here() if any(store.holds(nickname(alias), ca) for ca in known)
    ]


def kept(alias: str) -> list[Path]:
    """Return the files of the lab's CAs: the one that was trusted, and the one in use."""
    paths = vault.path_of(alias, "trusted.pem"), vault.path_of(alias)
    return [path for path in paths if path.exists()]


def nickname(alias: str) -> str:
    """Return the CA's name in the stores."""
    return f"labfab {alias}"


def by_hand(alias: str, ca: Path) -> Iterator[tuple[str, str]]:
    """Yield what takes sudo or Windows, so is left to the user: who trusts it then, a command."""
    for folder, command in SYSTEM.items():
        target = Path(f"{folder}/labfab-{alias}.crt")
        if target.parent.is_dir() and files.load(target) != ca.read_bytes():
            copy = f"sudo install -m 644 {shlex.quote(str(ca))} {target}"
            yield "curl, Python and the like", f"{copy} && sudo {command}"
            break
    if stores.is_wsl() and not any(isinstance(store, stores.Windows) for store in stores.here()):
        path = f'"$(wslpath -w {shlex.quote(str(ca))})"'
        yield "the browsers of Windows", f"certutil.exe -user -addstore Root {path}"


def by_hand_undone(alias: str) -> Iterator[str]:
    """Yield the commands that undo what was done by hand."""
    for folder, command in SYSTEM.items():
        target = Path(f"{folder}/labfab-{alias}.crt")
        if target.exists():
            yield f"sudo rm {target} && sudo {command}"
