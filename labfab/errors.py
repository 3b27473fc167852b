"""Errors: what a user can mend, said in one line.

Owns: the one exception that ends a task without a traceback.
"""

from invoke import Exit

from .text import plain


class SetupError(Exit):
    """Stop with one line: what happened, on which host, what to type next."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(plain(" ".join(message.split())), code)

    def __str__(self) -> str:
        return self.message


class Unreachable(SetupError):
    """There is no way to the host, or none that ends there."""
