"""Installers: which published conda installer fits a machine, and the checksum it must have.

Owns: names, versions, addresses and SHA-256 of the pinned releases. Nothing here opens a connection.
"""

import re
from typing import NamedTuple

from labfab.errors import SetupError

# Where each publisher keeps its files; %s is the release.
BASES = {
    "miniforge": "https://github.com/conda-forge/miniforge/releases/download/%s",
    "anaconda": "https://repo.anaconda.com/archive",
    "miniconda": "https://repo.anaconda.com/miniconda",
}
PREFIXES = {"miniforge": "Miniforge3", "anaconda": "Anaconda3", "miniconda": "Miniconda3"}

# uname's words -> the publishers' words; both spellings of each processor occur in the wild.
PLATFORMS = {
    ("linux", "x86_64"): "Linux-x86_64",
    ("linux", "amd64"): "Linux-x86_64",
    ("linux", "aarch64"): "Linux-aarch64",
    ("linux", "arm64"): "Linux-aarch64",
    ("darwin", "arm64"): "MacOSX-arm64",
    ("darwin", "aarch64"): "MacOSX-arm64",
    ("darwin", "x86_64"): "MacOSX-x86_64",
}

# (kind, platform) -> (release, SHA-256). Looked up on 2026-11-20; every number was found alike in two independent public files:
# - Miniforge 26.5.3-0 (2026-08-15, newest on the project's release page): the cask miniforge-cn of lzwme/homebrew-cn has all
#   four; install scripts of unrelated projects that name the same release assets agree.
# - Anaconda 2025.12-2 (2026-01-13): pyenv's python-build anaconda3-2025.12-2 (pyenv 2.8.1, 2026-07-18) and homebrew-cask's
#   anaconda.rb (arm64) or a published install script (Linux). 2026.07-1 exists, but no checksum of it could be confirmed.
#   Intel Macs ended with 2025.06-1: python-build anaconda3-2025.06-1 and homebrew-cask.
# - Miniconda py313_26.5.3-1: python-build miniconda3-3.13-26.5.3-1 (2026-07-18) and a published table made from the SHA256
#   column of the archive's index. Intel Macs ended with py313_25.7.0-2: python-build and homebrew-cask's miniconda.rb.
PINS = {
    ("miniforge", "Linux-x86_64"): (
        "26.5.3-0",
        "14db468222ad564658656f769506056209b6dc375f5e7dfd31eb5ebbf08fa529",
    ),
    ("miniforge", "Linux-aarch64"): (
        "26.5.3-0",
        "0391e42075a7632e9665d6e728387ee6b905f6c3e704d3513e1c1133d0d69b89",
    ),
    ("miniforge", "MacOSX-arm64"): (
        "26.5.3-0",
        "0d765919d3ccfd1f89147aa1cf8133bfc55b3a3c13f5bacdcc091c33132fddd2",
    ),
    ("miniforge", "MacOSX-x86_64"): (
        "26.5.3-0",
        "0266a7bfeb12165286133145717bef0d88070f1b76710beb6a62fec4e88371a1",
    ),
    ("anaconda", "Linux-x86_64"): (
        "2025.12-2",
        "57b2b48cc5b8665e25fce7011f0389d47c1288288007844b3b1ba482d4f39029",
    ),
    ("anaconda", "Linux-aarch64"): (
        "2025.12-2",
        "be13a20f31d82508a061984fa3555369cfd8e4692643721415c19e7dc2e9e0f9",
    ),
    ("anaconda", "MacOSX-arm64"): (
        "2025.12-2",
        "8d0b858358456d4ee159feb0c4ee6d635590b777f8b9ffa4aa7553c469aae2b6",
    ),
    ("anaconda", "MacOSX-x86_64"): (
        "2025.06-1",
        "58139fe195337f3041259e3a611339ed3afa4d164cc9aa2a7e8e84c0673e3670",
    ),
    ("miniconda", "Linux-x86_64"): (
        "py313_26.5.3-1",
        "7358a5961dc6a4941d087281cd70313728fcc68695735e18a337321bc31c7f51",
    ),
    ("miniconda", "Linux-aarch64"): (
        "py313_26.5.3-1",
        "4eaf1f2d83ede3ad010afa6ad19bef69893ca4667ba5996f51efb3080c08a70d",
    ),
    ("miniconda", "MacOSX-arm64"): (
        "py313_26.5.3-1",
        "c73b91d59c872f472d7a21dadaf0cc70dcff1fadf5bd98200bd15341be2bcbd0",
    ),
    ("miniconda", "MacOSX-x86_64"): (
        "py313_25.7.0-2",
        "9c88674b1a839eeb4cff006df397a05ea7d896472318fd84b7070278f9653dc6",
    ),
}

VERSION = r"[0-9A-Za-z_]+([.-][0-9A-Za-z_]+)*"
MIRROR = r"https?://[^\s'\"\\$`<>]+"


class Installer(NamedTuple):
    """Name one installer file: where it is and how to know it is the right one."""

    name: str
    version: str
    base_url: str
    filename: str
    sha256: str | None
    mirrored: bool = False

    @property
    def url(self) -> str:
        """Return the address of the file."""
        return f"{self.base_url}/{self.filename}"

    @property
    def checksum_url(self) -> str | None:
        """Return where the checksum is published, or None when it is pinned here."""
        if self.sha256:
            return None
        # The publisher of Anaconda and Miniconda has no file beside the installer, only a column of the folder's index page.
        if self.name != "Miniforge3" and not self.mirrored:
            return f"{self.base_url}/"
        return f"{self.url}.sha256"


def installer(
    kind: str, system: str, machine: str, version: str = "", mirror: str = ""
) -> Installer:
    """Return the installer of one kind for a machine, as `uname -s` and `uname -m` name it."""
    if kind not in PREFIXES:
        raise SetupError(
            f"There is no installer named {kind!r}; set python to one of {', '.join(PREFIXES)}, venv."
        )
    platform = _platform(kind, system, machine)
    pinned, digest = PINS[kind, platform]
    release = _version(version or pinned)
    return Installer(
        name=PREFIXES[kind],
        version=release,
        base_url=_mirror(mirror) or BASES[kind].replace("%s", release),
        filename=f"{PREFIXES[kind]}-{release}-{platform}.sh",
        sha256=digest if release == pinned else None,
        mirrored=bool(mirror),
    )


def checksum_in(text: str, filename: str) -> str:
    """Find the SHA-256 of one file in what `checksum_url` answers, be it a .sha256 file or an index page."""
    name = re.escape(filename)
    alone = r"\s*([0-9a-fA-F]{64})\s*"
    line = rf"^([0-9a-fA-F]{{64}})[ \t]+\*?(?:\./)?{name}[ \t\r]*$"
    row = rf">\s*{name}\s*</a>(?:(?!</tr>|<a\b).)*?>\s*([0-9a-fA-F]{{64}})\s*<"
    found = (
        re.fullmatch(alone, text)
        or re.search(line, text, re.MULTILINE)
        or re.search(row, text, re.DOTALL | re.IGNORECASE)
    )
    if not found:
        raise SetupError(
            f"No SHA-256 of {filename} is published there; leave python_version empty to use the pinned release."
        )
    return found.group(1).lower()


def _platform(kind: str, system: str, machine: str) -> str:
    """Translate uname's answers into the publishers' word for the platform."""
    try:
        return PLATFORMS[system.strip().lower(), machine.strip().lower()]
    except KeyError:
        raise SetupError(
            f"{PREFIXES[kind]} has no installer for {system.strip()} {machine.strip()}; set python to venv to use the machine's own Python."
        ) from None


def _version(version: str) -> str:
    """Refuse what cannot be a release, since it becomes part of an address and a file name."""
    if re.fullmatch(VERSION, version):
        return version
    raise SetupError(
        f"{version!r} is not an installer release; set python_version to one such as 26.5.3-0, or leave it empty."
    )


def _mirror(mirror: str) -> str:
    """Refuse a mirror that is no plain web address, and drop its last slash."""
    if not mirror or re.fullmatch(MIRROR, mirror):
        return mirror.rstrip("/")
    raise SetupError(
        f"{mirror!r} is not a mirror; set python_mirror to an address that begins with https://."
    )
