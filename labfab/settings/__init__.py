"""Settings: what you want.

One frozen, typed, validated list. Later sources win: the defaults below, `lab:` in invoke.yaml, `lab:` in
fabric.yaml or in the file given with `fab -f` (or the recipe named by LABFAB_RECIPE), LABFAB_<KEY> in the
environment, flags of a task. Unknown keys and bad values are named together with the place they came from.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import PurePosixPath
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    get_args,
    get_origin,
    get_type_hints,
)

from invoke import Context

from ..errors import SetupError
from .sources import DEFAULT_ALIAS, HOSTS, Layer, layers

if TYPE_CHECKING:
    import msgspec

# \Z and not $, which lets a newline follow. useradd(8) allows more, but these never need quoting and never begin like an option.
ACCOUNT = r"^[a-z_][a-z0-9_-]{0,31}\Z"
# systemd, cron or packages own these; taking one over would hand Lab their files.
RESERVED = {
    "root",
    "daemon",
    "bin",
    "sys",
    "nobody",
    "www-data",
    "sshd",
    "mail",
    "backup",
    "man",
    "games",
    "sync",
}

# A DNS name or an address, as it stands in a URL's host and in a certificate.
NAME = r"^(?=.{1,253}\Z)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.|\Z))+(?<!\.)\Z|^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\Z"


def doc(text: str, **limits: Any) -> msgspec.Meta:
    return within(description=text, **limits)


def within(**limits: Any) -> msgspec.Meta:
    """What msgspec holds a value against; it is loaded once there is a value, which takes longer than listing all tasks."""
    import msgspec

    return msgspec.Meta(**limits)


# Who knows the kernel of the host that a connection leads to: the room above, which dials it.
KERNEL: list[Callable[[Context], str]] = []


class Settings(NamedTuple):
    """Everything that can be set, with its default; `docs/settings.md` is made from this class."""

    user: Annotated[str, doc("Account with sudo that you log in as", pattern=ACCOUNT)] = "lab"
    lab_user: Annotated[
        str,
        doc(
            "Account without sudo that runs JupyterLab; empty: `user` runs it",
            pattern=rf"{ACCOUNT}|^\Z",
        ),
    ] = ""
    sudo: Annotated[
        Literal["password", "nopasswd"],
        doc("`password`: sudo asks for one (generated if you give none)"),
    ] = "password"

    alias: Annotated[
        str,
        doc(
            "Name of the host in ~/.ssh/config and of its folder in ~/.config/labfab; `{host}` stands for the address",
            pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]|\{host\})*\Z|^\{host\}\Z",
        ),
    ] = DEFAULT_ALIAS
    identity: Annotated[
        str,
        doc(
            "Your private key; empty: ~/.ssh/id_ed25519, id_ecdsa or id_rsa, else a new ~/.ssh/id_ed25519"
        ),
    ] = ""
    public_keys: Annotated[
        list[str], doc("More public keys that may log in: files or `ssh-ed25519 AAAA…` lines")
    ] = []
    host_key: Annotated[
        str,
        doc(
            "Fingerprint the host must show at the first contact",
            pattern=r"^(SHA256:[A-Za-z0-9+/]{43})?\Z",
        ),
    ] = ""
    connect_timeout: Annotated[int, doc("Seconds to wait for a connection", ge=1, le=600)] = 10

    revert_after: Annotated[
        int,
        doc(
            "Seconds after which the host takes a change to its access back, unless a fresh login proves it",
            ge=5,
            le=3600,
        ),
    ] = 60
    parallel: Annotated[
        int, doc("Hosts to work on at the same time, with -H a,b,c; 1: one by one", ge=1, le=300)
    ] = 10
    recap: Annotated[
        Literal["table", "json"],
        doc("`json`: stdout is one JSON document with an entry for each host; docs/fleet.md"),
    ] = "table"

    update: Annotated[bool, doc("Upgrade the system's packages")] = True
    update_max_age: Annotated[
        int, doc("Hours for which the package lists count as fresh", ge=0)
    ] = 24
    reboot: Annotated[bool, doc("Reboot by itself when an upgrade asks for it")] = False

    ssh_port: Annotated[int, doc("Port that sshd listens on", ge=1, le=65535)] = 2222
    restrict_logins: Annotated[
        bool,
        doc(
            "macOS: let in over SSH only administrators, JupyterLab's account and who is on Remote Login's list already"
        ),
    ] = True
    close_port_22: Annotated[
        bool,
        doc(
            "macOS: switch Remote Login's own port 22 off once `ssh_port` is proven. With FileVault a Mac that restarts is unlocked "
            "over SSH at port 22 only, so then it needs somebody at its keyboard"
        ),
    ] = False
    keep_awake: Annotated[
        bool,
        doc(
            "macOS: keep the Mac from sleeping, have it wake for the network and start after a power cut"
        ),
    ] = False
    firewall: Annotated[bool, doc("Switch ufw on")] = True
    open_ports: Annotated[
        list[Annotated[int, within(ge=1, le=65535)]], doc("TCP ports to let in besides SSH")
    ] = []

    python: Annotated[
        Literal["miniforge", "anaconda", "miniconda", "venv"],
        doc("Where Python and JupyterLab come from"),
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
        list[Annotated[str, within(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\[\],<>=!~-]*\Z")]],
        doc("More Python packages beside JupyterLab"),
    ] = []
    accept_anaconda_terms: Annotated[
        bool, doc("You accept Anaconda's terms of service (organisations over 200 people pay)")
    ] = False

    lab_port: Annotated[
        int, doc("Port of JupyterLab on the host's loopback", ge=1024, le=65535)
    ] = 9999
    listen: Annotated[
        Literal["tcp", "socket"],
        doc(
            "`tcp`: JupyterLab listens at `lab_port`; `socket`: on a Unix socket that only its account can open, and at no port"
        ),
    ] = "tcp"
    local_port: Annotated[int, doc("Port of the tunnel on your laptop", ge=1024, le=65535)] = 9000
    root_dir: Annotated[
        str,
        doc(
            "Folder of your notebooks, below the home unless absolute", pattern=r"^[^\x00-\x1f]+\Z"
        ),
    ] = "notebooks"
    base_url: Annotated[
        str,
        doc(
            "Path that JupyterLab lives under, with / at both ends",
            pattern=r"^/([A-Za-z0-9_~-][A-Za-z0-9._~-]*/)*\Z",
        ),
    ] = "/"
    start_command: Annotated[
        str,
        doc(
            "Command for the host's shell that starts JupyterLab; empty: none",
            pattern=r"^([A-Za-z_][A-Za-z0-9_-]*)?\Z",
        ),
    ] = ""
    jupyter_options: Annotated[
        dict[str, dict[str, Any]],
        doc("More options for jupyter_server_config.json, e.g. {ServerApp: {…}}"),
    ] = {}

    publish: Annotated[
        Literal["tunnel", "https", "apache"],
        doc(
            "`tunnel`: reached through SSH only; `https`: JupyterLab serves TLS at `lab_port` to everybody; `apache`: Apache does at 443"
        ),
    ] = "tunnel"
    names: Annotated[
        list[Annotated[str, within(pattern=NAME)]],
        doc(
            "DNS names and addresses that browsers reach a published JupyterLab by; empty: the address you connect to"
        ),
    ] = []
    certificate: Annotated[
        Literal["self-signed", "letsencrypt"],
        doc("Who vouches for a published JupyterLab: a CA of its own, or Let's Encrypt"),
    ] = "self-signed"
    email: Annotated[
        str, doc("Where Let's Encrypt writes to", pattern=r"^([^\s@]+@[^\s@]+\.[^\s@]+)?\Z")
    ] = ""
    acme_server: Annotated[
        str,
        doc(
            "Another ACME server than Let's Encrypt: `staging`, or the URL of its directory",
            pattern=r"^(staging|https://[^\s'\"]+)?\Z",
        ),
    ] = ""
    webroot: Annotated[
        str,
        doc(
            "Folder that the host's web server serves at port 80, for Let's Encrypt, if it is not Apache",
            pattern=r"^(/[^\x00-\x1f]*)?\Z",
        ),
    ] = ""

    @property
    def jupyter_user(self) -> str:
        """The account that owns Python, the notebooks and the Lab process."""
        return self.lab_user or self.user

    @property
    def lab_socket(self) -> str:
        """JupyterLab's socket, from its account's home on; empty where it listens on TCP."""
        return ".jupyter/lab.sock" if self.listen == "socket" else ""

    @property
    def lab_place(self) -> str:
        """Where JupyterLab listens, in words."""
        return f"~/{self.lab_socket}" if self.lab_socket else f"port {self.lab_port}"

    @property
    def published(self) -> bool:
        """Whether JupyterLab is to be reached without SSH."""
        return self.publish != "tunnel"

    @property
    def public_port(self) -> int:
        """The port that browsers reach a published JupyterLab at."""
        return 443 if self.publish == "apache" else self.lab_port

    @property
    def public_ports(self) -> list[int]:
        """The TCP ports that a published JupyterLab needs; Let's Encrypt asks at port 80."""
        ports = {"tunnel": set(), "https": {self.lab_port}, "apache": {80, 443}}[self.publish]
        return sorted(
            ports | ({80} if self.published and self.certificate == "letsencrypt" else set())
        )

    def reached_by(self, address: str) -> list[str]:
        """The names and addresses that a certificate must have, the main one first; *address* is the one you connect to."""
        return list(dict.fromkeys(self.names)) or [address]

    def public_url(self, address: str) -> str:
        """Where browsers reach a published JupyterLab; *address* is the one you connect to."""
        name = self.reached_by(address)[0]
        port = "" if self.public_port == 443 else f":{self.public_port}"
        return f"https://{f'[{name}]' if ':' in name else name}{port}{self.base_url}"

    def notebooks(self, home: str) -> str:
        """The folder of the notebooks in full, for an account with this home."""
        return str(PurePosixPath(home) / self.root_dir)

    def lab_url(self, port: int) -> str:
        """Where JupyterLab answers at a port of this machine, or of the host's loopback; ends with /."""
        scheme = "https" if self.publish == "https" else "http"
        return f"{scheme}://127.0.0.1:{port}{self.base_url}"

    def for_macos(self, login: str) -> Settings:
        """These settings on a Mac: an administrator logs in, who is there already, and JupyterLab runs as an account without rights."""
        lab_user = self.lab_user or self.user
        return self._replace(user=login, lab_user="" if lab_user == login else lab_user)

    @classmethod
    def of(cls, c: Context, **flags: Any) -> Settings:
        """Collect the settings that hold for this context.

        c: the task's context. flags: values given on the command line; None means not given.
        Raises SetupError for an unknown key or a bad value, with the place it came from.
        """
        values: dict[str, Any] = {}
        for layer in layers(c, structured()):
            if layer.taken:
                values.update(checked(layer.values, layer.place))
            else:
                look_over(layer)
        values.update(
            checked({k: v for k, v in flags.items() if v is not None}, "the command line")
        )
        settings = cls(**values)
        # The session of this login knows what the host is, once that has been asked.
        on_macos = any(kernel_of(c) == "Darwin" for kernel_of in KERNEL)
        return consistent(settings.for_macos(c.user) if on_macos else settings)


def is_address(name: str) -> bool:
    """Whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


IN_WORDS = {
    "array": "a list",
    "object": "keys with values",
    "int": "a whole number",
    "bool": "true or false",
    "str": "text",
}
OF_A_RUN = ("parallel", "recap")
SEEN: set[str] = set()


@cache
def types() -> dict[str, Any]:
    """The settings with their types and limits."""
    return get_type_hints(Settings, include_extras=True)


@cache
def structured() -> set[str]:
    """The settings that are lists or mappings."""
    return {
        name
        for name, hint in types().items()
        if get_origin(getattr(hint, "__origin__", None)) in (list, dict)
    }


def checked(layer: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Convert one layer's values to their types."""
    if not isinstance(layer, Mapping):
        raise SetupError(f"{place}: `lab:` must hold settings, one `key: value` a line")
    return {key: convert(key, value, place) for key, value in layer.items()}


def look_over(layer: Layer) -> None:
    """Check what stands there for another host: once, for a fleet has many."""
    seen = f"{layer.place} {layer.values!r}"
    if seen not in SEEN:
        checked(layer.values, layer.place)
        SEEN.add(seen)


def convert(key: str, value: Any, place: str) -> Any:
    if key in OF_A_RUN and f", {HOSTS}: " in place:
        raise SetupError(f"{place}: {key} holds for a whole run: write it above `{HOSTS}:`")
    if key not in Settings._fields:
        raise SetupError(
            f"{place}: unknown setting {key!r}{nearest(key)}; docs/settings.md lists them all"
        )
    import msgspec

    try:
        found = msgspec.convert(value, types()[key], strict=False)
    except (msgspec.ValidationError, TypeError) as error:
        raise SetupError(f"{place}: {key} cannot be {value!r}: {reason(key, error)}") from None
    if key in ("user", "lab_user") and found in RESERVED:
        raise SetupError(
            f"{place}: {key} cannot be {found!r}: choose an account of your own, e.g. lab"
        )
    return found


def reason(key: str, error: Exception) -> str:
    """Say in words what msgspec tells in the names of types and patterns."""
    choices = get_args(types()[key].__origin__)
    if "enum" in str(error):
        return f"choose one of {', '.join(choices)}"
    if "Expected `bool`" in str(error):
        return "write true or false"
    if "regex" not in str(error):
        words = re.sub(r" - at `\$.*", "", str(error)).replace("`", "").lower()
        return re.sub(
            r"\b(array|object|int|bool|str)\b",
            lambda word: IN_WORDS[word[0]],
            words.partition(", got")[0],
        )
    if key in ("user", "lab_user"):
        return "an account name has small letters, digits, - and _, at most 32, and begins with a letter"
    return "see docs/settings.md for what is allowed"


def nearest(key: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(str(key), Settings._fields, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def consistent(settings: Settings) -> Settings:
    """Refuse values that are right alone but not together."""
    if settings.user == settings.lab_user:
        raise SetupError(
            "lab_user must be another account than user: leave it empty to run Lab as user"
        )
    if settings.ssh_port == settings.lab_port or (
        settings.lab_port in settings.open_ports and settings.publish != "https"
    ):
        raise SetupError(
            f"lab_port {settings.lab_port} must stay private: give ssh_port or open_ports another number"
        )
    if settings.published and settings.sudo == "nopasswd":
        raise SetupError(
            f"publish: {settings.publish} with sudo: nopasswd would give root to whoever gets into JupyterLab: leave sudo at password"
        )
    if settings.lab_socket and settings.published:
        raise SetupError(
            f"listen: socket keeps JupyterLab to the tunnel: leave listen at tcp, or publish ({settings.publish}) at tunnel"
        )
    if settings.lab_socket and settings.lab_user:
        raise SetupError(
            "listen: socket lets in the account that runs JupyterLab alone, and you log in as another: leave lab_user empty"
        )
    for name in settings.names:
        if (":" in name or name.rpartition(".")[2].isdigit()) and not is_address(name):
            raise SetupError(f"names: {name} looks like an address and is none: correct it")
    if settings.ssh_port in settings.public_ports:
        raise SetupError(
            f"ssh_port {settings.ssh_port} is what browsers come in by (publish: {settings.publish}): choose another"
        )
    if settings.python == "anaconda" and not settings.accept_anaconda_terms:
        raise SetupError(
            "python: anaconda needs accept_anaconda_terms: true; read https://www.anaconda.com/legal first "
            "(organisations over 200 people need a licence), or leave python at miniforge"
        )
    return settings
