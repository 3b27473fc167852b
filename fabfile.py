"""Set up a JupyterLab of your own on a machine that you reach over SSH."""

from labfab import ns

__all__ = ["ns"]
