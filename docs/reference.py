"""Write docs/settings.md, tasks.md and rooms.svg from the code, for `inv docs`.

A test checks that they are up to date.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

from invoke import Task
from invoke.parser.context import to_flag
from msgspec import inspect

import labfab
from docs import rooms
from labfab.settings import Settings

DOCS = Path(__file__).parent
MADE = "<!-- Made from the code by `inv docs`: change it there. -->\n"
SETTINGS = f"""{MADE}
# Settings

Write settings under `lab:` in `invoke.yaml` next to the fabfile, one `name: value` per line. Later
sources override earlier ones:

1. the defaults below;
2. `lab:` in `invoke.yaml`;
3. `lab:` in the files that `fab` itself reads: `/etc/fabric.yaml`, `~/.fabric.yaml`, `fabric.yaml`
   next to the fabfile, the file given with `fab -f FILE`;
4. the recipe `config/NAME.yaml` chosen with `LABFAB_RECIPE=NAME`;
5. what these files say about this host under `hosts:`, in the same order
   ([below](#hosts-of-their-own));
6. what `setup.full` kept for this host ([below](#settings-given-once));
7. the environment variable of the setting;
8. the flag of a task, if it has one.

In a variable, write a list with commas (`LABFAB_OPEN_PORTS=80,443`), a mapping as JSON, and yes or
no as `true` or `false`. An unknown name or a value that is not allowed stops the run before any
host is contacted; the message names the place it came from.

## Hosts of their own

One file can serve many hosts: under `hosts:`, inside `lab:`, single hosts have settings of their
own. A host is named by its alias, by what you type after `-H`, by its address, or by a pattern with
`*`, `?` and `[…]`.

```yaml
lab:
  python: venv
  alias: "{{host}}"
  hosts:
    "*.gpu.example.org": {{packages: [torch]}}
    203.0.113.5: {{alias: homelab, ssh_port: 22}}
    homelab: {{local_port: 9001}}
```

Within one file a name overrides a pattern, and a later pattern overrides an earlier one; a file
that is read later overrides an earlier one. A host is found by any of its names: whether typed as
`root@203.0.113.5` or, after setup, as `homelab`, it has the same settings. Every entry is checked,
including those of other hosts. `parallel` and `recap` apply to a whole run and cannot be set here.

## Settings given once

`setup.full` remembers its recipe before its first change, and with it the settings that you gave in
variables, if they decide what the host is (its accounts, ports, Python, names, email, how it is
published) and the files do not say the same. So `LABFAB_NAMES=lab.example.org
LABFAB_EMAIL=you@example.org fab … setup.full` is typed once: `check.all`, `setup.plan` and every
other command for this host know both from then on, even if that first run stopped halfway. They are
in `~/.config/labfab/<alias>/settings.json`, which only you can read; no password is among them. A
value that you give later wins: in a variable, or in a recipe with `-f`. To return to a default,
give it once, as in `LABFAB_PUBLISH=tunnel`. `setup.undo` forgets them.

## All settings

| setting | type | default | variable | meaning |
|---|---|---|---|---|
%s

## Variables that are no settings

| variable | meaning |
|---|---|
| `LABFAB_RECIPE` | Name of a recipe in `config/` |
| `LABFAB_DEBUG` | `wire`: report at the end what was sent over the line |
| `LABFAB_LOGIN_PASSWORD` | Password of the login given with `-H` |
| `LABFAB_SUDO_PASSWORD` | Sudo password of the login given with `-H` and of `user` if it has none |
| `LABFAB_JUPYTER_PASSWORD` | Password of JupyterLab |
| `LABFAB_CA_PASSPHRASE` | Encrypts the lab's CA key, which is kept; without it the key signs once |

A password variable is removed from the environment once it has been read. Keep passwords out of the
project's files.
"""
TASKS = f"""{MADE}
# Tasks

`fab --list` prints this table, `fab --list -F json` prints it for programs, and `fab --help TASK`
prints one task with its flags. A task with a star can also be called by the name of its group
alone: `fab -H homelab lab` is `lab.start`.

| task | what it does | flags |
|---|---|---|
%s
"""


def write() -> None:
    """Write the pages and the diagram of the rooms."""
    for name, text in pages().items():
        (DOCS / name).write_text(text)


def pages() -> dict[str, str]:
    """Return everything that is made from the code, as file name -> text."""
    return {
        "rooms.svg": rooms.picture(),
        "settings.md": SETTINGS % "\n".join(settings_rows()),
        "tasks.md": TASKS % "\n".join(task_rows()),
    }


def settings_rows() -> Iterator[str]:
    for field in inspect.type_info(Settings).fields:
        name, about = field.name, field.type.extra_json_schema["description"]
        yield row(
            f"`{name}`", words(field.type.type), default(field), f"`LABFAB_{name.upper()}`", about
        )


def words(kind: inspect.Type) -> str:
    """Describe a type and its limits in words."""
    match kind:
        case inspect.Metadata():
            return words(kind.type)
        case inspect.LiteralType():
            return " or ".join(f"`{value}`" for value in kind.values)
        case inspect.IntType():
            return f"number from {kind.ge} to {kind.le}" if kind.le else f"number from {kind.ge}"
        case inspect.ListType():
            return f"list of: {words(kind.item_type)}"
        case inspect.DictType():
            return "mapping"
        case inspect.BoolType():
            return "yes or no"
        case inspect.StrType():
            return "text"
    raise TypeError(f"no words for {kind}: add them here")


def default(field: inspect.Field) -> str:
    if field.default in ("", [], {}):
        return "empty"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def task_rows() -> Iterator[str]:
    for name, aliases in sorted(labfab.ns.task_names.items()):
        task = labfab.ns[name]
        yield row(
            f"`{name}`{' *' if aliases else ''}", task.__doc__.strip().splitlines()[0], flags(task)
        )


def flags(task: Task) -> str:
    return ", ".join(f"`{to_flag(name)}`: {about}" for name, about in arguments(task).items())


def arguments(task: Task) -> dict[str, str | None]:
    """Return the flags of a task and their meanings."""
    # Invoke consumes a task's help as it reads it.
    task = copy.copy(task)
    task.help = dict(task.help)
    return {argument.name: argument.help for argument in task.get_arguments()}


def row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    write()
