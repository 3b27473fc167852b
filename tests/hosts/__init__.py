"""Disposable machines for the demo and the tests: real systemd, sshd and apt in a container."""

from .host import Host
from .places import RigError

__all__ = ["Host", "RigError"]
