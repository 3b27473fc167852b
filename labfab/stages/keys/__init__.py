"""Keys: which keys open the host."""

from .authorized_keys import copy, generate
from .rotation import add, rotate

__all__ = ["add", "copy", "generate", "rotate"]
