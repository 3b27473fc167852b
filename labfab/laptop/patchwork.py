"""Patchwork: load its rsync under today's Fabric.

Its last release imports `invoke.vendor.six`, which Invoke has dropped, and requires Fabric < 3. So
the wheel does not depend on it. With six put back, it works.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from ..errors import SetupError

HOW = "pip install --no-deps patchwork==1.0.1 six"


def rsync() -> Callable[..., tuple[int, str, str]]:
    """Return patchwork's rsync. Raises SetupError if patchwork is not installed.

    The function returns what Caller.local() in transfer.py returns: exit code, output, errors.
    """
    try:
        import invoke.vendor
        import six

        sys.modules.setdefault("invoke.vendor.six", six)
        if not hasattr(invoke.vendor, "six"):  # `from invoke.vendor import six` looks here
            setattr(invoke.vendor, "six", six)  # noqa: B010  # the type of the module lacks it
        from patchwork import transfers
    except ImportError as error:
        raise SetupError(
            f"the Python package {error.name} is missing on this machine, "
            f"files cannot be sent: {HOW}"
        ) from None
    run: Callable[..., tuple[int, str, str]] = transfers.rsync
    return run
