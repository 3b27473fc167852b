"""Errors: problems that the user can fix, reported in one line without a traceback."""

from invoke.exceptions import Exit

from .text import as_typed, one_line, printable


class SetupError(Exit):
    """A problem that the user can fix: what happened, on which host, what to type next."""

    def __init__(self, text: str, code: int = 1, *, host: str = "") -> None:
        """Create the error.

        text: one sentence, without the host's name. host: the host's label, which is
        printed once in front of the text, however often the error is wrapped.
        """
        self.text, self.host = as_typed(printable(" ".join(text.split()))), one_line(host)
        super().__init__(f"{self.host}: {self.text}" if host else self.text, code)

    def __str__(self) -> str:
        return self.message or ""


class Unreachable(SetupError):
    """No connection to the host could be made."""


def text_of(error: BaseException) -> str:
    """Return the words of an error, without the host's label that a SetupError puts in front."""
    return error.text if isinstance(error, SetupError) else str(error)
