"""Settings: what you want, in one frozen, typed and validated record.

Later sources win: the defaults below, `lab:` in invoke.yaml, `lab:` in fabric.yaml or in the file
given with `fab -f` (or the recipe named by LABFAB_RECIPE), LABFAB_<KEY> in the environment, flags
of a task. An error about an unknown key or a bad value names its source.
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

from invoke.context import Context

from ..errors import SetupError
from ..local_state.aliases import has_one_account
from . import kept
from .sources import DEFAULT_ALIAS, HOSTS, Layer, had_one_account, layers

if TYPE_CHECKING:
    import msgspec

# Patterns end in \Z because $ lets a newline follow.
# useradd(8) allows more, but these names need no quoting and never look like an option.
ACCOUNT = r"^[a-z_][a-z0-9_-]{0,31}\Z"
# A DNS name or an IP address, as in a URL or a certificate.
NAME = (
    r"^(?=.{1,253}\Z)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.|\Z))+(?<!\.)\Z"
    r"|^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\Z"
)
ALIAS = r"^[A-Za-z0-9]([A-Za-z0-9._-]|\{host\})*\Z|^\{host\}\Z"
FINGERPRINT = r"^(SHA256:[A-Za-z0-9+/]{43})?\Z"
URL = r"^(https?://[^\s'\"]+)?\Z"
REQUIREMENT = r"^[A-Za-z0-9][A-Za-z0-9._\[\],<>=!~-]*\Z"
URL_PATH = r"^/([A-Za-z0-9_~-][A-Za-z0-9._~-]*/)*\Z"
COMMAND = r"^([A-Za-z_][A-Za-z0-9_-]*)?\Z"
EMAIL = r"^([^\s@]+@[^\s@]+\.[^\s@]+)?\Z"
ACME = r"^(staging|https://[^\s'\"]+)?\Z"

# Where sshd moves to. Only root can listen below 1024, so no account takes the port while sshd
# restarts. From 512 on, RPC services of root take any free port. 292 is registered for nothing.
SSH_PORT = 292
FIRST_UNPRIVILEGED = 1024

# Accounts of systemd, cron or packages. JupyterLab as one of them would expose their files.
RESERVED = {"root", "daemon", "bin", "sys", "sync", "games", "man", "mail", "backup", "nobody"}
RESERVED |= {"sshd", "www-data"}


def doc(text: str, **limits: Any) -> msgspec.Meta:
    """Return the description and the limits of a setting. limits: as for within()."""
    return within(description=text, **limits)


def within(**limits: Any) -> msgspec.Meta:
    """Return the limits of a setting's values: ge, le, pattern.

    Only types() evaluates the annotations below, so listing the tasks does not load msgspec.
    """
    import msgspec

    return msgspec.Meta(**limits)


# Functions that return the kernel of a connection's host. labfab.host registers one.
KERNEL_LOOKUPS: list[Callable[[Context], str]] = []


class Settings(NamedTuple):
    """Every setting with its default. docs/settings.md is generated from this class."""

    user: Annotated[str, doc("Account with sudo that you log in as", pattern=ACCOUNT)] = "lab"
    lab_user: Annotated[
        str,
        doc(
            "Account without sudo that runs JupyterLab; empty: `user` runs it",
            pattern=rf"{ACCOUNT}|^\Z",
        ),
    ] = ""
    take_over: Annotated[
        list[Annotated[str, within(pattern=ACCOUNT)]],
        doc(
            "Accounts that exist already, not made by labfab, that may become `user` or "
            "`lab_user` all the same; their passwords and keys stay as they are"
        ),
    ] = []
    accept: Annotated[
        list[Literal["passwords", "forced-commands", "certificates", "vpn", "sudo-log"]],
        doc(
            "Ways to log in that labfab may cut off although somebody uses them: `passwords`: "
            "accounts that have a password and no key can no longer log in; `forced-commands`: "
            "keys of root that may run one command; `certificates`: certificates that open root; "
            "`vpn`: the port of the VPN through which you log in. "
            "`sudo-log`: sudo may keep the passwords that labfab types (`log_input`)"
        ),
    ] = []
    sudo: Annotated[
        Literal["password", "nopasswd"],
        doc(
            "`password`: sudo asks for a password (generated if you give none); "
            "`nopasswd`: it asks for none"
        ),
    ] = "password"

    alias: Annotated[
        str,
        doc(
            "Name of the host in ~/.ssh/config and of its folder in ~/.config/labfab; "
            "`{host}` stands for the address",
            pattern=ALIAS,
        ),
    ] = DEFAULT_ALIAS
    identity: Annotated[
        str,
        doc(
            "Your private key; empty: ~/.ssh/id_ed25519, id_ecdsa or id_rsa, "
            "else a new ~/.ssh/id_ed25519"
        ),
    ] = ""
    public_keys: Annotated[
        list[str], doc("More public keys that can log in: files or `ssh-ed25519 AAAA…` lines")
    ] = []
    host_key: Annotated[
        str, doc("Host key fingerprint to require at the first connection", pattern=FINGERPRINT)
    ] = ""
    connect_timeout: Annotated[int, doc("Seconds to wait for a connection", ge=1, le=600)] = 10

    revert_after: Annotated[
        int,
        doc(
            "Seconds after which the host reverts a change to its access, "
            "unless a fresh login has proven it",
            ge=5,
            le=3600,
        ),
    ] = 60
    parallel: Annotated[
        int, doc("Hosts to work on in parallel with -H a,b,c; 1: one after the other", ge=1, le=300)
    ] = 10
    recap: Annotated[
        Literal["table", "json"],
        doc("`json`: stdout is one JSON document with an entry for each host; see docs/fleet.md"),
    ] = "table"

    update: Annotated[bool, doc("Upgrade the system's packages")] = True
    autoremove: Annotated[
        bool,
        doc(
            "Let an upgrade remove packages: those that apt counts as no longer needed, and those "
            "in the way of an upgrade"
        ),
    ] = False
    update_max_age: Annotated[
        int, doc("Hours after which the package lists are fetched again", ge=0)
    ] = 24
    reboot: Annotated[bool, doc("Reboot automatically when an upgrade requires it")] = False

    ssh_port: Annotated[
        int,
        doc(
            "Port that sshd listens on. If you set none, a host whose sshd has left port 22 keeps "
            "its port. From 1024 on, any account of the host can take it while sshd restarts",
            ge=1,
            le=65535,
        ),
    ] = SSH_PORT
    harden_ssh: Annotated[
        bool,
        doc(
            "Stop sshd from offering weak algorithms; `false` keeps them for clients from before "
            "2017 or so"
        ),
    ] = True
    restrict_logins: Annotated[
        bool,
        doc(
            "macOS: allow SSH only to administrators, JupyterLab's account "
            "and accounts that are already on Remote Login's list"
        ),
    ] = True
    close_port_22: Annotated[
        bool,
        doc(
            "macOS: close Remote Login's own port 22 once `ssh_port` is proven. "
            "With FileVault, a restarted Mac can be unlocked over SSH on port 22 only, "
            "so after that somebody must type the password at its keyboard"
        ),
    ] = False
    keep_awake: Annotated[
        bool,
        doc(
            "macOS: keep the Mac from sleeping, wake it for network access "
            "and start it after a power cut"
        ),
    ] = False
    firewall: Annotated[
        bool, doc("Enable ufw; `false`: leave it, and a firewall of the host's own, alone")
    ] = True
    firewall_forward: Annotated[
        bool,
        doc("Let ufw pass what the host forwards for others: a VPN, containers, virtual machines"),
    ] = False
    open_ports: Annotated[
        list[Annotated[int, within(ge=1, le=65535)]], doc("TCP ports to open besides SSH")
    ] = []
    open_udp_ports: Annotated[
        list[Annotated[int, within(ge=1, le=65535)]],
        doc("UDP ports to open, such as 51820 of a VPN"),
    ] = []

    python: Annotated[
        Literal["miniforge", "anaconda", "miniconda", "venv"],
        doc("Where Python and JupyterLab come from"),
    ] = "miniforge"
    python_version: Annotated[
        str, doc("Release of the installer; empty: the pinned one", pattern=r"^[A-Za-z0-9._-]*\Z")
    ] = ""
    python_checksum: Annotated[
        str,
        doc(
            "SHA-256 of the installer; empty: the pinned one, or what the publisher or the mirror "
            "says over TLS",
            pattern=r"^([0-9a-fA-F]{64})?\Z",
        ),
    ] = ""
    python_mirror: Annotated[
        str,
        doc(
            "URL of a folder to download the installer from; http:// only with a pinned checksum",
            pattern=URL,
        ),
    ] = ""
    package_index: Annotated[str, doc("URL of a PyPI mirror (simple index)", pattern=URL)] = ""
    accept_http_index: Annotated[
        bool,
        doc(
            "You accept a `package_index` with http://, where anybody on the way can change what "
            "is installed"
        ),
    ] = False
    locked: Annotated[
        bool,
        doc(
            "`venv`: install JupyterLab in the versions and with the checksums that labfab ships; "
            "`false`: the newest, unverified"
        ),
    ] = True
    packages: Annotated[
        list[Annotated[str, within(pattern=REQUIREMENT)]],
        doc("Python packages to install besides JupyterLab"),
    ] = []
    accept_anaconda_terms: Annotated[
        bool, doc("You accept Anaconda's terms of service (organizations over 200 people pay)")
    ] = False

    lab_port: Annotated[
        int, doc("Port of JupyterLab on the host's loopback interface", ge=1024, le=65535)
    ] = 9999
    listen: Annotated[
        Literal["tcp", "socket"],
        doc(
            "`tcp`: JupyterLab listens on `lab_port`; "
            "`socket`: on a Unix socket instead, which only its account can open"
        ),
    ] = "tcp"
    local_port: Annotated[int, doc("Port of the tunnel on your laptop", ge=1024, le=65535)] = 9000
    root_dir: Annotated[
        str,
        doc(
            "Folder of your notebooks; a relative path is below the home",
            pattern=r"^[^\x00-\x1f]+\Z",
        ),
    ] = "notebooks"
    base_url: Annotated[
        str,
        doc("Path of JupyterLab's URL, beginning and ending with /", pattern=URL_PATH),
    ] = "/"
    start_command: Annotated[
        str,
        doc("Command that starts JupyterLab from the host's shell; empty: none", pattern=COMMAND),
    ] = ""
    jupyter_options: Annotated[
        dict[str, dict[str, Any]],
        doc("More options for jupyter_server_config.json, e.g. {ServerApp: {…}}"),
    ] = {}

    publish: Annotated[
        Literal["tunnel", "https", "apache"],
        doc(
            "`tunnel`: reachable through SSH only; `https`: JupyterLab serves TLS to everybody "
            "on `lab_port`; `apache`: Apache does, on port 443"
        ),
    ] = "tunnel"
    names: Annotated[
        list[Annotated[str, within(pattern=NAME)]],
        doc("DNS names and addresses of a published JupyterLab; empty: the address you connect to"),
    ] = []
    certificate: Annotated[
        Literal["self-signed", "letsencrypt"],
        doc("Who signs the certificate of a published JupyterLab: its own CA, or Let's Encrypt"),
    ] = "self-signed"
    email: Annotated[str, doc("Email address for notices from Let's Encrypt", pattern=EMAIL)] = ""
    acme_server: Annotated[
        str,
        doc(
            "ACME server to use instead of Let's Encrypt: `staging`, or the URL of its directory",
            pattern=ACME,
        ),
    ] = ""
    webroot: Annotated[
        str,
        doc(
            "Folder that the host's web server serves on port 80, for Let's Encrypt; "
            "only if that server is not Apache",
            pattern=r"^(/[^\x00-\x1f]*)?\Z",
        ),
    ] = ""

    @classmethod
    def sets(cls, c: Context, key: str) -> bool:
        """Return whether a file or variable sets this key for the context, even to the default."""
        return any(key in layer.values for layer in layers(c, structured()) if layer.taken)

    @property
    def jupyter_user(self) -> str:
        """Return the account that owns Python, the notebooks and the JupyterLab process."""
        return self.lab_user or self.user

    @property
    def lab_socket(self) -> str:
        """Return JupyterLab's socket, relative to its account's home; empty if it uses TCP."""
        return ".jupyter/lab.sock" if self.listen == "socket" else ""

    @property
    def lab_place(self) -> str:
        """Describe where JupyterLab listens."""
        return f"~/{self.lab_socket}" if self.lab_socket else f"port {self.lab_port}"

    @property
    def published(self) -> bool:
        """Return whether JupyterLab can be reached without SSH."""
        return self.publish != "tunnel"

    @property
    def public_port(self) -> int:
        """Return the port on which browsers reach a published JupyterLab."""
        return 443 if self.publish == "apache" else self.lab_port

    @property
    def public_ports(self) -> list[int]:
        """Return the TCP ports that a published JupyterLab needs.

        Let's Encrypt validates names on port 80.
        """
        ports = {"tunnel": set(), "https": {self.lab_port}, "apache": {80, 443}}[self.publish]
        if self.published and self.certificate == "letsencrypt":
            ports.add(80)
        return sorted(ports)

    def reached_by(self, address: str) -> list[str]:
        """Return the names and addresses that the certificate must list, the main one first.

        address: the one you connect to.
        """
        return list(dict.fromkeys(self.names)) or [address]

    def public_url(self, address: str) -> str:
        """Return the URL of a published JupyterLab. address: the one you connect to."""
        name = self.reached_by(address)[0]
        port = "" if self.public_port == 443 else f":{self.public_port}"
        return f"https://{f'[{name}]' if ':' in name else name}{port}{self.base_url}"

    def notebooks(self, home: str) -> str:
        """Return the absolute path of the notebooks, for an account with this home."""
        return str(PurePosixPath(home) / self.root_dir)

    def lab_url(self, port: int) -> str:
        """Return JupyterLab's URL at a loopback port of the laptop or the host. It ends with /."""
        scheme = "https" if self.publish == "https" else "http"
        return f"{scheme}://127.0.0.1:{port}{self.base_url}"

    def for_macos(self, login: str) -> Settings:
        """Return the settings for a Mac, where the administrator who logs in already exists.

        login: the administrator. JupyterLab runs as an account without admin rights.
        """
        lab_user = self.lab_user or self.user
        return self._replace(user=login, lab_user="" if lab_user == login else lab_user)

    @classmethod
    def of(cls, c: Context, with_kept: bool = True, **flags: Any) -> Settings:
        """Return the settings that apply to a context.

        c: the task's context. with_kept: also what a setup kept for its host. flags: values given
        on the command line; None means not given.
        Raises SetupError for an unknown key or a bad value, and names its source.
        """
        values: dict[str, Any] = {}
        ready = False  # whether lab_user comes from a recipe that once had none
        for layer in layers(c, structured(), with_kept):
            if layer.taken:
                values.update(checked(layer.values, layer.place))
                if "lab_user" in layer.values:
                    ready = had_one_account(layer.place)
            else:
                check_once(layer)
        if ready and has_one_account(c, values.get("alias", DEFAULT_ALIAS)):
            values["lab_user"] = ""
        given = {key: value for key, value in flags.items() if value is not None}
        values.update(checked(given, "the command line"))
        settings = cls(**values)
        on_macos = any(kernel_of(c) == "Darwin" for kernel_of in KERNEL_LOOKUPS)
        return consistent(settings.for_macos(c.user) if on_macos else settings)


def to_keep(c: Context) -> dict[str, Any]:
    """Return the settings that a setup keeps for later commands: those given in variables."""
    files: dict[str, Any] = dict(Settings._field_defaults)
    given: dict[str, Any] = {}
    for layer in layers(c, structured()):
        if layer.taken:
            (given if layer.by_hand else files).update(checked(layer.values, layer.place))
    return kept.to_keep(given, files)


def is_address(name: str) -> bool:
    """Return whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


# msgspec's names of types, as a user would say them.
IN_WORDS = {
    "array": "a list",
    "object": "keys with values",
    "int": "a whole number",
    "bool": "true or false",
    "str": "text",
}
# These apply to a whole run, so an entry for a single host cannot set them.
OF_A_RUN = ("parallel", "recap")
# Entries for other hosts that check_once() has checked.
SEEN: set[str] = set()


@cache
def types() -> dict[str, Any]:
    """Return each setting's annotation: its type, limits and description."""
    return get_type_hints(Settings, include_extras=True)


@cache
def structured() -> set[str]:
    """Return the settings that are lists or mappings."""
    return {
        name
        for name, hint in types().items()
        if get_origin(getattr(hint, "__origin__", None)) in (list, dict)
    }


def checked(layer: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Convert the values of one place to their types. Raises SetupError, naming the place."""
    if not isinstance(layer, Mapping):
        raise SetupError(f"{place}: `lab:` must hold settings, one `key: value` a line")
    return {key: convert(key, value, place) for key, value in layer.items()}


def check_once(layer: Layer) -> None:
    """Check an entry for another host. Each host of a fleet meets it, but once is enough."""
    seen = f"{layer.place} {layer.values!r}"
    if seen not in SEEN:
        checked(layer.values, layer.place)
        SEEN.add(seen)


def convert(key: str, value: Any, place: str) -> Any:
    """Convert one value to the type of its setting. Raises SetupError, naming the place."""
    if key in OF_A_RUN and f", {HOSTS}: " in place:
        raise SetupError(f"{place}: {key} applies to a whole run: write it above `{HOSTS}:`")
    if key not in Settings._fields:
        raise SetupError(
            f"{place}: unknown setting {key!r}{nearest(key)}; docs/settings.md lists them all"
        )
    import msgspec

    try:
        found = msgspec.convert(value, types()[key], strict=False)
    # ValueError: a lone surrogate, which no program accepts as text.
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise SetupError(f"{place}: {key} cannot be {value!r}: {reason(key, error)}") from None
    if key in ("user", "lab_user") and found in RESERVED:
        raise SetupError(
            f"{place}: {key} cannot be {found!r}: choose an account of your own, e.g. lab"
        )
    return found


def reason(key: str, error: Exception) -> str:
    """Return msgspec's error, which names types and patterns, in plain words."""
    said = str(error)
    if "enum" in said:
        return f"choose one of {', '.join(get_args(types()[key].__origin__))}"
    if "Expected `bool`" in said:
        return "write true or false"
    if "regex" not in said:
        words = re.sub(r" - at `\$.*", "", said).replace("`", "").lower().partition(", got")[0]
        return re.sub(r"\b(array|object|int|bool|str)\b", lambda word: IN_WORDS[word[0]], words)
    if key in ("user", "lab_user"):
        return (
            "an account name is at most 32 lower-case letters, digits, - and _, "
            "and begins with a letter"
        )
    return "see docs/settings.md for what is allowed"


def nearest(key: str) -> str:
    """Return a suggestion of the setting that was probably meant; empty if none is similar."""
    from difflib import get_close_matches

    close = get_close_matches(str(key), Settings._fields, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def consistent(settings: Settings) -> Settings:
    """Return the settings if their values fit together. Raises SetupError if they do not."""
    check_accounts_and_ports(settings)
    check_publishing(settings)
    check_mirrors(settings)
    check_kernels(settings)
    if settings.python == "anaconda" and not settings.accept_anaconda_terms:
        raise SetupError(
            "python: anaconda needs accept_anaconda_terms: true; read "
            "https://www.anaconda.com/legal first (organizations over 200 people need a license), "
            "or leave python at miniforge"
        )
    return settings


def check_accounts_and_ports(settings: Settings) -> None:
    """Raise SetupError if the accounts are equal, or if JupyterLab's port would be open."""
    if settings.user == settings.lab_user:
        raise SetupError("lab_user must differ from user: leave it empty to run JupyterLab as user")
    opened = settings.lab_port in settings.open_ports and settings.publish != "https"
    if settings.ssh_port == settings.lab_port or opened:
        raise SetupError(
            f"lab_port {settings.lab_port} must stay private: "
            "give ssh_port or open_ports another number"
        )


def check_mirrors(settings: Settings) -> None:
    """Raise SetupError for a mirror whose files anybody on the way could change."""
    unpinned = settings.python_version and not settings.python_checksum
    if settings.python_mirror.startswith("http:") and unpinned:
        raise SetupError(
            "python_mirror: anybody on the way can change what http:// brings, its checksum too: "
            "give a mirror with https://, or the installer's SHA-256 as python_checksum"
        )
    if settings.package_index.startswith("http:") and not settings.accept_http_index:
        raise SetupError(
            "package_index: anybody on the way can change what http:// brings: "
            "give an index with https://, or accept_http_index: true"
        )


def check_kernels(settings: Settings) -> None:
    """Raise SetupError if other accounts of the host could read what kernels compute."""
    transport = settings.jupyter_options.get("KernelManager", {}).get("transport", "ipc")
    if transport != "ipc":
        raise SetupError(
            f"jupyter_options: with KernelManager.transport {transport!r}, every account of the "
            "host could read what kernels compute: remove it"
        )


def check_publishing(settings: Settings) -> None:
    """Raise SetupError if publishing would expose root, or could never work."""
    if settings.published and settings.sudo == "nopasswd":
        raise SetupError(
            f"publish: {settings.publish} with sudo: nopasswd would give root to anybody "
            "who gets into JupyterLab: leave sudo at password"
        )
    if settings.lab_socket and settings.published:
        raise SetupError(
            "listen: socket works through the tunnel only: "
            "leave listen at tcp, or publish at tunnel"
        )
    for name in settings.names:
        if (":" in name or name.rpartition(".")[2].isdigit()) and not is_address(name):
            raise SetupError(
                f"names: {name} looks like an IP address, but it is not one: correct it"
            )
    if settings.ssh_port in settings.public_ports:
        raise SetupError(
            f"ssh_port {settings.ssh_port} is the port for browsers "
            f"(publish: {settings.publish}): choose another"
        )
