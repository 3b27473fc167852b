"""What a host takes over from the machine around it, so that it reaches the same mirrors."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

ROOTS = Path("/usr/local/share/ca-certificates")
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
LOOPBACK = {None, "", "localhost", "127.0.0.1", "::1"}


def files() -> dict[str, str]:
    """Give path and text of every file a host gets from this machine."""
    texts = {
        f"usr/local/share/ca-certificates/{path.name}": path.read_text() for path in extra_roots()
    }
    index = package_index()
    if index or texts:
        texts["etc/pip.conf"] = pip_conf(index, bool(texts))
        texts["etc/uv/uv.toml"] = uv_toml(index, bool(texts))
    proxies = apt_proxies()
    if proxies:
        texts["etc/apt/apt.conf.d/99outer-proxy"] = proxies
    return texts


def extra_roots() -> list[Path]:
    """List the certificate authorities that this machine trusts on top of the usual ones."""
    return sorted(ROOTS.glob("**/*.crt")) if ROOTS.is_dir() else []


@cache
def package_index() -> str:
    """Find the Python package index this machine uses, where a host can use it too."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = dict(re.findall(r"^(\S+)\.index-url='(.*)'$", listed, re.MULTILINE))
    addresses = [found.get(place, "") for place in ("global", "install", ":env:")]
    addresses.append(os.environ.get("UV_DEFAULT_INDEX", ""))
    return next(filter(usable, addresses), "")


def usable(address: str) -> bool:
    """Tell whether an address means the same inside a host."""
    parts = urlsplit(address)
    return parts.scheme in ("http", "https") and parts.hostname not in LOOPBACK


def pip_conf(index: str, roots: bool) -> str:
    lines = ["[global]", f"index-url = {index}" * bool(index), f"cert = {BUNDLE}" * roots]
    return "\n".join(filter(None, lines)) + "\n"


def uv_toml(index: str, roots: bool) -> str:
    lines = [
        "system-certs = true" * roots,
        f'[[index]]\nurl = "{index}"\ndefault = true' * bool(index),
    ]
    return "\n".join(filter(None, lines)) + "\n"


def apt_proxies() -> str:
    """Copy apt's proxy settings, where a host can use them too."""
    try:
        text = subprocess.run(
            ["apt-config", "dump"], capture_output=True, text=True, check=False
        ).stdout
    except FileNotFoundError:
        return ""
    found = re.findall(r'^Acquire::https?::proxy "(\S+)";$', text, re.IGNORECASE | re.MULTILINE)
    kept = [f'Acquire::http::Proxy "{address}";\n' for address in found if usable(address)]
    return "".join(kept[:1])


def apt_lines(suite: str) -> list[str]:
    """Write apt's lines for a Debian suite from this machine's own sources; none if it is no Debian."""
    archive, security = mirrors()
    lines = (
        [f"deb {archive} {suite} main", f"deb {archive} {suite}-updates main"] if archive else []
    )
    return lines + [f"deb {security} {suite}-security main"] * bool(archive and security)


def mirrors() -> tuple[str, str]:
    """Find this machine's mirrors of Debian: the archive and the security updates."""
    if (
        not Path("/etc/os-release").exists()
        or "\nID=debian\n" not in Path("/etc/os-release").read_text()
    ):
        return "", ""
    code = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    found = {}
    for address, suites in sources():
        for suite in suites:
            found.setdefault(suite, address)
    name = code.group(1) if code else "stable"
    return found.get(name, ""), found.get(f"{name}-security", "")


def sources() -> list[tuple[str, list[str]]]:
    """List address and suites of every source apt knows here, in both of its formats."""
    rows = []
    base = Path("/etc/apt")
    for path in [base / "sources.list", *sorted(base.glob("sources.list.d/*.list"))]:
        if path.exists():
            rows += re.findall(
                r"^deb\s+(?:\[[^]]*\]\s+)?(http\S+)\s+(\S+)", path.read_text(), re.MULTILINE
            )
    rows = [(address, [suite]) for address, suite in rows]
    for path in sorted(base.glob("sources.list.d/*.sources")):
        for block in path.read_text().split("\n\n"):
            fields = dict(re.findall(r"^(\w[\w-]*):\s*(.+)$", block, re.MULTILINE))
            if fields.get("Types", "").startswith("deb") and fields.get("URIs", "").startswith(
                "http"
            ):
                rows.append((fields["URIs"].split()[0], fields.get("Suites", "").split()))
    return rows
