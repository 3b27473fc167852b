"""Bytecode: Python keeps it again, as it does by itself.

Invoke turns that off for the whole process (its --write-pyc), so a checkout, or what uv installed, would be compiled
anew by each run, which takes twice as long as to load what was kept.
"""

import sys

sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)  # -B and PYTHONDONTWRITEBYTECODE hold
