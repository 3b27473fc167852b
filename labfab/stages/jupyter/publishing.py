"""Publishing: the options a published server needs, and its minimum password length.

Owns: these keys of jupyter_server_config.json, noted there under Labfab.
Undo: jupyter.configure with another `publish`

Constraints:
- Options that one `publish` needs are dangerous under another. So labfab notes those it wrote,
  and removes them when they are no longer needed.
- A hash does not show how long its password is. So labfab also notes the hash of a password
  that it has seen to be long.
"""

from __future__ import annotations

import hashlib
from typing import Any

from fabric import Connection

from ...certificates.location import lab_names
from ...errors import SetupError
from ...facts import facts
from ...host.session import Host
from ...local_state import passwords, secrets
from ...settings import Settings, is_address

Config = dict[str, Any]

# Jupyter has no class of this name, and ignores it.
NOTE = "Labfab"
# Jupyter's other cookies are secure over HTTPS by default.
SECURE = {"xsrf_cookie_kwargs": {"secure": True}}
# The shortest password allowed if anybody on the network can try one.
STRONG = 14
GIVE = "give one in LABFAB_JUPYTER_PASSWORD"


def server_keys(c: Connection, want: Settings) -> Config:
    """Return what ServerApp needs in addition when browsers come without SSH."""
    if not want.published:
        return {}
    reached = lab_names(c)
    # Jupyter looks up the Host of a request in local_hostnames, but never an address.
    server: Config = {
        "local_hostnames": ["localhost", *reached],
        "allow_remote_access": any(map(is_address, reached)),
    }
    if want.publish == "apache":
        # Only Apache reaches it, so what Apache says about the caller is true.
        return server | {"trust_xheaders": True}
    # The stage https puts the certificate there.
    folder = f"{facts(c).accounts[want.jupyter_user].home}/.jupyter/tls"
    return server | {"certfile": f"{folder}/cert.pem", "keyfile": f"{folder}/key.pem"}


def refuse_without_certificate(c: Connection, want: Settings) -> None:
    """Raise SetupError if JupyterLab could not start because its certificate is missing."""
    host = Host.of(c)
    if want.publish == "https" and not facts(c).https.pair and not host.planning:
        raise SetupError(
            "JupyterLab has no certificate with its key yet: https.issue first", host=host.label
        )


def update(c: Connection, want: Settings, config: Config) -> None:
    """Note in *config* what `publish` needs, and remove what another `publish` needed."""
    server, note, now = config["ServerApp"], config.setdefault(NOTE, {}), server_keys(c, want)
    noted, options = note.pop("publish", {}), want.jupyter_options.get("ServerApp", {})
    before = dict(noted) if isinstance(noted, dict) else {}
    for key, value in before.items():
        if key not in now and key not in options and server.get(key) == value:
            del server[key]
    if want.publish == "https":
        server["tornado_settings"] = {**SECURE, **server.get("tornado_settings", {})}
    elif "certfile" in before and is_ours(server, options):
        del server["tornado_settings"]
    if now:
        note["publish"] = now
    if not note:
        del config[NOTE]


def is_ours(server: Config, options: Config) -> bool:
    """Return whether tornado_settings are as labfab wrote them, and nobody has set them since."""
    return "tornado_settings" not in options and server.get("tornado_settings") == SECURE


def with_long_password_note(want: Settings, config: Config) -> Config:
    """Note in a published configuration that its password is long; the caller has checked that."""
    if not want.published:
        return config
    return {**config, NOTE: {**config.get(NOTE, {}), "long_password": hash_fingerprint(config)}}


def hash_fingerprint(config: Config) -> str:
    """Return a fingerprint of the present hash."""
    return hashlib.sha256(hash_of(config).encode()).hexdigest()


def hash_of(config: Config) -> str:
    """Return the password's hash, or an empty string if there is none."""
    return str(config.get("IdentityProvider", {}).get("hashed_password", ""))


def refuse_weak(
    c: Connection, want: Settings, config: Config, *aliases: str, how: str = GIVE
) -> None:
    """Raise SetupError if anybody can try this password and it is not known to be long.

    aliases: the labs whose passwords this laptop may have kept. how: the advice in the error.
    """
    hash = hash_of(config)
    if want.published and not passwords.is_slow(hash):
        raise SetupError(
            f"publish: {want.publish} needs a password hashed with argon2, and JupyterLab's has an "
            "old hash, which can be tried fast: set one with jupyter.password",
            host=Host.of(c).label,
        )
    if not want.published or config.get(NOTE, {}).get("long_password") == hash_fingerprint(config):
        return
    given = secrets.take_from_environment("jupyter-password")
    if given and passwords.verify(hash, given.reveal()):
        refuse_short(c, want, given, how)
        return
    found = next(filter(None, (stored_password_for(alias, hash) for alias in aliases)), None)
    refuse_short(c, want, found, how)


def stored_password_for(alias: str, hash: str) -> secrets.Secret | None:
    """Return the password of this hash if this laptop has kept it."""
    value = secrets.load(alias, "jupyter-password")
    return value if value and passwords.verify(hash, value.reveal()) else None


def refuse_short(
    c: Connection, want: Settings, password: secrets.Secret | None, how: str = GIVE
) -> None:
    """Raise SetupError if anybody can try a password that is short, or unknown here (None)."""
    if password is None or len(password.reveal()) < STRONG:
        why = "is shorter" if password else "is not known here"
        raise SetupError(
            f"publish: {want.publish} needs a password of at least {STRONG} characters, "
            f"and JupyterLab's {why}: {how}",
            host=Host.of(c).label,
        )
