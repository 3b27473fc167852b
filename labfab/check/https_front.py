"""HTTPS front: the published port, called by its own names at the host's address.

What name servers say does not matter here.
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
ALL_CIPHERS = "ALL:@SECLEVEL=0"  # else OpenSSL 3 offers nothing that TLS 1.0 has
PORTS = {"http": 80, "https": 443}
DER = 2  # the encoding, as the ssl module counts


class Served(NamedTuple):
    """What a server presents in a handshake."""

    certificate: Certificate
    sent: tuple[Certificate, ...]  # its own, then the chain as far as it is sent
    protocol: str


class Trust(NamedTuple):
    """Whom to believe that a certificate is right."""

    context: ssl.SSLContext
    whom: str
    own_ca: bool = False  # this lab's own CA and nobody else


def names(probe: Probe) -> list[str]:
    """Return what browsers call the lab, the main name first."""
    return probe.want.reached_by(probe.c.host)


def url(probe: Probe, name: str, scheme: str = "https", port: int | None = None) -> str:
    """Return where a browser goes that knows this name. port: if it is not the published one."""
    port = port or (probe.want.public_port if scheme == "https" else PORTS["http"])
    place = f"[{name}]" if ":" in name else name
    suffix = "" if port == PORTS[scheme] else f":{port}"
    return f"{scheme}://{place}{suffix}{probe.want.base_url}"


@contextlib.contextmanager
def line(probe: Probe, context: ssl.SSLContext, name: str = "") -> Iterator[ssl.SSLSocket]:
    """Shake hands with the published port. name: which server to ask for, else the main name."""
    sock = socket.create_connection((probe.c.host, probe.want.public_port), PATIENCE)
    server = name or names(probe)[0]
    with sock, context.wrap_socket(sock, server_hostname=server) as wrapped:
        yield wrapped


def served(probe: Probe) -> Served:
    """Return what is served at the main name, right or not."""
    with line(probe, blind()) as there:
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


def blind() -> ssl.SSLContext:
    """Return a context that believes everybody: to look at a certificate, never to send."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def ancient() -> ssl.SSLContext:
    """Return a context that speaks TLS 1.0 and 1.1 only.

    Raises ssl.SSLError if this Python cannot.
    """
    context, version = blind(), ssl.TLSVersion
    context.set_ciphers(ALL_CIPHERS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = version.TLSv1, version.TLSv1_1
    return context


def trust(probe: Probe, with_names: bool = True) -> Trust:
    """Trust this lab's own CA if it is known here, else the authorities of the system.

    with_names: the certificate must also be for the name that is called.
    """
    own = vault.path_of(probe.alias)
    if probe.want.certificate == "self-signed" and own.exists():
        try:
            context = ssl.create_default_context(cafile=str(own))
        except ssl.SSLError:
            raise Wrong(f"{own} holds no certificate") from None
        found = Trust(context, "this lab's CA", own_ca=True)
    else:
        context = authorities()
        found = Trust(context, "the system's authorities")
    context.check_hostname = with_names
    return found


def authorities() -> ssl.SSLContext:
    """Trust the system's authorities, or certifi's list if this Python finds none."""
    context, paths = ssl.create_default_context(), ssl.get_default_verify_paths()
    if not paths.cafile and not paths.capath:
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def browser(probe: Probe, name: str = "") -> httpx.Client:
    """Return a browser that trusts whom it should. name: where it goes, else the main name."""
    place, trusted = url(probe, name or names(probe)[0]), trust(probe).context
    return kernel.new_client(place, trusted, probe.c.host, PATIENCE * 3)


@contextlib.contextmanager
def answering(what: str) -> Iterator[None]:
    """Raise Wrong if a call inside gets no answer. what: who does not answer."""
    import httpx

    try:
        yield
    except httpx.HTTPError as error:
        raise Wrong(f"{what} does not answer: {error or type(error).__name__}") from None
