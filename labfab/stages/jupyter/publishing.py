"""Outward: what Jupyter's configuration says where browsers come without SSH, and the long password that it needs then.

Owns: these keys of jupyter_server_config.json, noted there under Labfab.  Undo: jupyter.configure with another `publish`

Constraints:
- What one `publish` needs is dangerous under another, so what was written is noted, and taken out when it is not needed any more.
- A hash does not tell how long its password is, so the hash of one that was seen here to be long is noted too.
"""

from __future__ import annotations

import hashlib
from typing import Any

from fabric import Connection

from ...certificates.location import names
from ...errors import SetupError
from ...facts import facts
from ...host.session import Host
from ...local_state import passwords, secrets
from ...settings import Settings, is_address

Config = dict[str, Any]

NOTE = "Labfab"  # Jupyter has no class of this name, and passes over it
SECURE = {"xsrf_cookie_kwargs": {"secure": True}}  # its other cookies are so by themselves
STRONG = 14  # letters that a password needs where everybody may try one
GIVE = "give one in LABFAB_JUPYTER_PASSWORD"


def published(c: Connection, want: Settings) -> Config:
    """What ServerApp must say besides when browsers come without SSH."""
    if not want.published:
        return {}
    reached = names(c)
    # Jupyter looks for the Host of a request in local_hostnames, but never for an address.
    server: Config = {
        "local_hostnames": ["localhost", *reached],
        "allow_remote_access": any(map(is_address, reached)),
    }
    if want.publish == "apache":
        return server | {
            "trust_xheaders": True
        }  # nobody but Apache reaches it, so what Apache says of the caller is true
    return server | tls(c, want)


def tls(c: Connection, want: Settings) -> Config:
    """Where JupyterLab finds its certificate; the stage https puts it there."""
    folder = f"{facts(c).accounts[want.jupyter_user].home}/.jupyter/tls"
    return {"certfile": f"{folder}/cert.pem", "keyfile": f"{folder}/key.pem"}


def refuse_unready(c: Connection, want: Settings) -> None:
    """Stop where JupyterLab could not start any more, for lack of the certificate that it is to serve."""
    if want.publish == "https" and not facts(c).https.pair and not Host.of(c).planning:
        raise SetupError(
            f"{Host.of(c).label}: JupyterLab has no certificate with its key yet: https.issue first"
        )


def fit(c: Connection, want: Settings, config: Config) -> None:
    """Leave in the configuration what `publish` needs, and nothing that another one needed."""
    server, note, now = config["ServerApp"], config.setdefault(NOTE, {}), published(c, want)
    written, options = note.pop("publish", {}), want.jupyter_options.get("ServerApp", {})
    before = dict(written) if isinstance(written, dict) else {}
    for key, value in before.items():
        if key not in now and key not in options and server.get(key) == value:
            del server[key]
    if want.publish == "https":
        server["tornado_settings"] = {**SECURE, **server.get("tornado_settings", {})}
    elif (
        "certfile" in before
        and server.get("tornado_settings") == SECURE
        and "tornado_settings" not in options
    ):
        del server["tornado_settings"]
    if now:
        note["publish"] = now
    if not note:
        del config[NOTE]


def marked(want: Settings, config: Config) -> Config:
    """The configuration with a note that its password is long; whoever writes a published one has looked at that."""
    if not want.published:
        return config
    return {**config, NOTE: {**config.get(NOTE, {}), "long_password": mark(config)}}


def mark(config: Config) -> str:
    """What tells the present hash from another."""
    return hashlib.sha256(hash_of(config).encode()).hexdigest()


def hash_of(config: Config) -> str:
    return str(config.get("IdentityProvider", {}).get("hashed_password", ""))


def refuse_weak(
    c: Connection, want: Settings, config: Config, *aliases: str, how: str = GIVE
) -> None:
    """Stop where everybody could try the password of this configuration, and nobody has seen that it is long."""
    if not want.published or config.get(NOTE, {}).get("long_password") == mark(config):
        return
    given, hash = secrets.take_from_environment("jupyter-password"), hash_of(config)
    if given and passwords.verify(hash, given.reveal()):
        found = given
    else:
        found = next(filter(None, (known(alias, hash) for alias in aliases)), None)
    refuse_short(c, want, found, how)


def known(alias: str, hash: str) -> secrets.Secret | None:
    """The password that made this hash, if it is kept on this laptop."""
    value = secrets.load(alias, "jupyter-password")
    return value if value and passwords.verify(hash, value.reveal()) else None


def refuse_short(
    c: Connection, want: Settings, password: secrets.Secret | None, how: str = GIVE
) -> None:
    """Stop where everybody could try a password that is short, or that nobody here knows."""
    if password is None or len(password.reveal()) < STRONG:
        why = "is shorter" if password else "is not known here"
        raise SetupError(
            f"{Host.of(c).label}: publish: {want.publish} needs a password of at least {STRONG} letters, and JupyterLab's {why}: {how}"
        )
