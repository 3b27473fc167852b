"""netstat -an -p tcp: who listens and who is connected, as macOS writes it."""

import ipaddress
import struct
from pathlib import Path

from . import state

USAGE = "Usage:\tnetstat [-AaLlnW] [-f address_family | -p protocol]"
STATES = {
    "01": "ESTABLISHED",
    "02": "SYN_SENT",
    "03": "SYN_RCVD",
    "04": "FIN_WAIT_1",
    "05": "FIN_WAIT_2",
    "06": "TIME_WAIT",
    "07": "CLOSED",
    "08": "CLOSE_WAIT",
    "09": "LAST_ACK",
    "0A": "LISTEN",
    "0B": "CLOSING",
}

ENGINE = "127.0.0.11."  # the container engine's own name server


def main(words: list[str]) -> int:
    flags = "".join(word[1:] for word in words if word.startswith("-"))
    values = [word for word in words if not word.startswith("-")]
    if not set(flags) <= set("anpWf") or "n" not in flags or values not in ([], ["tcp"], ["inet"]):
        return state.fail(USAGE, 1)
    print("Active Internet connections" + (" (including servers)" if "a" in flags else ""))
    print(
        f"{'Proto':<5} {'Recv-Q':>6} {'Send-Q':>6}  {'Local Address':<22} {'Foreign Address':<22} (state)    "
    )
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            _, here, there, code, *_ = line.split()
            if (code != "0A" or "a" in flags) and not address(here).startswith(ENGINE):
                kind = "tcp4" if name == "tcp" else "tcp6"
                print(
                    f"{kind:<5} {0:>6} {0:>6}  {address(here):<22} {address(there):<22} {STATES[code]:<11}"
                )
    return 0


def address(text: str) -> str:
    """Write an address of the kernel's the way netstat does: a dot before the port."""
    host, port = text.split(":")
    words = [int(host[place : place + 8], 16) for place in range(0, len(host), 8)]
    found = ipaddress.ip_address(b"".join(struct.pack("<I", word) for word in words))
    shown = "*" if int(found) == 0 else str(found)
    return f"{shown}.{int(port, 16) or '*'}"
