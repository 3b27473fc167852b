"""Key line: what a line of authorized_keys allows, and whether its key may be carried over."""

from __future__ import annotations

import datetime
import re
from typing import NamedTuple

# sshd(8): options, without blanks outside of quotes; then the type and the key.
LINE = re.compile(
    r'^\s*(?:(?P<options>(?:\\"|[^\s"\\]|\\(?!")|"(?:\\"|[^"\\]|\\(?!"))*")+)\s+)?'
    r"(?P<kind>(?:ssh|ecdsa|sk)-[\w.@-]+)\s+(?P<blob>AAAA\S*)(?:\s+(?P<comment>.*))?$"
)
OPTION = re.compile(r'([A-Za-z-]+)(?:="((?:\\"|[^"\\]|\\(?!"))*)")?')
# Cloud images give root a line whose forced command only says "log in as ubuntu".
REFUSAL = re.compile(r"^echo [\"'\\]*Please log ?in as ", re.IGNORECASE)
EXPIRY = ("%Y%m%d", "%Y%m%d%H%M", "%Y%m%d%H%M%S")


class KeyLine(NamedTuple):
    """One key, with the options that limit it."""

    text: str
    # By name, in lower case; empty for one without a value.
    options: dict[str, str]
    blob: str
    comment: str

    @property
    def who(self) -> str:
        """Return what names the key: its comment, or else its end."""
        return self.comment or f"the key …{self.blob[-12:]}"

    @property
    def command(self) -> str:
        """Return the only command that the key may run; empty: any."""
        return self.options.get("command", "").replace('\\"', '"')

    @property
    def refuses(self) -> bool:
        """Return whether the line only tells to log in as somebody else."""
        return bool(REFUSAL.match(self.command))

    @property
    def ended(self) -> bool:
        """Return whether the key's time is over."""
        expiry = self.options.get("expiry-time", "").upper().removesuffix("Z")
        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        for form in EXPIRY:
            try:
                return datetime.datetime.strptime(expiry, form) <= now
            except ValueError:
                continue
        return bool(expiry)

    def obstacle(self, revoked: frozenset[str]) -> str:
        """Return why the key must not open another account; empty if it may."""
        if self.blob in revoked:
            return "it is revoked (RevokedKeys)"
        if self.ended:
            return f"it has expired (expiry-time {self.options['expiry-time']})"
        if "cert-authority" in self.options:
            return "it signs certificates (cert-authority)"
        return f"it may only run {self.command}" if "command" in self.options else ""


def parse(line: str) -> KeyLine | None:
    """Return what a line holds; None if it holds no key."""
    found = None if line.lstrip().startswith("#") else LINE.match(line)
    if not found:
        return None
    pairs = OPTION.findall(found["options"] or "")
    options = {name.lower(): value for name, value in pairs}
    return KeyLine(line.strip(), options, found["blob"], (found["comment"] or "").strip())
