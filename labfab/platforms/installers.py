"""Installers: which published conda installer fits a machine, and the checksum it must have.

Owns: names, versions, addresses and SHA-256 of the pinned releases. It opens no connection.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import SetupError

LARGEST_PAGE = 1_000_000  # characters of a publisher's page that are searched for a checksum

# Where each publisher keeps its files; %s is the release.
BASES = {
    "miniforge": "https://github.com/conda-forge/miniforge/releases/download/%s",
    "anaconda": "https://repo.anaconda.com/archive",
    "miniconda": "https://repo.anaconda.com/miniconda",
}
# How each publisher's file names begin.
PRODUCTS = {"miniforge": "Miniforge3", "anaconda": "Anaconda3", "miniconda": "Miniconda3"}

# `uname -s` and `uname -m`, in lower case -> the publishers' name for that build. Both spellings of
# each processor are in use.
BUILDS = {
    ("linux", "x86_64"): "Linux-x86_64",
    ("linux", "amd64"): "Linux-x86_64",
    ("linux", "aarch64"): "Linux-aarch64",
    ("linux", "arm64"): "Linux-aarch64",
    ("darwin", "arm64"): "MacOSX-arm64",
    ("darwin", "aarch64"): "MacOSX-arm64",
    ("darwin", "x86_64"): "MacOSX-x86_64",
}

# The pinned releases, looked up on 2026-11-20. Each SHA-256 was found in two independent public
# files:
# - Miniforge 26.5.3-0 (2026-08-15, newest on the project's release page): the cask miniforge-cn of
#   lzwme/homebrew-cn has all four; install scripts of unrelated projects that name the same release
#   assets agree.
# - Anaconda 2025.12-2 (2026-01-13): pyenv's python-build anaconda3-2025.12-2 (pyenv 2.8.1,
#   2026-07-18) and homebrew-cask's anaconda.rb (arm64) or a published install script (Linux).
#   2026.07-1 exists, but no checksum of it could be confirmed. Intel Macs ended with 2025.06-1:
#   python-build anaconda3-2025.06-1 and homebrew-cask.
# - Miniconda py313_26.5.3-1: python-build miniconda3-3.13-26.5.3-1 (2026-07-18) and a published
#   table made from the SHA256 column of the archive's index. Intel Macs ended with py313_25.7.0-2:
#   python-build and homebrew-cask's miniconda.rb.
RELEASES = {"miniforge": "26.5.3-0", "anaconda": "2025.12-2", "miniconda": "py313_26.5.3-1"}
LAST_FOR_INTEL_MACS = {"anaconda": "2025.06-1", "miniconda": "py313_25.7.0-2"}
SHA256 = {
    "miniforge": {
        "Linux-x86_64": "14db468222ad564658656f769506056209b6dc375f5e7dfd31eb5ebbf08fa529",
        "Linux-aarch64": "0391e42075a7632e9665d6e728387ee6b905f6c3e704d3513e1c1133d0d69b89",
        "MacOSX-arm64": "0d765919d3ccfd1f89147aa1cf8133bfc55b3a3c13f5bacdcc091c33132fddd2",
        "MacOSX-x86_64": "0266a7bfeb12165286133145717bef0d88070f1b76710beb6a62fec4e88371a1",
    },
    "anaconda": {
        "Linux-x86_64": "57b2b48cc5b8665e25fce7011f0389d47c1288288007844b3b1ba482d4f39029",
        "Linux-aarch64": "be13a20f31d82508a061984fa3555369cfd8e4692643721415c19e7dc2e9e0f9",
        "MacOSX-arm64": "8d0b858358456d4ee159feb0c4ee6d635590b777f8b9ffa4aa7553c469aae2b6",
        "MacOSX-x86_64": "58139fe195337f3041259e3a611339ed3afa4d164cc9aa2a7e8e84c0673e3670",
    },
    "miniconda": {
        "Linux-x86_64": "7358a5961dc6a4941d087281cd70313728fcc68695735e18a337321bc31c7f51",
        "Linux-aarch64": "4eaf1f2d83ede3ad010afa6ad19bef69893ca4667ba5996f51efb3080c08a70d",
        "MacOSX-arm64": "c73b91d59c872f472d7a21dadaf0cc70dcff1fadf5bd98200bd15341be2bcbd0",
        "MacOSX-x86_64": "9c88674b1a839eeb4cff006df397a05ea7d896472318fd84b7070278f9653dc6",
    },
}


def pinned_release(kind: str, build: str) -> str:
    """Return the release of one kind whose checksum is in SHA256."""
    last = LAST_FOR_INTEL_MACS.get(kind) if build == "MacOSX-x86_64" else None
    return last or RELEASES[kind]


# (kind, build) -> (release, SHA-256)
PINS = {
    (kind, build): (pinned_release(kind, build), digest)
    for kind, digests in SHA256.items()
    for build, digest in digests.items()
}

VERSION = r"[0-9A-Za-z_]+([.-][0-9A-Za-z_]+)*"
MIRROR = r"https?://[^\s'\"\\$`<>]+"


class Installer(NamedTuple):
    """One installer file: where to get it, and how to verify it."""

    name: str
    version: str
    base_url: str
    filename: str
    # None: the publisher lists it, at checksum_url.
    sha256: str | None
    mirrored: bool = False

    @property
    def url(self) -> str:
        """Return the address of the file."""
        return f"{self.base_url}/{self.filename}"

    @property
    def checksum_url(self) -> str | None:
        """Return where the checksum is published, or None if it is pinned here."""
        if self.sha256:
            return None
        # Anaconda and Miniconda have no checksum file, only a column of the folder's index page.
        if self.name != "Miniforge3" and not self.mirrored:
            return f"{self.base_url}/"
        return f"{self.url}.sha256"


def installer(
    kind: str, system: str, machine: str, version: str = "", mirror: str = "", checksum: str = ""
) -> Installer:
    """Return the installer of one kind for a machine.

    kind: miniforge, anaconda or miniconda. system, machine: from `uname -s` and `uname -m`.
    version: a release; empty: the pinned one. mirror: an address instead of the publisher's.
    checksum: the SHA-256 that the file must have; empty: the pinned or published one.
    Raises SetupError if there is none.
    """
    if kind not in PRODUCTS:
        raise SetupError(
            f"there is no installer named {kind!r}: "
            f"set python to one of {', '.join(PRODUCTS)}, venv"
        )
    build = build_for(kind, system, machine)
    pinned, digest = PINS[kind, build]
    release = checked_version(version or pinned)
    return Installer(
        name=PRODUCTS[kind],
        version=release,
        base_url=checked_mirror(mirror) or BASES[kind].replace("%s", release),
        filename=f"{PRODUCTS[kind]}-{release}-{build}.sh",
        sha256=checksum.lower() or (digest if release == pinned else None),
        mirrored=bool(mirror),
    )


def checksum_in(text: str, filename: str) -> str:
    """Find the SHA-256 of a file in the answer of `checksum_url`: a .sha256 file or an index page.

    Raises SetupError if the answer has none.
    """
    text, name = text[:LARGEST_PAGE], re.escape(filename)
    alone = r"\s*([0-9a-fA-F]{64})\s*"
    line = rf"^([0-9a-fA-F]{{64}})[ \t]+\*?(?:\./)?{name}[ \t\r]*$"
    # With limits, or a hostile answer would take hours.
    row = (
        rf">\s{{0,9}}{name}\s{{0,9}}</a>(?:(?!</tr>|<a\b).){{0,300}}?"
        r">\s{0,9}([0-9a-fA-F]{64})\s{0,9}<"
    )
    found = (
        re.fullmatch(alone, text)
        or re.search(line, text, re.MULTILINE)
        or re.search(row, text, re.DOTALL | re.IGNORECASE)
    )
    if not found:
        raise SetupError(
            f"no SHA-256 of {filename} is published there: "
            "leave python_version empty to use the pinned release"
        )
    return found.group(1).lower()


def build_for(kind: str, system: str, machine: str) -> str:
    """Return the publishers' name for the build that runs on a machine."""
    system, machine = system.strip(), machine.strip()
    try:
        return BUILDS[system.lower(), machine.lower()]
    except KeyError:
        raise SetupError(
            f"{PRODUCTS[kind]} has no installer for {system} {machine}: "
            "set python to venv to use the machine's own Python"
        ) from None


def checked_version(version: str) -> str:
    """Refuse what cannot be a release: it becomes part of a URL and a file name."""
    if re.fullmatch(VERSION, version):
        return version
    raise SetupError(
        f"{version!r} is not an installer release: "
        "set python_version to one such as 26.5.3-0, or leave it empty"
    )


def checked_mirror(mirror: str) -> str:
    """Refuse a mirror that is not a plain web address; drop its final slash."""
    if not mirror or re.fullmatch(MIRROR, mirror):
        return mirror.rstrip("/")
    raise SetupError(
        f"{mirror!r} is not a mirror: set python_mirror to an address that begins with https://"
    )
