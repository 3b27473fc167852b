"""Fleet: many hosts at once."""

from .executor import Executor

__all__ = ["Executor"]
