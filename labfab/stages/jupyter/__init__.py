"""Jupyter: the server's configuration and its password."""

from .config import configure
from .passwords import hash_, password

__all__ = ["configure", "hash_", "password"]
