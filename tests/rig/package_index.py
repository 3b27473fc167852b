"""A package index on this machine, with the wheels that the installer double carries and some that are broken."""

import re
import ssl
import subprocess
import zipfile
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


class Quiet(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # several questions a connection, as real indexes answer them

    def log_message(self, *words) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path, address: str, certificate: Path | None = None):
    """Serve a simple index below *folder*; yield its URL. certificate: with its key, for TLS."""
    with ThreadingHTTPServer((address, 0), partial(Quiet, directory=str(folder))) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            scheme = "https" if certificate else "http"
            yield f"{scheme}://{address}:{server.server_port}/simple"
        finally:
            server.shutdown()


def certificate(folder: Path, address: str) -> Path:
    """Make a certificate for an address, and the root that signs it: root.crt, beside it."""
    new = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    root, leaf = folder / "root.crt", folder / "certificate.pem"
    keys = [folder / "root.key", folder / "leaf.key"]
    signed = ("-CA", root, "-CAkey", keys[0], "-addext", "basicConstraints=critical,CA:false")
    name = f"subjectAltName=IP:{address}"
    for words in (
        (*new, "-subj", "/CN=a company", "-keyout", keys[0], "-out", root),
        (*new, "-subj", "/CN=x", *signed, "-addext", name, "-keyout", keys[1], "-out", leaf),
    ):
        subprocess.run(list(map(str, words)), check=True, capture_output=True)
    with leaf.open("a") as both:
        both.write(keys[1].read_text())
    return leaf


def fill(folder: Path, *wheelhouses: Path) -> None:
    """Link every wheel under the name that an installer asks for."""
    for wheel in (wheel for place in wheelhouses for wheel in place.glob("*.whl")):
        add(folder, wheel)


def add(folder: Path, wheel: Path) -> None:
    name = re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower()
    place = folder / "simple" / name
    place.mkdir(parents=True, exist_ok=True)
    if not (place / wheel.name).exists():
        (place / wheel.name).symlink_to(wheel)
        (place / f"{wheel.name}.metadata").write_bytes(
            metadata(wheel)
        )  # PEP 658: nobody has to fetch a wheel to resolve
    links = "".join(
        f'<a href="{one.name}" data-core-metadata="true">{one.name}</a><br>'
        for one in sorted(place.glob("*.whl"))
    )
    (place / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")


def metadata(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as inside:
        return inside.read(
            next(
                name
                for name in inside.namelist()
                if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)
            )
        )


def broken_wheel(folder: Path, name: str, version: str) -> Path:
    """Make a wheel that installs well and whose program fails."""
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": "",
        f"{name}/labapp.py": "def main():\n    raise SystemExit('this release is broken')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\njupyter-lab = {name}.labapp:main\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for where, text in files.items():
            wheel.writestr(where, text)
        record = "".join(f"{where},,\n" for where in [*files, f"{info}/RECORD"])
        wheel.writestr(f"{info}/RECORD", record)
    return path
