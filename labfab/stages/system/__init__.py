"""System: keep the packages up to date, and reboot if needed."""

from .updates import reboot, release_upgrade, update

__all__ = ["reboot", "release_upgrade", "update"]
