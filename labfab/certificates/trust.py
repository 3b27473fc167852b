"""Trust: let the browsers of your machine trust the CA of a lab, for the names of that lab alone.

Owns: the certificate `labfab ALIAS` in their stores; ~/.config/labfab/<alias>/trusted.pem, a copy of it.  Undo: remove
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from ..errors import SetupError
from ..local_state import files
from . import constraints, stores, vault

# Where Linux distributions take more authorities from, and the command that reads them.
SYSTEM = {
    "/usr/local/share/ca-certificates": "update-ca-certificates",
    "/etc/pki/ca-trust/source/anchors": "update-ca-trust",
    "/etc/ca-certificates/trust-source/anchors": "update-ca-trust",
}


def authority(alias: str) -> tuple[Path, frozenset[str]]:
    """The CA of a lab, and what it may vouch for. Raises SetupError where there is none, or one that may do more."""
    path = vault.place(alias)
    text = files.load(path).decode(errors="replace")
    if not text:
        raise SetupError(
            f"{alias}: its CA is not known on this machine: fab -H {alias} https.issue"
        )
    names = constraints.permitted(text)
    if names is None:
        raise SetupError(
            f"{path} may vouch for more than this lab, so it will not be trusted: delete it, then fab -H {alias} https.issue"
        )
    return path, names


def lacking(alias: str, ca: Path) -> list[stores.Store]:
    """The stores of this machine that do not trust this CA yet."""
    return [store for store in stores.here() if not store.holds(called(alias), ca)]


def add(alias: str, ca: Path) -> Iterator[str]:
    """Let each store trust the CA, and the one of before no more; tell where that was done."""
    old, problems = vault.place(alias, "trusted.pem"), []
    with files.locked(old.parent.parent):  # two labs at once would be in each other's way
        for store in lacking(alias, ca):
            try:
                if old.exists():
                    store.remove(called(alias), old)
                store.add(called(alias), ca)
                yield store.where
            except SetupError as error:
                problems.append(str(error))
        files.replace(old, ca.read_bytes(), 0o600)
    if problems:
        raise SetupError("; ".join(problems))


def remove(alias: str) -> Iterator[str]:
    """Let no store trust a CA of this lab any more; tell where that was done."""
    if not noted(alias):
        return
    with files.locked(vault.place(alias).parent.parent):
        for store in holding(alias):
            for ca in noted(alias):
                store.remove(called(alias), ca)
            yield store.where
        vault.place(alias, "trusted.pem").unlink(missing_ok=True)


def holding(alias: str) -> list[stores.Store]:
    """The stores of this machine that trust a CA of this lab."""
    noted_now = noted(alias)
    return (
        [
            store
            for store in stores.here()
            if any(store.holds(called(alias), ca) for ca in noted_now)
        ]
        if noted_now
        else []
    )


def noted(alias: str) -> list[Path]:
    """The CA that was trusted, and the one that is served."""
    return [
        path for path in (vault.place(alias, "trusted.pem"), vault.place(alias)) if path.exists()
    ]


def called(alias: str) -> str:
    return f"labfab {alias}"


def by_hand(alias: str, ca: Path) -> Iterator[tuple[str, str]]:
    """What is left to you, with the command for it: what needs sudo, or another machine."""
    for folder, command in SYSTEM.items():
        target = Path(f"{folder}/labfab-{alias}.crt")
        if target.parent.is_dir() and files.load(target) != ca.read_bytes():
            yield (
                "curl, Python and the like",
                f"sudo install -m 644 {shlex.quote(str(ca))} {target} && sudo {command}",
            )
            break
    if stores.is_wsl() and not any(isinstance(store, stores.Windows) for store in stores.here()):
        yield (
            "the browsers of Windows",
            f'certutil.exe -user -addstore Root "$(wslpath -w {shlex.quote(str(ca))})"',
        )


def by_hand_undone(alias: str) -> Iterator[str]:
    """The commands that take back what was done by hand."""
    for folder, command in SYSTEM.items():
        target = Path(f"{folder}/labfab-{alias}.crt")
        if target.exists():
            yield f"sudo rm {target} && sudo {command}"
