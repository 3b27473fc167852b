"""System: packages up to date, and a reboot where that is needed."""

from .updates import reboot, release_upgrade, update

__all__ = ["reboot", "release_upgrade", "update"]
