"""HTTPS front: calls the published port at the host's address, by the lab's names.

DNS is not asked.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..certificates import certificate, vault
from ..certificates.certificate import Certificate
from ..laptop import kernel
from .findings import Wrong
from .probe import Probe

if TYPE_CHECKING:
    import httpx

PATIENCE = 5  # seconds to connect and shake hands
# Without this, OpenSSL 3 offers no cipher of TLS 1.0.
ALL_CIPHERS = "ALL:@SECLEVEL=0"
PORTS = {"http": 80, "https": 443}
DER = 2  # the encoding, as the ssl module counts


class Served(NamedTuple):
    """What a server presents in a handshake."""

    certificate: Certificate
    # The server's own, then as much of the chain as it sends.
    sent: tuple[Certificate, ...]
    protocol: str


class Trust(NamedTuple):
    """Which authorities to trust."""

    context: ssl.SSLContext
    whom: str
    # Trust this lab's own CA only.
    own_ca: bool = False


def names(probe: Probe) -> list[str]:
    """Return the names by which browsers reach the lab, the main one first."""
    return probe.want.reached_by(probe.c.host)


def url(probe: Probe, name: str, scheme: str = "https", port: int | None = None) -> str:
    """Return the URL of the lab at a name. port: if it is not the published one."""
    port = port or (probe.want.public_port if scheme == "https" else PORTS["http"])
    place = f"[{name}]" if ":" in name else name
    suffix = "" if port == PORTS[scheme] else f":{port}"
    return f"{scheme}://{place}{suffix}{probe.want.base_url}"


@contextlib.contextmanager
def tls_connection(
    probe: Probe, context: ssl.SSLContext, name: str = ""
) -> Iterator[ssl.SSLSocket]:
    """Do a TLS handshake with the published port.

    name: the server name to ask for, else the main one.
    """
    sock = socket.create_connection((probe.c.host, probe.want.public_port), PATIENCE)
    server = name or names(probe)[0]
    with sock, context.wrap_socket(sock, server_hostname=server) as wrapped:
        yield wrapped


def served(probe: Probe) -> Served:
    """Return what is served at the main name, valid or not."""
    with tls_connection(probe, unverified_context()) as there:
        sent = [certificate.read(ssl.DER_cert_to_PEM_cert(one)) for one in chain(there)]
        known = tuple(one for one in sent if one)
        return Served(certificate=known[0], sent=known, protocol=there.version() or "")


def chain(there: ssl.SSLSocket) -> list[bytes]:
    """Return the certificates that were sent, as DER."""
    if hasattr(there, "get_unverified_chain"):  # Python 3.13
        return list(there.get_unverified_chain())
    # Older Pythons have the method too, without a public name.
    inner = getattr(there, "_sslobj", None)
    sent = getattr(inner, "get_unverified_chain", lambda: None)()
    if sent:
        return [one.public_bytes(DER) for one in sent]
    return [there.getpeercert(binary_form=True) or b""]


def unverified_context() -> ssl.SSLContext:
    """Return a context that trusts everybody, to look at a certificate but never to send data."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def old_tls_context() -> ssl.SSLContext:
    """Return a context that supports TLS 1.0 and 1.1 only.

    Raises ssl.SSLError if this Python cannot.
    """
    context, version = unverified_context(), ssl.TLSVersion
    context.set_ciphers(ALL_CIPHERS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = version.TLSv1, version.TLSv1_1
    return context


def trust(probe: Probe, with_names: bool = True) -> Trust:
    """Return the trust in this lab's own CA if it is known here, else in the system's authorities.

    with_names: whether the certificate must also be for the name that is asked for.
    """
    own = vault.own_ca(probe.alias) if probe.want.certificate == "self-signed" else ""
    if own is None:
        raise Wrong(f"{vault.path_of(probe.alias)} holds {unfit(probe.alias)}")
    if own:
        context = ssl.create_default_context(cadata=own)
        found = Trust(context, "this lab's CA", own_ca=True)
    else:
        context = authorities()
        found = Trust(context, "the system's authorities")
    context.check_hostname = with_names
    return found


def unfit(alias: str) -> str:
    """Return what the kept CA is instead of this lab's."""
    text = vault.kept_text(vault.path_of(alias))
    return "no certificate" if certificate.parse(text) is None else "more than one certificate"


def authorities() -> ssl.SSLContext:
    """Return a context that trusts the system's authorities, or if there are none certifi's."""
    context, paths = ssl.create_default_context(), ssl.get_default_verify_paths()
    if not paths.cafile and not paths.capath:
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def browser(probe: Probe, name: str = "") -> httpx.Client:
    """Return an HTTP client with the right trust. name: the host name, else the main one."""
    place, trusted = url(probe, name or names(probe)[0]), trust(probe).context
    return kernel.new_client(place, trusted, probe.c.host, PATIENCE * 3)


@contextlib.contextmanager
def answering(what: str) -> Iterator[None]:
    """Raise Wrong if a call in the block gets no answer. what: the thing that does not answer."""
    import httpx

    try:
        yield
    except httpx.HTTPError as error:
        raise Wrong(f"{what} does not answer: {error or type(error).__name__}") from None
