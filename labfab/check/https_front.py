"""Front: the door that everybody may knock at, called by its own names at the host's address, whoever else answers to them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..certificates import certificate, vault
from ..laptop import kernel
from .probe import Look
from .rows import Wrong

if TYPE_CHECKING:
    import httpx

PATIENCE = 5  # seconds for a line and its handshake
ALL_CIPHERS = "ALL:@SECLEVEL=0"  # else OpenSSL 3 offers nothing that TLS 1.0 has


class Served(NamedTuple):
    """What a server says of itself in a handshake."""

    certificate: certificate.Certificate
    sent: tuple[
        certificate.Certificate, ...
    ]  # its own, then those that vouch for it, as far as it sends them
    protocol: str


class Trust(NamedTuple):
    """Whom to believe that a certificate is right."""

    context: ssl.SSLContext
    whom: str


def names(look: Look) -> list[str]:
    """What browsers call it, the main name first."""
    return look.want.reached_by(look.c.host)


def url(look: Look, name: str, scheme: str = "https", port: int | None = None) -> str:
    """Where a browser goes that knows this name; port: another than the published one."""
    port = port or (look.want.public_port if scheme == "https" else 80)
    place = f"[{name}]" if ":" in name else name
    return f"{scheme}://{place}{'' if port == {'http': 80, 'https': 443}[scheme] else f':{port}'}{look.want.base_url}"


@contextlib.contextmanager
def line(look: Look, context: ssl.SSLContext, name: str = "") -> Iterator[ssl.SSLSocket]:
    """Shake hands with the published port."""
    plain = socket.create_connection((look.c.host, look.want.public_port), PATIENCE)
    with plain, context.wrap_socket(plain, server_hostname=name or names(look)[0]) as wrapped:
        yield wrapped


def served(look: Look) -> Served:
    """What is served at the main name, whether it is right or not."""
    with line(look, blind()) as there:
        sent = [certificate.read(ssl.DER_cert_to_PEM_cert(one)) for one in chain(there)]
        known = tuple(one for one in sent if one)
        return Served(known[0], known, there.version() or "")


def chain(there: ssl.SSLSocket) -> list[bytes]:
    """The certificates that were sent."""
    if hasattr(there, "get_unverified_chain"):  # Python 3.13
        return list(there.get_unverified_chain())
    own = there.getpeercert(binary_form=True) or b""
    sent = getattr(
        there._sslobj, "get_unverified_chain", lambda: None
    )()  # the same, before it had a name
    return [one.public_bytes(2) for one in sent] if sent else [own]  # 2: DER


def blind() -> ssl.SSLContext:
    """Believe everybody: to look at a certificate, never to say anything."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def ancient() -> ssl.SSLContext:
    """Speak nothing newer than TLS 1.1. Raises ssl.SSLError where this Python cannot."""
    context = blind()
    context.set_ciphers(ALL_CIPHERS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = (
            ssl.TLSVersion.TLSv1,
            ssl.TLSVersion.TLSv1_1,
        )
    return context


def trust(look: Look) -> Trust:
    """This lab's own CA where it is known here, else the authorities that browsers know."""
    own = vault.place(look.alias)
    if look.want.certificate == "self-signed" and own.exists():
        try:
            return Trust(ssl.create_default_context(cafile=str(own)), "this lab's CA")
        except ssl.SSLError:
            raise Wrong(f"{own} holds no certificate") from None
    return Trust(authorities(), "the system's authorities")


def authorities() -> ssl.SSLContext:
    """Those of the system; a Python that finds none brings its own list."""
    context, paths = ssl.create_default_context(), ssl.get_default_verify_paths()
    if not paths.cafile and not paths.capath:
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def visitor(look: Look, name: str = "", path: str = "") -> httpx.Client:
    """A browser that trusts whom it should, at one of the names."""
    return kernel.visitor(
        url(look, name or names(look)[0]) + path, trust(look).context, look.c.host, PATIENCE * 3
    )


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Make of a call without an answer one that is wrong."""
    import httpx

    try:
        yield
    except httpx.HTTPError as error:
        raise Wrong(f"{what} does not answer: {error or type(error).__name__}") from None
