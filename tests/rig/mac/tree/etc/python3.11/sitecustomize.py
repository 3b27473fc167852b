# Jupyter on macOS keeps its data in ~/Library/Jupyter; this Python takes itself for one of Linux.
import os

os.environ.setdefault("JUPYTER_DATA_DIR", os.path.expanduser("~/Library/Jupyter"))
