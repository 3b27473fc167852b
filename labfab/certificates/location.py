"""Location: the names of a published lab, and where its certificate is on the host.

Owns: the folder ~/.jupyter/tls (publish: https) or /etc/labfab/tls (publish: apache).  Undo: rmdir
The place is the same whoever issues the certificate, so the server's settings need not change.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import NamedTuple

from fabric import Connection

from ..errors import SetupError
from ..facts import facts
from ..host.account_files import private_folder, refuse_link
from ..host.alias import alias_of
from ..host.changes import change
from ..host.session import Host
from ..settings import Settings
from . import certificate, constraints, vault

OPEN_FOLDER = "mkdir -p %s %s && chmod 755 %s"
# Apache reads a new certificate or site only then.
RELOAD_APACHE = "if systemctl -q is-active apache2; then systemctl reload apache2; fi"


class Location(NamedTuple):
    """Where the certificate is on the host, and which account owns it."""

    folder: str
    account: str

    @property
    def login(self) -> str | None:
        """Return the account to write as; None: root."""
        return None if self.account == "root" else self.account

    @property
    def files(self) -> list[str]:
        """Return the paths of the key, the certificate and the CA."""
        return [f"{self.folder}/{name}.pem" for name in ("key", "cert", "ca")]


def published_settings(c: Connection) -> Settings:
    """Return the settings of a published lab. Raises SetupError for a lab that is not."""
    want = Settings.of(c)
    if not want.published:
        raise SetupError(
            "nothing is published, so it needs no certificate: set publish: https or apache",
            host=Host.of(c).label,
        )
    return want


def lab_names(c: Connection) -> list[str]:
    """Return the names and addresses of the lab, the main one first.

    Without `names` in the settings, the address of this connection is added to those in the
    lab's certificate, so that a machine with several addresses does not need a new one each time.
    Those in the certificate count only if this laptop knows the CA, as this lab's, and the CA may
    vouch for them. Otherwise the host would
    choose what a browser trusts.
    """
    want, have = Settings.of(c), facts(c).https
    if want.names or want.certificate != "self-signed":
        return want.reached_by(c.host)
    if not have.cert or not have.ca or not vault.is_known_ca(alias_of(c, want), have.ca.content):
        return want.reached_by(c.host)
    if not certificate.signed_by(have.cert.content, have.ca.content):
        return [c.host]
    found, permitted = certificate.read(have.cert.content), constraints.permitted(have.ca.content)
    if found is None or permitted is None:
        return [c.host]
    # Who has the CA's key can sign for names that it may not vouch for.
    kept = [name for name in found.names if name in permitted and name not in loopback(want)]
    if kept and certificate.plain(c.host) in found.names:
        return kept
    return [*kept, c.host]


def loopback(want: Settings) -> list[str]:
    """Return the names of JupyterLab's own certificate at the end of a tunnel."""
    return ["localhost", "127.0.0.1"] if want.publish == "https" else []


def location_of(c: Connection, publish: str = "") -> Location:
    """Return where the certificate is. publish: instead of the setting."""
    want = Settings.of(c)
    if (publish or want.publish) == "apache":
        return Location("/etc/labfab/tls", "root")
    return Location(f"{facts(c).accounts[want.jupyter_user].home}/.jupyter/tls", want.jupyter_user)


def make_folder(c: Connection, at: Location) -> None:
    """Make the folder of the certificate; in a home it is private to the account."""
    have = facts(c)
    refuse_link(c, at.account, have.jupyter.link or have.https.link)
    if at.login:
        make_private_folders(c, at)
    elif have.https.folder_stat != "755 root":
        above = str(PurePosixPath(at.folder).parent)
        change(
            c,
            OPEN_FOLDER,
            *(above, at.folder, at.folder),
            why=f"make {at.folder}",
            undo=("folder %s && folder %s", at.folder, above),
            keep=[at.folder, above],
            then={"https.folder_stat": "755 root"},
        )


def make_private_folders(c: Connection, at: Location) -> None:
    """Make ~/.jupyter and the folder in it."""
    have = facts(c)
    home, tls = have.accounts[at.account].home, have.https.folder_stat
    stat = have.jupyter.folder_stat
    private_folder(c, at.account, home, ".jupyter", stat, "jupyter.folder_stat")
    private_folder(c, at.account, home, ".jupyter/tls", tls, "https.folder_stat")
