"""Errors: what a user can mend, said in one line.

Owns: the one exception that ends a task without a traceback.
"""

from invoke import Exit

from .text import printable


class SetupError(Exit):
    """Stop with one line: what happened, on which host, what to type next."""

    def __init__(self, text: str, code: int = 1, *, host: str = "") -> None:
        """Make the error.

        text: one sentence, without the host's name. host: the label of the host, which is printed
        in front of the text, once, however often the error is wrapped.
        """
        self.text, self.host = printable(" ".join(text.split())), printable(host)
        super().__init__(f"{self.host}: {self.text}" if host else self.text, code)

    def __str__(self) -> str:
        return self.message or ""


class Unreachable(SetupError):
    """There is no way to the host, or none that ends there."""
