"""What lab_usage.sh prints, for tests."""

import base64
import json

KERNEL = {
    "id": "0" * 36,
    "name": "python3",
    "execution_state": "busy",
    "last_activity": "2026-01-01T00:00:00Z",
}


def blob(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def said(*lines: str) -> str:
    return "\n".join(["[activity]", *lines, ""])
