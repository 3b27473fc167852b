"""Set up a JupyterLab of your own on a machine that you reach over SSH."""

import sys

# Invoke sets sys.dont_write_bytecode for the whole process. Each run would compile a checkout
# again, which takes twice as long as loading what was compiled before. -B still counts.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)

from labfab import ns  # noqa: E402

__all__ = ["ns"]
