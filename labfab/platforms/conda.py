"""Conda: download a distribution's installer to the host, verify it and run it.

Owns: ~/.cache/labfab on the host, where the installer waits until it has run.
"""

from __future__ import annotations

from fabric import Connection

from ..errors import SetupError
from ..facts import facts
from ..facts.reader import PREFIXES
from ..host.changes import ask, change
from ..host.session import Host
from ..settings import Settings
from .installers import Installer, checksum_in, installer

# Resumes a download. Not below /tmp, which is in memory on Debian 13 and Ubuntu 26.04.
# %s: the protocols that curl may use, so that a redirect never leads from TLS to none.
CURL = "curl -fsSL --retry 3 --proto %s --proto-redir %s "
DOWNLOAD = (
    f"mkdir -p ~/.cache/labfab && cd ~/.cache/labfab && {CURL}-C - -o %s.part %s && mv %s.part %s"
)
CHECKSUM = f"{CURL}--max-filesize 10000000 %s || exit 1"
# Runs in the account's shell, which does not know the words of words.*.sh. macOS has shasum,
# Linux sha256sum.
VERIFY = (
    "cd ~/.cache/labfab 2>/dev/null && [ -f %s ] && "
    "{ sha256sum %s || shasum -a 256 %s; } 2>/dev/null || exit 1"
)
# The mark survives an interrupted run, so that the next run repairs what the installer left.
UNPACK = (
    "cd ~/.cache/labfab && touch %s.unfinished && bash %s -b -u -p ~/%s && rm -f %s.unfinished %s"
)


def install_distribution(c: Connection, want: Settings) -> None:
    """Download, verify and run the installer of the distribution in the settings."""
    folder, account = PREFIXES[want.python], want.jupyter_user
    name, place = fetch_installer(c, want), f"{facts(c).accounts[account].home}/{folder}"
    change(
        c,
        UNPACK,
        *(folder, name, folder, folder, name),
        user=account,
        long=True,
        why=f"unpack {name} to ~/{folder}",
        undo=("tree %s", place),
        keep=[place],
        then={"python.conda": "yes", "python.python": "yes", "python.unfinished": None},
    )


def fetch_installer(c: Connection, want: Settings) -> str:
    """Download the installer to the account's ~/.cache/labfab, verify it and return its name."""
    system, account = facts(c).system, want.jupyter_user
    chosen = installer(
        want.python,
        system.kernel,
        system.machine,
        want.python_version,
        want.python_mirror,
        want.python_checksum,
    )
    name = chosen.filename
    if Host.of(c).planning:
        allowed = protocols(chosen.url)
        change(c, DOWNLOAD, *allowed, name, chosen.url, name, name, why=f"download {name}")
        return name
    wanted = chosen.sha256 or published_checksum(c, account, chosen)
    if checksum(c, account, name) == wanted:
        return name
    download(c, account, chosen)
    if checksum(c, account, name) != wanted:
        ask(c, "rm -f ~/.cache/labfab/%s", name, user=account)
        raise SetupError(
            f"{name} does not have the published SHA-256 and was deleted: "
            "run this again, or set another python_mirror",
            host=Host.of(c).label,
        )
    return name


def download(c: Connection, account: str, chosen: Installer) -> None:
    """Download an installer. Raises SetupError, with advice for a version that does not exist."""
    name = chosen.filename
    undo = ("tree %s", f"{facts(c).accounts[account].home}/.cache/labfab/{name}")
    try:
        change(
            c,
            DOWNLOAD,
            *(*protocols(chosen.url), name, chosen.url, name, name),
            user=account,
            why=f"download {name}",
            undo=undo,
            long=True,
        )
    except SetupError as error:
        if "404" not in error.text:
            raise
        raise SetupError(
            f"{error.text}; there is no such file at {chosen.url}: "
            "set python_version or python_mirror",
            host=error.host,
        ) from None


def protocols(url: str) -> tuple[str, str]:
    """Return what curl may use for an address, and for where that redirects to."""
    allowed = "=https" if url.startswith("https:") else "=http,https"
    return allowed, allowed


def checksum(c: Connection, account: str, name: str) -> str:
    """Return the SHA-256 of the downloaded file, or an empty string if there is none."""
    answer = ask(c, VERIFY, name, name, name, user=account)
    return answer.out.split()[0] if answer.ok else ""


def published_checksum(c: Connection, account: str, chosen: Installer) -> str:
    """Return the SHA-256 that the publisher lists for the file."""
    url = str(chosen.checksum_url)
    answer = ask(c, CHECKSUM, *protocols(url), url, user=account)
    try:
        return checksum_in(answer.out, chosen.filename)
    except SetupError:
        raise SetupError(
            f"{chosen.checksum_url} has no checksum of {chosen.filename} "
            f"({answer.last_words}): set python_version or python_mirror",
            host=Host.of(c).label,
        ) from None
