"""labfab: your own JupyterLab on a machine you reach over SSH, as a Fabric task library."""

from invoke.collection import Collection

from . import check, setup
from .stages import (
    backup,
    files,
    firewall,
    https,
    jupyter,
    keys,
    lab,
    power,
    proxy,
    python,
    shortcuts,
    ssh,
    system,
    tunnel,
    user,
)

__all__ = ["ns"]

ns = Collection(
    setup,
    check,
    system,
    user,
    keys,
    ssh,
    firewall,
    python,
    jupyter,
    lab,
    https,
    proxy,
    power,
    tunnel,
    shortcuts,
    files,
    backup,
)
