"""Fleet: many hosts in parallel."""

from .executor import Executor

__all__ = ["Executor"]
