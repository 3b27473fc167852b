"""labfab: your own JupyterLab on a machine you reach over SSH, as a Fabric task library."""

from invoke import Collection

from . import check, setup
from .stages import firewall, jupyter, keys, lab, python, ssh, system, tunnel, user

__all__ = ["ns"]

ns = Collection(setup, check, system, user, keys, ssh, firewall, python, jupyter, lab, tunnel)
