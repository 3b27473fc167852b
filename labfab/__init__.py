"""labfab: your own JupyterLab on a machine you reach over SSH, as a Fabric task library."""

from invoke.collection import Collection

from . import check, fabric_internals, setup
from .host import client, proxy_command
from .local_state import ssh_lookup
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

fabric_internals.name_garbled_files()
fabric_internals.help_anywhere()
fabric_internals.connect_with(client.Client, proxy_command.opened)
ssh_lookup.install()
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
