"""SSH: keys only, no root, a port of your own, no weak algorithms; on a Mac who may log in."""

from .algorithms import harden
from .hardening import change_port, disable_passwords, disable_root
from .remote_login import close_port_22, restrict

__all__ = [
    "change_port",
    "close_port_22",
    "disable_passwords",
    "disable_root",
    "harden",
    "restrict",
]
