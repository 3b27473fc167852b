"""Put bytecode into wheels: compiling what JupyterLab imports takes a minute in emulation.

Run by the Python of a disk that is being made: `python3 compile_wheels.py FOLDER`.
"""

import importlib.util
import py_compile
import sys
import tempfile
import zipfile
from pathlib import Path

UNUSED = ("pip-", "uv-", "setuptools-")  # by JupyterLab


def compile_wheel(wheel: Path, source: Path, target: Path) -> None:
    """Add bytecode that Python takes without looking at the time of its source."""
    with zipfile.ZipFile(wheel, "a", zipfile.ZIP_DEFLATED) as inside:
        for name in inside.namelist():
            if not name.endswith(".py") or "/tests/" in name or ".data/" in name:
                continue
            source.write_bytes(inside.read(name))
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            if py_compile.compile(str(source), str(target), name, quiet=2, invalidation_mode=mode):
                inside.writestr(importlib.util.cache_from_source(name), target.read_bytes())


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for wheel in sorted(folder.glob("*.whl")):
            if not wheel.name.startswith(UNUSED):
                compile_wheel(wheel, Path(scratch, "source.py"), Path(scratch, "target.pyc"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
