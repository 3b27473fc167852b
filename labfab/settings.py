"""Settings: what you want.

One frozen, typed, validated list. Later sources win: the defaults below, `lab:` in invoke.yaml, `lab:` in
fabric.yaml or in the file given with `fab -f` (or the recipe named by LABFAB_RECIPE), LABFAB_<KEY> in the
environment, flags of a task. Unknown keys and bad values are named together with the place they came from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from invoke import Context
from msgspec import Meta

from .errors import SetupError
from .sources import layers

# \Z and not $, which lets a newline follow. useradd(8) allows more, but these never need quoting and never begin like an option.
ACCOUNT = r"^[a-z_][a-z0-9_-]{0,31}\Z"
# systemd, cron or packages own these; taking one over would hand Lab their files.
RESERVED = {"root", "daemon", "bin", "sys", "nobody", "www-data", "sshd", "mail", "backup", "man", "games", "sync"}

Port = Annotated[int, Meta(ge=1, le=65535)]


def doc(text: str, **limits: Any) -> Meta:
    return Meta(description=text, **limits)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set, with its default; `docs/settings.md` is made from this class."""

    user: Annotated[str, doc("Account with sudo that you log in as", pattern=ACCOUNT)] = "lab"
    lab_user: Annotated[
        str, doc("Account without sudo that runs JupyterLab; empty: `user` runs it", pattern=rf"{ACCOUNT}|^\Z")
    ] = ""
    sudo: Annotated[
        Literal["password", "nopasswd"], doc("`password`: sudo asks for one (generated if you give none)")
    ] = "password"

    alias: Annotated[
        str,
        doc(
            "Name of the host in ~/.ssh/config and of its folder in ~/.config/labfab; `{host}` stands for the address",
            pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]|\{host\})*\Z|^\{host\}\Z",
        ),
    ] = "homelab"
    identity: Annotated[
        str, doc("Your private key; empty: ~/.ssh/id_ed25519, id_ecdsa or id_rsa, else a new ~/.ssh/id_ed25519")
    ] = ""
    public_keys: Annotated[
        list[str], doc("More public keys that may log in: files or `ssh-ed25519 AAAA…` lines")
    ] = []
    host_key: Annotated[
        str, doc("Fingerprint the host must show at the first contact", pattern=r"^(SHA256:[A-Za-z0-9+/]{43})?\Z")
    ] = ""
    connect_timeout: Annotated[int, doc("Seconds to wait for a connection", ge=1, le=600)] = 10

    revert_after: Annotated[
        int, doc("Seconds after which the host takes a change to its access back, unless a fresh login proves it", ge=5, le=3600)
    ] = 60
    parallel: Annotated[int, doc("Hosts to work on at the same time, with -H a,b,c", ge=1, le=500)] = 10

    update: Annotated[bool, doc("Upgrade the system's packages")] = True
    update_max_age: Annotated[int, doc("Hours for which the package lists count as fresh", ge=0)] = 24
    reboot: Annotated[bool, doc("Reboot by itself when an upgrade asks for it")] = False

    ssh_port: Annotated[int, doc("Port that sshd listens on", ge=1, le=65535)] = 2222
    firewall: Annotated[bool, doc("Switch ufw on")] = True
    open_ports: Annotated[list[Port], doc("TCP ports to let in besides SSH")] = []

    python: Annotated[
        Literal["miniforge", "anaconda", "miniconda", "venv"], doc("Where Python and JupyterLab come from")
    ] = "miniforge"
    python_version: Annotated[
        str, doc("Release of the installer; empty: the pinned one", pattern=r"^[A-Za-z0-9._-]*\Z")
    ] = ""
    python_mirror: Annotated[
        str, doc("URL of a folder that holds the installer", pattern=r"^(https?://[^\s'\"]+)?\Z")
    ] = ""
    package_index: Annotated[
        str, doc("URL of a PyPI mirror (simple index)", pattern=r"^(https?://[^\s'\"]+)?\Z")
    ] = ""
    packages: Annotated[
        list[Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\[\],<>=!~-]*\Z")]],
        doc("More Python packages beside JupyterLab"),
    ] = []
    accept_anaconda_terms: Annotated[
        bool, doc("You accept Anaconda's terms of service (organisations over 200 people pay)")
    ] = False

    lab_port: Annotated[int, doc("Port of JupyterLab on the host's loopback", ge=1024, le=65535)] = 9999
    local_port: Annotated[int, doc("Port of the tunnel on your laptop", ge=1024, le=65535)] = 9000
    root_dir: Annotated[
        str, doc("Folder of your notebooks, below the home unless absolute", pattern=r"^[^\x00-\x1f]+\Z")
    ] = "notebooks"
    jupyter_options: Annotated[
        dict[str, dict[str, Any]], doc("More options for jupyter_server_config.json, e.g. {ServerApp: {…}}")
    ] = {}

    @property
    def jupyter_user(self) -> str:
        """The account that owns Python, the notebooks and the Lab process."""
        return self.lab_user or self.user

    @classmethod
    def of(cls, c: Context, **flags: Any) -> Settings:
        """Collect the settings that hold for this context.

        c: the task's context. flags: values given on the command line; None means not given.
        Raises SetupError for an unknown key or a bad value, with the place it came from.
        """
        values: dict[str, Any] = {}
        for place, layer in layers(c, STRUCTURED):
            values.update(checked(layer, place))
        values.update(checked({k: v for k, v in flags.items() if v is not None}, "the command line"))
        return consistent(cls(**values))


IN_WORDS = {"array": "a list", "object": "keys with values", "int": "a whole number", "bool": "true or false", "str": "text"}
TYPES = dict(get_type_hints(Settings, include_extras=True))
STRUCTURED = {name for name, hint in TYPES.items() if get_origin(getattr(hint, "__origin__", None)) in (list, dict)}


def checked(layer: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Convert one layer's values to their types."""
    if not isinstance(layer, Mapping):
        raise SetupError(f"{place}: `lab:` must hold settings, one `key: value` a line")
    return {key: convert(key, value, place) for key, value in layer.items()}


def convert(key: str, value: Any, place: str) -> Any:
    if key not in TYPES:
        raise SetupError(f"{place}: unknown setting {key!r}{nearest(key)}; docs/settings.md lists them all")
    try:
        found = msgspec.convert(value, TYPES[key], strict=False)
    except (msgspec.ValidationError, TypeError) as error:
        raise SetupError(f"{place}: {key} cannot be {value!r}: {reason(key, error)}") from None
    if key in ("user", "lab_user") and found in RESERVED:
        raise SetupError(f"{place}: {key} cannot be {found!r}: choose an account of your own, e.g. lab")
    return found


def reason(key: str, error: Exception) -> str:
    """Say in words what msgspec tells in the names of types and patterns."""
    choices = get_args(TYPES[key].__origin__)
    if "enum" in str(error):
        return f"choose one of {', '.join(choices)}"
    if "Expected `bool`" in str(error):
        return "write true or false"
    if "regex" not in str(error):
        words = re.sub(r" - at `\$.*", "", str(error)).replace("`", "").lower()
        return re.sub(r"\b(array|object|int|bool|str)\b", lambda word: IN_WORDS[word[0]], words.partition(", got")[0])
    if key in ("user", "lab_user"):
        return "an account name has small letters, digits, - and _, at most 32, and begins with a letter"
    return "see docs/settings.md for what is allowed"


def nearest(key: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(str(key), TYPES, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def consistent(settings: Settings) -> Settings:
    """Refuse values that are right alone but not together."""
    if settings.user == settings.lab_user:
        raise SetupError("lab_user must be another account than user: leave it empty to run Lab as user")
    if settings.ssh_port == settings.lab_port or settings.lab_port in settings.open_ports:
        raise SetupError(f"lab_port {settings.lab_port} must stay private: give ssh_port or open_ports another number")
    if settings.python == "anaconda" and not settings.accept_anaconda_terms:
        raise SetupError(
            "python: anaconda needs accept_anaconda_terms: true; read https://www.anaconda.com/legal first "
            "(organisations over 200 people need a licence), or leave python at miniforge"
        )
    return settings
