"""Disposable machines for the demo and the tests: real systemd, sshd and apt in a container."""

from .places import RigError
from .host import Host

__all__ = ["Host", "RigError"]
