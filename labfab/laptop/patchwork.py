"""Patchwork: its rsync, loaded under the Fabric of today.

Its last release imports `invoke.vendor.six`, which Invoke has dropped, and asks for a Fabric below 3, so it is no
dependency of the wheel. With six given back it works.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..errors import SetupError

HOW = "pip install --no-deps patchwork==1.0.1 six"


def rsync() -> Callable[..., Any]:
    """Return patchwork's rsync. Raises SetupError where it is not installed."""
    try:
        import invoke.vendor
        import six

        sys.modules.setdefault("invoke.vendor.six", six)
        if not hasattr(invoke.vendor, "six"):  # what `from invoke.vendor import six` looks at
            invoke.vendor.six = six
        from patchwork import transfers
    except ImportError as error:
        raise SetupError(
            f"the Python package {error.name} is missing on this machine, files cannot be sent: {HOW}"
        ) from None
    return transfers.rsync
