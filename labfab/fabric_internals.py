"""Fabric internals: the only module that uses private attributes of Fabric and Invoke.

Both libraries merge their configuration files and have no public way to ask where a value came
from. tests/test_fabric_internals.py fails when a new version of either lacks what is read here.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import fabric
from invoke.config import Config
from invoke.context import Context
from invoke.parser.parser import ParseMachine
from paramiko import SSHClient, SSHConfig

from .errors import SetupError
from .text import as_typed

# The levels of Invoke's configuration that files and collections fill, weakest first.
Level = Literal["collection", "system", "user", "project", "runtime", "overrides"]
LEVELS: tuple[Level, ...] = get_args(Level)
# Fabric's Connection passes unknown attributes to its configuration, so ours bypasses setattr.
SESSION = "_labfab"


def settings_file(config: Config) -> str:
    """Return the file given with `fab -f`; empty if there is none."""
    return str(getattr(config, "_runtime_path", None) or "")


def ssh_config_file(config: Config) -> Path | None:
    """Return the file given with `fab -S`; None if there is none, and always in Invoke alone."""
    given = getattr(config, "_runtime_ssh_path", None)
    return Path(given) if given else None


def given_keys(config: Config) -> set[str]:
    """Return the keys given with `fab -i` or in a file of settings, not in an ssh_config."""
    found: set[str] = set()
    for level in LEVELS:
        keys = (level_data(config, level).get("connect_kwargs") or {}).get("key_filename") or []
        found.update([keys] if isinstance(keys, str) else map(str, keys))
    return found


def project_folder(config: Config) -> str:
    """Return the folder of the fabfile, or the current one if no fabfile was loaded."""
    return str(getattr(config, "_project_prefix", None) or os.getcwd())


def level_data(config: Config, level: Level) -> Mapping[str, Any]:
    """Return the values of one level of a configuration, unmerged."""
    return getattr(config, f"_{level}", None) or {}


def level_path(config: Config, level: Level) -> str:
    """Return the file that filled a level; empty if none did."""
    return str(getattr(config, f"_{level}_path", None) or "")


def load_level(config: Config, level: Literal["project", "runtime"]) -> None:
    """Read the file of one level into a configuration. Raises whatever its parser raises."""
    config.load_project() if level == "project" else config.load_runtime()


def read_project(folder: str) -> Config:
    """Return an empty Invoke configuration that finds invoke.yaml in a folder."""
    return Config(project_location=Path(folder), lazy=True)


def read_no_python_settings() -> None:
    """Pass over files of settings in Python, which Invoke would run.

    `labfab` is started in any folder, also in one whose files came from a host.
    """
    Config._load_py = lambda self, path: {}  # type: ignore[method-assign]


def name_garbled_files() -> None:
    """Let `fab` end with one line if it cannot read -f FILE or fabric.yaml.

    Fabric loads both before any task of ours runs, and passes on whatever their parser raises.
    """
    levels: tuple[Level, ...] = ("project", "runtime")
    for level in levels:
        load = getattr(fabric.Config, f"load_{level}")
        if not hasattr(load, "__wrapped__"):
            setattr(fabric.Config, f"load_{level}", telling(load, level))


def telling(load: Callable[..., None], level: Level) -> Callable[..., None]:
    """Return a method that loads a file; it raises SetupError for one that cannot be parsed."""

    @functools.wraps(load)
    def told(config: Config, *args: Any, **kwargs: Any) -> None:
        try:
            load(config, *args, **kwargs)
            refuse_strange_keys(level_data(config, level))
            # Fabric does this later, and values of the wrong kind do not merge.
            config.merge()
        # The parsers' errors have no common base class.
        except Exception as error:
            place = level_path(config, level) if level == "runtime" else "fabric.yaml"
            raise unreadable(place, error) from None

    return told


def refuse_strange_keys(values: object) -> None:
    """Raise ValueError for what Invoke cannot use: no mapping, or a key that is not text."""
    if not isinstance(values, Mapping):
        raise ValueError("it must hold settings, one `key: value` a line")
    for key, value in values.items():
        if not isinstance(key, str):
            raise ValueError(f"the key {key!r} is not text: write it in quotes")
        if isinstance(value, Mapping):
            refuse_strange_keys(value)


def unreadable(place: str, error: Exception) -> SetupError:
    """Return the error for a file of settings that cannot be parsed."""
    words = " ".join(str(error).split()) or type(error).__name__
    return SetupError(f"{place} cannot be read: {words[:200]}: correct the file")


def read_ssh_config_with(
    kind: type[SSHConfig], load: Callable[[str | None, str, str, bool], SSHConfig]
) -> None:
    """Let Fabric keep what *load* returns, instead of what paramiko's parser makes of the files.

    Fabric lets the parser's errors pass, reads the files again for every copy of a configuration,
    and adds the result to what it had.
    """
    copied = fabric.Config._clone_init_kwargs
    if hasattr(copied, "__wrapped__"):
        return

    def load_once(config: Any) -> None:
        if not isinstance(config.base_ssh_config, kind):
            places = (config._runtime_ssh_path, config._user_ssh_path, config._system_ssh_path)
            config._set(base_ssh_config=load(*places, bool(config.load_ssh_configs)))

    @functools.wraps(copied)
    def shared(config: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        ours = isinstance(config.base_ssh_config, kind)
        given: dict[str, Any] = copied(config, *args, **kwargs)
        return {**given, "ssh_config": config.base_ssh_config} if ours else given

    fabric.Config._load_ssh_files = load_once
    fabric.Config._clone_init_kwargs = shared


def connect_with(client: type[SSHClient], proxied: Callable[[fabric.Connection], Any]) -> None:
    """Let Fabric's connections use this class of client, and *proxied* for a ProxyCommand."""
    fabric.connection.SSHClient = client
    through = fabric.Connection.open_gateway
    if hasattr(through, "__wrapped__"):
        return

    @functools.wraps(through)
    def open_gateway(c: fabric.Connection) -> Any:
        return proxied(c) if isinstance(c.gateway, str) else through(c)

    fabric.Connection.open_gateway = open_gateway
    fabric.Connection.get_gateway = nearest_first(fabric.Connection.get_gateway)


def nearest_first(find: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that goes through the hosts of a ProxyJump in the order that ssh takes.

    Fabric goes through the last one first.
    """

    @functools.wraps(find)
    def get_gateway(c: fabric.Connection) -> Any:
        written = c.ssh_config.get("proxyjump")
        if not written:
            return find(c)
        c.ssh_config["proxyjump"] = ",".join(reversed(written.split(",")))
        try:
            return find(c)
        finally:
            c.ssh_config["proxyjump"] = written

    return get_gateway


class HostName(str):
    """A host's name that remembers the user it was typed with, for Match user in an ssh_config."""

    user: str = ""


def understand_brackets() -> None:
    """Let Fabric take an address in brackets, as ssh and its ProxyJump do: root@[2001:db8::1]:22.

    With more than one colon, Fabric takes all of it for the host's name.
    """
    parse = fabric.connection.derive_shorthand
    if hasattr(parse, "__wrapped__"):
        return

    @functools.wraps(parse)
    def shorthand(login: str) -> dict[str, Any]:
        found = re.fullmatch(r"(?:(?P<user>.*)@)?\[(?P<host>[^\[\]]+)\](?::(?P<port>\d+))?", login)
        parts: dict[str, Any] = found.groupdict() if found else parse(login)
        host, port = parts["host"], parts["port"]
        if host:
            host = HostName(host)
            host.user = parts["user"] or ""
        return {
            "user": parts["user"] or None,
            "host": host,
            "port": None if port is None else int(port),
        }

    fabric.connection.derive_shorthand = shorthand


def help_anywhere() -> None:
    """Let the parser show help wherever --help stands, and suggest what was probably meant.

    Invoke takes --help for the value of a task's first argument.
    """
    if hasattr(ParseMachine.handle, "__wrapped__"):
        return
    ParseMachine.handle = with_help(ParseMachine.handle)  # type: ignore[method-assign]
    ParseMachine.error = in_words(ParseMachine.error)  # type: ignore[method-assign]


def with_help(handle: Callable[..., None]) -> Callable[..., None]:
    """Return a method that takes --help after a task for a question about that task."""

    @functools.wraps(handle)
    def told(machine: Any, token: str) -> None:
        context = machine.context
        asked = token in ("--help", "-h") and machine.current_state == "context"
        if not (asked and context and context.name) or machine.waiting_for_flag_value:
            return handle(machine, token)
        machine.initial.flags[token].value = context.name
        # Nothing is missing any more.
        for argument in context.missing_positional_args:
            argument.set_value("", cast=False)

    return told


def in_words(error: Callable[..., None]) -> Callable[..., None]:
    """Return a method that says what the parser does not understand, and what to type."""

    @functools.wraps(error)
    def told(machine: Any, text: str) -> None:
        unknown = re.fullmatch(r"No idea what '(.*)' is!", text)
        missing = re.fullmatch(
            r"'(.*)' did not receive required positional arguments: '(.*?)'.*", text
        )
        if unknown:
            text = unknown_word(unknown[1], list(machine.contexts))
        elif missing:
            task, name = missing[1], missing[2]
            text = f"{task}: which {name}? Type {task} {name.upper()}; fab {task} --help says more"
        error(machine, as_typed(text))

    return told


def unknown_word(word: str, tasks: list[str]) -> str:
    """Return what is wrong with a word of the command line that is neither task nor flag."""
    from difflib import get_close_matches

    if word.startswith("-"):
        return f"{word}: no such option here; fab TASK --help lists those of a task"
    close = get_close_matches(word, tasks, n=1)
    hint = f"did you mean {close[0]}?" if close else "fab --list shows them all"
    return f"{word}: no such task; {hint}"


def copy_for_host(config: Any) -> Any:
    """Copy a Fabric configuration for one host; the copy shares the parsed ~/.ssh/config.

    Fabric's clone() parses those files again on every call and adds the result to the *original*,
    so each host would double its rules.
    """
    shared, given = config.base_ssh_config, config._given_explicit_object
    config._set(base_ssh_config=SSHConfig(), _given_explicit_object=True)
    try:
        copy = config.clone()
    finally:
        config._set(base_ssh_config=shared, _given_explicit_object=given)
    copy._set(base_ssh_config=shared)
    return copy


def session_of(c: Context) -> Any:
    """Return the session that keep_session() attached to a connection; None if there is none."""
    return vars(c).get(SESSION)


def keep_session(c: Context, session: object) -> None:
    """Attach a session to a connection."""
    vars(c)[SESSION] = session
