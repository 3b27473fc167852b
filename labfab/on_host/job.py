"""Job: runs one notebook on this host, detached from any login, in a folder of its own.

labfab copies this file and jobs.py to the host. JupyterLab's Python runs them, without the rest of
labfab. The folder jobs/NUMBER holds `notebook.ipynb` with the outputs so far, `state.json`, `log`
and `lock`. The job holds the lock as long as it lives: the state "running" counts only while the
lock is held.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

JOBS = Path(__file__).resolve().parent / "jobs"
PAUSE = 2.0  # seconds between two looks at what a cell has printed


class Problem(Exception):
    """A problem that the user can fix, in one line."""


def boot() -> str:
    """Identify this boot of the host."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return subprocess.run(
        ["sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, check=False
    ).stdout.strip()


def write(path: Path, data: bytes) -> None:
    """Replace a file atomically: readers never see half of it."""
    new = path.with_name(f".{path.name}.new")
    try:
        with open(new, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError:
        new.unlink(missing_ok=True)  # a partial file would keep a full disk full
        raise


def read(folder: Path) -> dict[str, Any]:
    """Return the last state that a job has written."""
    state: dict[str, Any] = json.loads((folder / "state.json").read_bytes())
    return state


def parsed(text: str, name: str) -> Any:
    """Parse a notebook of any version, and drop its old outputs."""
    import nbformat

    try:
        notebook = nbformat.reads(text, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
    except Exception as error:  # nbformat raises KeyError, AttributeError and its own
        raise Problem(f"{name} is not a notebook: {type(error).__name__}") from None
    return notebook


def dumped(notebook: Any) -> bytes:
    """Serialize a notebook."""
    import nbformat

    text: str = nbformat.writes(notebook)
    return text.encode(errors="replace")


def runs(cell: Any) -> bool:
    """Return whether a cell has code to run."""
    return cell.cell_type == "code" and bool(cell.source.strip())


class Job:
    """A running notebook, and the state that it reports."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, read(folder)
        self.notebook = parsed((folder / "notebook.ipynb").read_text(), "notebook.ipynb")
        self.unsaved, self.stopped = False, False
        self.cost = 0.0  # seconds that the last save took
        self.saved = 0.0  # when it ended
        self.problem = ""  # why it failed

    def report(self, **news: object) -> None:
        """Add news to state.json."""
        self.state |= news
        with contextlib.suppress(OSError):  # on a full disk the lock still shows that it lives
            write(self.folder / "state.json", json.dumps(self.state).encode())

    def save(self) -> None:
        """Write the outputs. If that fails, go on: there may be space again before the end."""
        began, self.unsaved, self.problem = time.monotonic(), False, ""
        try:
            write(self.folder / "notebook.ipynb", dumped(self.notebook))
        except OSError as error:
            self.unsaved = True
            self.problem = f"the newest outputs could not be saved: {error.strerror}"
            print(self.problem, file=sys.stderr, flush=True)
        self.saved = time.monotonic()
        self.cost = self.saved - began

    def save_soon(self) -> None:
        """Save new outputs, but spend at most a tenth of the time on saving."""
        if self.unsaved and time.monotonic() - self.saved >= 10 * self.cost:
            self.save()
            self.report(error=self.problem)


def run(number: str) -> None:
    """Run a job to its end."""
    folder = JOBS / number
    take_lock(folder)
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    path = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{path}"
    job = Job(folder)
    job.report(state="running", started=time.time(), pid=os.getpid(), boot=boot())
    error = asyncio.run(execute(job))
    job.save()
    if job.stopped:
        return  # jobs.py says why: cancelled, a reboot, or somebody else
    error = error or job.problem
    job.report(state="failed" if error else "done", ended=time.time(), error=error)


def take_lock(folder: Path) -> None:
    """Hold the job's lock until this process ends. Raises Problem if the job runs already."""
    lock = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for _ in range(100):  # a check whether the job lives holds the lock for an instant
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.02)
    raise Problem(f"job {folder.name} runs already")


async def execute(job: Job) -> str:
    """Run the cells one by one. Return what went wrong, or an empty string."""
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    task: asyncio.Future[Any]
    task = asyncio.ensure_future(client(job, lambda: task.cancel()).async_execute())
    saver = asyncio.ensure_future(save_regularly(job))
    try:
        await task
    except CellExecutionError as error:
        return " ".join(f"{error.ename}: {error.evalue}".split())[:300]
    except DeadKernelError:
        return "the kernel died: out of memory?"
    except asyncio.CancelledError:
        return "stopped"
    except Exception as error:  # a kernel may raise anything, and the state has to report it
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    finally:
        saver.cancel()
    return ""


def client(job: Job, cancel: Callable[[], object]) -> Any:
    """Make nbclient's client for a job. cancel: what a SIGTERM calls."""
    from nbclient import NotebookClient

    # nbclient is on the host only: no types here.
    class Client(NotebookClient):  # type: ignore[misc,unused-ignore]
        def create_kernel_manager(self) -> Any:
            # Over TCP, any account of the host could read along. Nobody else can enter the folder.
            self.km = self.kernel_manager_class(
                kernel_name=self.kernel_name,
                transport="ipc",
                connection_file=str(job.folder / "kernel.json"),
                config=self.config,
            )
            return self.km

        def process_message(self, *args: Any, **kwargs: Any) -> Any:
            job.unsaved = True
            return super().process_message(*args, **kwargs)

    def stop() -> None:
        job.stopped = True
        cancel()

    def started(**_: Any) -> None:
        # nbclient's own handler would leave it waiting for a kernel that no longer exists.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)

    return Client(
        job.notebook,
        kernel_name=job.state["kernel"],
        resources={"metadata": {"path": job.state["folder"]}},
        timeout=None,
        startup_timeout=120,
        on_notebook_start=started,
        on_cell_execute=lambda **_: job.report(cell=job.state["cell"] + 1),
        on_cell_executed=lambda **_: job.save_soon(),
    )


async def save_regularly(job: Job) -> None:
    """Save a long cell's output while it runs."""
    while True:
        await asyncio.sleep(PAUSE)
        job.save_soon()


if __name__ == "__main__":
    run(sys.argv[1])
