"""JupyterLab on the host: start it, watch it, update it, use it."""

from .autostart import service
from .browse import close, open_, url
from .lifecycle import restart, start, stop
from .monitoring import logs, status
from .notebook_jobs import cancel, fetch, jobs, submit
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
