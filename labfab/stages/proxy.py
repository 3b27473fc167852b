"""Proxy: Apache publishes JupyterLab with TLS, beside the sites that it serves already.

Owns: /etc/apache2/sites-available/zz-labfab.conf, the modules it needs.  Undo: a2dissite zz-labfab
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..facts import facts, vhosts
from ..facts.reader import APACHE, as_file
from ..host.changes import change, put
from ..host.session import Host
from ..platforms import platform
from ..run.task import host_task
from ..settings import Settings, is_address, sources
from .https import certificate

if TYPE_CHECKING:
    from ..facts.records import Proxy

SITE = "/etc/apache2/sites-available/zz-labfab.conf"
FOLDERS = ["/etc/apache2/mods-enabled"]
# In the order of who needs whom; the first four are there unless somebody switched them off.
MODULES = (
    "alias",
    "authz_core",
    "mime",
    "setenvif",
    "headers",
    "proxy",
    "proxy_http",
    "socache_shmcb",
    "ssl",
)
OLD_MODULES = ("rewrite", "proxy_wstunnel")
UPGRADES = (2, 4, 47)  # the first Apache whose mod_proxy_http does websockets
# As if the site were enabled, and its modules with it.
CHECK = """\
set --; for module in alias authz_core mime setenvif headers proxy proxy_http socache_shmcb ssl rewrite proxy_wstunnel; do
  set -- "$@" -C "Include /etc/apache2/mods-available/$module.load"
done
said=$(apache2ctl -t "$@" -c "Include $NEW" 2>&1) || { printf '%s\\n' "$said" | grep -vE '^(AH00558|AH01574)' >&2; exit 1; }
"""
OFF = (
    "a2dissite -q zz-labfab && if systemctl is-active -q apache2; then systemctl reload apache2; fi"
)
ON = APACHE.replace("%", "%%") + "site_on"


@host_task(default=True)
def apache(c: Connection) -> None:
    """Publish JupyterLab through Apache, with TLS."""
    refuse(c)
    host, place = Host.of(c), certificate.place(c).folder
    if ours(facts(c).proxy.fault):  # then Apache tells of nothing else
        change(
            c,
            "a2dissite -q zz-labfab",
            why="disable our site, which Apache cannot read",
            undo=("apache_site",),
            keep=FOLDERS,
        )
        refuse(c)
    if not facts(c).https.pair and not host.planning:
        raise SetupError(
            f"{host.label}: there is no certificate with its key in {place}: type https.issue first"
        )
    tell_of_firewall(c)
    platform(c).install(c, "apache2")
    run(c)
    text, have, before = rendered(c), facts(c).proxy, len(host.changes)
    then = as_file("proxy.site", text, "644", "root")
    put(
        c,
        SITE,
        text,
        why="write Apache's site for JupyterLab",
        old=have.site,
        check=CHECK,
        then=then,
    )
    missing = [name for name in needed(have) if name not in have.modules]
    if missing or not have.enabled or not have.serves or len(host.changes) > before:
        switch_on(c, missing)


def follow(c: Connection) -> None:
    """Have Apache publish JupyterLab, or no longer, as `publish` says."""
    want = Settings.of(c)
    apache(c) if want.publish == "apache" else off(c)
    if want.published:
        certificate.forsake(c)


@host_task
def off(c: Connection) -> None:
    """Take JupyterLab's site out of Apache."""
    if facts(c).proxy.enabled:
        then = {"proxy.enabled": None, "proxy.serves": None}
        change(
            c,
            OFF,
            why="take JupyterLab's site out of Apache",
            undo=("apache_site",),
            keep=FOLDERS,
            then=then,
        )


def tell_of_firewall(c: Connection) -> None:
    """Name the task that lets browsers in, where the firewall keeps them out."""
    have = facts(c).firewall
    closed = [
        str(port)
        for port in Settings.of(c).public_ports
        if have.active and port not in have.allowed
    ]
    if closed:
        console.note(
            f"the firewall lets nobody in at port {' and '.join(closed)}: firewall.enable opens it"
        )


def run(c: Connection) -> None:
    """Have Apache run, now and after a reboot."""
    have = facts(c).proxy
    if have.version and not (have.running and have.boots):
        was = ["yes" * have.running, "yes" * have.boots]
        change(
            c,
            "systemctl enable -q --now apache2",
            why="run Apache",
            undo=("apache_service %s %s", *was),
            then={"proxy.running": "yes", "proxy.boots": "yes"},
        )


def switch_on(c: Connection, modules: list[str]) -> None:
    """Enable the site and the modules that it lacks; the host takes that back where Apache does not serve it."""
    undo = ("apache_site" + " %s" * len(modules), *reversed(modules))
    then = {f"proxy.module.{name}": "yes" for name in modules} | {
        "proxy.enabled": "yes",
        "proxy.serves": "yes",
    }
    change(
        c,
        ON + " %s" * len(modules),
        *modules,
        why="serve JupyterLab through Apache",
        undo=undo,
        keep=FOLDERS,
        then=then,
    )


def refuse(c: Connection) -> None:
    """Stop, before anything is touched, where Apache cannot publish JupyterLab or another site would suffer."""
    for reason in reasons(c):
        raise SetupError(f"{Host.of(c).label}: {reason}")


def reasons(c: Connection) -> Iterator[str]:
    """Why Apache cannot publish JupyterLab here."""
    want, have = Settings.of(c), facts(c).proxy
    if want.publish != "apache":
        yield f"Apache has nothing to publish (publish: {want.publish}): set publish: apache"
    for port in (80, 443):
        holder = facts(c).ssh.listening.get(port, "apache2")
        if holder != "apache2":
            yield f"port {port} is held by {holder}, so Apache cannot have it: stop {holder} there, or set publish: https or tunnel"
    if ours(have.fault):
        return
    if have.fault:
        yield f"Apache's configuration has a fault already, so nothing was touched: {have.fault}"
    if have.hands_on:
        yield f"{have.hands_on} hands requests to port {want.lab_port} already, without TLS: take these lines out"
    if have.version and not have.listens:
        yield "Apache is told nowhere to listen on port 443: add the line `Listen 443` to /etc/apache2/ports.conf"
    yield from clashes(have, certificate.names(c), want.base_url)


def ours(fault: str) -> bool:
    """Whether it is our site that Apache cannot read: somebody changed it, or took its certificate away."""
    return "/zz-labfab.conf" in fault


def clashes(have: Proxy, names: list[str], base_url: str) -> Iterator[str]:
    """Which site of somebody else already answers where JupyterLab is to be."""
    for site in [
        site
        for site in have.sites
        if not site.place.startswith(("/etc/apache2/sites-enabled/zz-labfab.conf:", f"{SITE}:"))
    ]:
        secure = site.port in ("443", "*")
        taken = [name for name in names if secure and site.answers(vhosts.host(name))]
        if taken:
            yield f"{site.place} serves {taken[0]} at 443 already: give the lab a name of its own under `names:`"
        addresses = [name for name in names if is_address(name)]
        if (
            secure and addresses
        ):  # a browser that comes by address does not say which, so the first site answers
            yield f"browsers that come by address, as {addresses[0]}, meet {site.place} at 443: give the lab a DNS name under `names:`"
        if secure and site.address != "*":
            yield f"{site.place} has {site.address}:443 for itself, no other site is met there: write *:443 in it"
        named = [
            name for name in names if site.port in ("80", "*") and site.names_it(vhosts.host(name))
        ]
        if named and base_url == "/":
            yield f"{site.place} serves {named[0]} at 80: give the lab a base_url, as /jupyter/, or a name of its own under `names:`"


def needed(have: Proxy) -> tuple[str, ...]:
    return MODULES if upgrades(have.version) else MODULES + OLD_MODULES


def upgrades(version: str) -> bool:
    """Whether this Apache hands websockets on by itself; one that is not there yet does."""
    return not version or tuple(int(part) for part in version.split(".")) >= UPGRADES


def rendered(c: Connection) -> str:
    """Our site, as Apache is to read it."""
    want, names = Settings.of(c), [vhosts.host(name.lower()) for name in certificate.names(c)]
    # Apache writes no IPv6 address into a redirect as browsers read it; and where JupyterLab has all paths of an address,
    # the site that is there at 80 would lose them.
    kept = [
        name
        for name in names
        if ":" not in name and not (want.base_url == "/" and is_address(name))
    ]
    return template(
        names=names,
        redirected=kept,
        folder=certificate.place(c).folder,
        port=want.lab_port,
        base_url=want.base_url,
        base_re=re.escape(want.base_url),
        bare_re=re.escape(want.base_url.rstrip("/")),
        upgrade=upgrades(facts(c).proxy.version),
        strict=want.certificate == "letsencrypt" and want.base_url == "/",
    )


def template(**values: Any) -> str:
    """Fill in the template of the site."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    house = Environment(
        loader=FileSystemLoader(sources.CONFIG / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    house.filters["regex"] = re.escape
    return house.get_template("apache-site.conf").render(**values)
