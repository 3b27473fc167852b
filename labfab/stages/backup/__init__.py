"""Backup: a lab kept on your laptop, and restored on a host."""

from .snapshots import create, list_, restore

__all__ = ["create", "list_", "restore"]
