"""System: keep the packages up to date, reboot if needed, and show who uses the machine."""

from .surveying import survey
from .updates import reboot, release_upgrade, update

__all__ = ["reboot", "release_upgrade", "survey", "update"]
