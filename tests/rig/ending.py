"""File > Shut Down in JupyterLab, on a machine so slow that its process ends seconds later."""

from collections.abc import Callable
from contextlib import closing

from labfab.laptop import kernel

from .host import Host

FOLDERS = "/home/lab/jupyter-venv/lib/python3*/site-packages"
# Python runs this line of a .pth file as it starts.
SLOW = f"""\
lab='"jupyter-lab" in str(sys.orig_argv)'
for folder in {FOLDERS}; do
    echo "import atexit, sys, time; $lab and atexit.register(time.sleep, 8)" >$folder/slow-end.pth
done
"""
RUNNING = "ss -Hltnp 'sport = :9999' | grep -o 'pid=[0-9]*' | head -n 1 | cut -d= -f2"


def server(host: Host) -> str:
    """Return the process that listens at JupyterLab's port; nothing if there is none."""
    return host.run(f"{RUNNING}; true")


def restart_to_end_slowly(host: Host, restart: Callable[[], object]) -> None:
    """Start a JupyterLab that takes eight seconds to end; the one after it does not."""
    host.run(SLOW)
    try:
        restart()
    finally:
        host.run(f"rm -f {FOLDERS}/slow-end.pth")


def shut_down(host: Host, url: str, password: str) -> str:
    """Do what File > Shut Down does; return the process, which is still ending."""
    pid = server(host)
    with closing(kernel.login(url, password)) as client:
        client.post("api/shutdown", headers={"X-XSRFToken": client.cookies.get("_xsrf", "")})
    assert host.run(f"kill -0 {pid} && echo ending") == "ending"
    return pid
