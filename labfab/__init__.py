"""labfab: your own JupyterLab on a machine you reach over SSH, as a Fabric task library."""

from types import ModuleType

from invoke import Collection

from . import bytecode, check, setup  # noqa: F401  bytecode first
from .stages import (
    access,
    backup,
    browse,
    files,
    firewall,
    https,
    jobs,
    jupyter,
    kernels,
    keys,
    lab,
    password,
    power,
    proxy,
    python,
    rotate,
    service,
    shortcuts,
    ssh,
    system,
    trust,
    tunnel,
    update,
    user,
)

__all__ = ["ns"]


def joined(first: ModuleType, *more: ModuleType) -> Collection:
    """One namespace, called like the first module, for the tasks of several."""
    namespace = Collection.from_module(first)
    for module in more:
        for task in Collection.from_module(module).tasks.values():
            namespace.add_task(task)
    return namespace


ns = Collection(
    setup, check, system, user, joined(keys, rotate), joined(ssh, access), firewall, python, joined(jupyter, password),
    joined(lab, kernels, service, update, jobs, browse), joined(https, trust), proxy, power, tunnel, shortcuts, files, backup,
)  # fmt: skip
