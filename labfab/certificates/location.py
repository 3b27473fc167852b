"""Served: the names of a published JupyterLab, and where the certificate for them lies on the host.

Owns: the folder ~/.jupyter/tls (publish: https) or /etc/labfab/tls (publish: apache).  Undo: rmdir
Whoever issues the certificate, it lies there, so that what serves it never has to be told.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import NamedTuple

from fabric import Connection

from ..errors import SetupError
from ..facts import facts
from ..host.account_files import private_folder, refuse_link
from ..host.changes import change
from ..host.session import Host
from ..settings import Settings
from . import certificate, vault

OPEN_FOLDER = "mkdir -p %s %s && chmod 755 %s"


class Place(NamedTuple):
    """Where the certificate lies on the host, and whose it is."""

    folder: str
    account: str

    @property
    def login(self) -> str | None:
        """The account to write as; None: root."""
        return None if self.account == "root" else self.account

    @property
    def files(self) -> list[str]:
        return [f"{self.folder}/{name}.pem" for name in ("key", "cert", "ca")]


def published(c: Connection) -> Settings:
    """The settings of a lab that is published. Raises SetupError for one that is not."""
    want = Settings.of(c)
    if not want.published:
        raise SetupError(
            f"{Host.of(c).label}: nothing is published, so it needs no certificate: set publish: https or apache"
        )
    return want


def names(c: Connection) -> list[str]:
    """The names and addresses that the lab is reached by, the main one first.

    With none given, the address of this connection joins those that the lab has a certificate for, so that a machine with
    several addresses needs no other certificate each time. They count only where this machine knows the CA: else the host
    would choose what a browser is to trust.
    """
    want, have = Settings.of(c), facts(c).https
    if (
        want.names
        or want.certificate != "self-signed"
        or not (have.cert and have.ca and vault.knows(have.ca.content))
    ):
        return want.reached_by(c.host)
    found = (
        certificate.read(have.cert.content)
        if certificate.signed_by(have.cert.content, have.ca.content)
        else None
    )
    kept = [name for name in found.names if name not in loopback(want)] if found else []
    new = [] if found and certificate.plain(c.host) in found.names and kept else [c.host]
    return [*kept, *new]


def loopback(want: Settings) -> list[str]:
    """What else JupyterLab's own certificate is for: the end of a tunnel."""
    return ["localhost", "127.0.0.1"] if want.publish == "https" else []


def place(c: Connection, publish: str = "") -> Place:
    """Where the certificate lies, whoever issued it. publish: under another one than the setting."""
    want = Settings.of(c)
    if (publish or want.publish) == "apache":
        return Place("/etc/labfab/tls", "root")
    return Place(f"{facts(c).accounts[want.jupyter_user].home}/.jupyter/tls", want.jupyter_user)


def make_folder(c: Connection, at: Place) -> None:
    """Have the folder of the certificate; in a home it is the account's alone."""
    have = facts(c).https
    refuse_link(c, at.account, facts(c).jupyter.link or have.link)
    if at.login:
        home = facts(c).accounts[at.account].home
        private_folder(
            c, at.account, home, ".jupyter", facts(c).jupyter.folder_stat, "jupyter.folder_stat"
        )
        private_folder(c, at.account, home, ".jupyter/tls", have.folder_stat, "https.folder_stat")
    elif have.folder_stat != "755 root":
        above = str(PurePosixPath(at.folder).parent)
        undo = ("folder %s && folder %s", at.folder, above)
        change(
            c,
            OPEN_FOLDER,
            above,
            at.folder,
            at.folder,
            why=f"make {at.folder}",
            undo=undo,
            keep=[at.folder, above],
            then={"https.folder_stat": "755 root"},
        )
