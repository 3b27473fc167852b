"""Disposable machines for the demo and the tests: real systemd, sshd and apt in a container."""

from tests.rig.host import Host
from tests.rig.places import RigError

__all__ = ["Host", "RigError"]
