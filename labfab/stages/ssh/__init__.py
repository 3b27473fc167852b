"""SSH: keys only, no root, a port of your own; on a Mac also who may log in."""

from .hardening import change_port, disable_passwords, disable_root
from .remote_login import close_port_22, restrict

__all__ = ["change_port", "close_port_22", "disable_passwords", "disable_root", "restrict"]
