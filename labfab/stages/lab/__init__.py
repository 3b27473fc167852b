"""JupyterLab on the host: started, watched, updated, used."""

from .autostart import service
from .kernels import logs, restart, status
from .notebook_jobs import cancel, fetch, jobs, submit
from .open import close, open_, url
from .server import start, stop
from .upgrade import update

__all__ = [
    "cancel",
    "close",
    "fetch",
    "jobs",
    "logs",
    "open_",
    "restart",
    "service",
    "start",
    "status",
    "stop",
    "submit",
    "update",
    "url",
]
