"""Key line: what a line of authorized_keys allows, and whether its key may be carried over."""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import re
from typing import NamedTuple

from ...text import one_line

# sshd(8): options, without blanks outside of quotes; then the type and the key.
LINE = re.compile(
    r'^\s*(?:(?P<options>(?:\\"|[^\s"\\]|\\(?!")|"(?:\\"|[^"\\]|\\(?!"))*")+)\s+)?'
    r"(?P<kind>(?:ssh|ecdsa|sk)-[\w.@-]+)\s+(?P<blob>AAAA\S*)(?:\s+(?P<comment>.*))?$"
)
OPTION = re.compile(r'([A-Za-z-]+)(?:="((?:\\"|[^"\\]|\\(?!"))*)")?')
# Cloud images give root a line whose forced command only says "log in as ubuntu".
REFUSAL = re.compile(r"^echo [\"'\\]*Please log ?in as ", re.IGNORECASE)
COMMENT, LIMITS = 60, 200  # characters that are shown
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
        """Return what names the key: its comment, made harmless, or else its end."""
        comment = one_line(self.comment)
        short = f"{comment[:COMMENT]}…" if len(comment) > COMMENT else comment
        return short or f"the key …{self.blob[-12:]}"

    @property
    def fingerprint(self) -> str:
        """Return the key's fingerprint as `ssh-keygen -lf` shows it; empty for a garbled key."""
        try:
            data = base64.b64decode(self.blob, validate=True)
        except (binascii.Error, ValueError):
            return ""
        return f"SHA256:{base64.b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')}"

    @property
    def limits(self) -> str:
        """Return the options of the line, as they are written there."""
        options = [f'{name}="{value}"' if value else name for name, value in self.options.items()]
        return one_line(",".join(options))[:LIMITS]

    def described(self, place: str) -> str:
        """Return the key for a message: its name, where it is from, its fingerprint, its limits."""
        about = "; ".join(filter(None, (self.fingerprint, self.limits)))
        return f"{self.who}, from {place}{f' ({about})' if about else ''}"

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
