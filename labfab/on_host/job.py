"""Job: one notebook that runs on this host by itself, in a folder of its own.

labfab puts this file and jobs.py on the host, and the Python that JupyterLab lives in runs them; nothing else of labfab
is needed there. The folder, jobs/NUMBER, holds `notebook.ipynb` with the outputs so far, `state.json`, `log`, and
`lock`: that is held as long as the job lives, so a state that says "running" is believed only while it is.
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
from pathlib import Path

JOBS = Path(__file__).resolve().parent / "jobs"
PAUSE = 2.0  # seconds between looks at what a cell has printed


class Problem(Exception):
    """What the user can mend, in one line."""


def boot() -> str:
    """Name this boot of the host."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return subprocess.run(
        ["sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, check=False
    ).stdout.strip()


def write(path: Path, data: bytes) -> None:
    """Write a file in one piece: it is whole at every moment."""
    new = path.with_name(f".{path.name}.new")
    try:
        with open(new, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError:
        new.unlink(missing_ok=True)  # on a full disk half a file would keep it full
        raise


def read(folder: Path) -> dict:
    return json.loads((folder / "state.json").read_bytes())


def parsed(text: str, name: str):
    """Read a notebook of any version, without the outputs of before."""
    import nbformat

    try:
        notebook = nbformat.reads(text, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
    except Exception as error:  # nbformat raises what it meets: KeyError, AttributeError, its own
        raise Problem(f"{name} is not a notebook: {type(error).__name__}") from None
    return notebook


def dumped(notebook) -> bytes:
    import nbformat

    return nbformat.writes(notebook).encode(errors="replace")


def runs(cell) -> bool:
    return cell.cell_type == "code" and bool(cell.source.strip())


class Job:
    """A notebook that runs, and what is told of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, read(folder)
        self.notebook = parsed((folder / "notebook.ipynb").read_text(), "notebook.ipynb")
        self.news, self.cost, self.saved, self.problem = False, 0.0, 0.0, ""
        self.stopped = False

    def tell(self, **news: object) -> None:
        self.state |= news
        with contextlib.suppress(OSError):  # a full disk; the lock tells that it lives, or not
            write(self.folder / "state.json", json.dumps(self.state).encode())

    def save(self) -> None:
        """Write the outputs; where that fails go on, for space may be made before the end."""
        began, self.news, self.problem = time.monotonic(), False, ""
        try:
            write(self.folder / "notebook.ipynb", dumped(self.notebook))
        except OSError as error:
            self.news, self.problem = (
                True,
                f"the newest outputs could not be saved: {error.strerror}",
            )
            print(self.problem, file=sys.stderr, flush=True)
        self.saved = time.monotonic()
        self.cost = self.saved - began

    def save_soon(self) -> None:
        """Save what is new, but spend no more than a tenth of the time with it."""
        if self.news and time.monotonic() - self.saved >= 10 * self.cost:
            self.save()
            self.tell(error=self.problem)


def run(number: str) -> None:
    """Run a job to its end."""
    folder = JOBS / number
    lock = open(folder / "lock", "w")  # noqa: SIM115
    for _ in range(100):  # who looks whether it lives holds it for an instant
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        time.sleep(0.02)
    else:
        raise Problem(f"job {number} runs already")
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1), os.dup2(log, 2)
    os.environ["PATH"] = (
        f"{Path(sys.executable).parent}:{os.environ.get('PATH', '/usr/local/bin:/usr/bin:/bin')}"
    )
    job = Job(folder)
    job.tell(state="running", started=time.time(), pid=os.getpid(), boot=boot())
    error = asyncio.run(execute(job))
    job.save()
    if job.stopped:
        return  # jobs.py tells why: cancelled, a reboot, or somebody else
    job.tell(
        state="failed" if error or job.problem else "done",
        ended=time.time(),
        error=error or job.problem,
    )


async def execute(job: Job) -> str:
    """Run the cells one by one; return what went wrong."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    class Client(NotebookClient):
        def process_message(self, *args, **kwargs):
            job.news = True
            return super().process_message(*args, **kwargs)

    def stop() -> None:
        job.stopped = True
        task.cancel()

    def begun(
        **_,
    ) -> None:  # nbclient's own handler would leave it waiting for a kernel that is gone
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)

    def next_cell(**_) -> None:
        job.tell(cell=job.state["cell"] + 1)

    hooks = {
        "on_notebook_start": begun,
        "on_cell_execute": next_cell,
        "on_cell_executed": lambda **_: job.save_soon(),
    }
    client = Client(
        job.notebook,
        kernel_name=job.state["kernel"],
        resources={"metadata": {"path": job.state["folder"]}},
        timeout=None,
        startup_timeout=120,
        **hooks,
    )
    task, saver = (
        asyncio.ensure_future(client.async_execute()),
        asyncio.ensure_future(save_now_and_then(job)),
    )
    try:
        await task
    except CellExecutionError as error:
        return " ".join(f"{error.ename}: {error.evalue}".split())[:300]
    except DeadKernelError:
        return "the kernel died: out of memory?"
    except asyncio.CancelledError:
        return "stopped"
    except (
        Exception
    ) as error:  # whatever a kernel of somebody else may raise: the job's state has to tell
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    finally:
        saver.cancel()
    return ""


async def save_now_and_then(job: Job) -> None:
    """Save what a long cell prints while it runs."""
    while True:
        await asyncio.sleep(PAUSE)
        job.save_soon()


if __name__ == "__main__":
    run(sys.argv[1])
