"""mount without arguments: what is mounted, in macOS's words."""

from pathlib import Path


def main(args: list[str]) -> int:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        kind, device = fields[fields.index("-") + 1 :][:2]
        print(f"{device} on {fields[4]} ({kind}, local)")
    return 0
