"""A package index on this machine, with the wheels that the installer double carries and some that are broken."""

import re
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
def served(folder: Path, address: str):
    """Serve a simple index below *folder*; yield its URL."""
    with ThreadingHTTPServer((address, 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield f"http://{address}:{server.server_port}/simple"
        finally:
            server.shutdown()


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
