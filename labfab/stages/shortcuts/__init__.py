"""Shortcuts: callhome, connectlab, closelab and launchlab, which work without labfab."""

from .commands import install, remove

__all__ = ["install", "remove"]
