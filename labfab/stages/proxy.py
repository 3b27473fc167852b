"""Proxy: Apache publishes JupyterLab with TLS, and keeps serving its other sites.

Owns: /etc/apache2/sites-available/zz-labfab.conf, the modules it needs.  Undo: a2dissite zz-labfab
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fabric import Connection

from .. import console
from ..certificates import location
from ..errors import SetupError
from ..facts import facts, vhosts
from ..facts.reader import APACHE, planned_file
from ..host.changes import change, put
from ..host.session import Host
from ..platforms import platform
from ..run.task import host_task
from ..settings import Settings, is_address, sources
from .https import certificate

if TYPE_CHECKING:
    from ..facts.records import Facts, Firewall, Proxy

SITE = "/etc/apache2/sites-available/zz-labfab.conf"
ENABLED_SITE = "/etc/apache2/sites-enabled/zz-labfab.conf"
FOLDERS = ["/etc/apache2/mods-enabled"]
# Each one follows those it needs. Debian enables the first four by default.
MODULES = (
    *("alias", "authz_core", "mime", "setenvif"),
    *("headers", "proxy", "proxy_http", "socache_shmcb", "ssl"),
)
OLD_MODULES = ("rewrite", "proxy_wstunnel")
UPGRADES = (2, 4, 47)  # the first Apache whose mod_proxy_http handles websockets
# Checks the new site with all the modules it may need, as if both were enabled.
CHECK = """\
set --
for module in alias authz_core mime setenvif headers proxy proxy_http socache_shmcb ssl \
rewrite proxy_wstunnel; do set -- "$@" -C "Include /etc/apache2/mods-available/$module.load"; done
said=$(apache2ctl -t "$@" -c "Include $NEW" 2>&1) ||
  { printf '%s\\n' "$said" | grep -vE '^(AH00558|AH01574)' >&2; exit 1; }
"""
DISABLE_SITE = f"a2dissite -q zz-labfab && {location.RELOAD_APACHE}"
ENABLE_SITE = APACHE.replace("%", "%%") + "site_on"


@host_task(default=True)
def apache(c: Connection) -> None:
    """Publish JupyterLab through Apache, with TLS."""
    want, host = Settings.of(c), Host.of(c)
    refuse_to_publish(c)
    folder = location.location_of(c).folder
    if is_ours(facts(c).proxy.fault):
        disable_broken_site(c)
        refuse_to_publish(c)  # only now does Apache report what else is wrong
    if not facts(c).https.pair and not host.planning:
        raise SetupError(
            f"there is no certificate with its key in {folder}: type https.issue first",
            host=host.label,
        )
    note_closed_ports(want, facts(c).firewall)
    platform(c).install(c, "apache2")
    start(c, facts(c).proxy)
    have, before = facts(c).proxy, len(host.changes)
    write_site(c, have, rendered(want, have, location.lab_names(c), folder))
    missing = [name for name in needed_modules(have) if name not in have.modules]
    if missing or not have.enabled or not have.serves or len(host.changes) > before:
        switch_on(c, missing)


def publish_or_remove(c: Connection) -> None:
    """Publish JupyterLab through Apache or stop that, as the setting `publish` says."""
    want = Settings.of(c)
    if want.publish == "apache":
        apache(c)
    else:
        off(c)
    if want.published:
        certificate.delete_unused(c, want)


@host_task
def off(c: Connection) -> None:
    """Remove JupyterLab's site from Apache."""
    if facts(c).proxy.enabled:
        change(
            c,
            DISABLE_SITE,
            why="remove JupyterLab's site from Apache",
            undo=("apache_site",),
            keep=FOLDERS,
            then={"proxy.enabled": None, "proxy.serves": None},
        )


def disable_broken_site(c: Connection) -> None:
    """Disable our site, which Apache cannot read."""
    change(
        c,
        "a2dissite -q zz-labfab",
        why="disable our site, which Apache cannot read",
        undo=("apache_site",),
        keep=FOLDERS,
    )


def note_closed_ports(want: Settings, have: Firewall) -> None:
    """Name the task that lets browsers in, if the firewall keeps them out."""
    if not have.active:
        return
    closed = [str(port) for port in want.public_ports if port not in have.allowed]
    if closed:
        ports = " and ".join(closed)
        console.note(f"the firewall lets nobody in at port {ports}: firewall.enable opens it")


def start(c: Connection, have: Proxy) -> None:
    """Start Apache, now and at boot."""
    if not have.version or (have.running and have.boots):
        return
    was = ["yes" if one else "" for one in (have.running, have.boots)]
    change(
        c,
        "systemctl enable -q --now apache2",
        why="run Apache",
        undo=("apache_service %s %s", *was),
        then={"proxy.running": "yes", "proxy.boots": "yes"},
    )


def write_site(c: Connection, have: Proxy, text: str) -> None:
    """Write our site if Apache can read it, without enabling it."""
    put(
        c,
        SITE,
        text,
        why="write Apache's site for JupyterLab",
        old=have.site,
        check=CHECK,
        then=planned_file("proxy.site", text, "644", "root"),
    )


def switch_on(c: Connection, modules: list[str]) -> None:
    """Enable the site and the modules it lacks.

    The host undoes that by itself if Apache then does not serve the site.
    """
    then = {f"proxy.module.{name}": "yes" for name in modules}
    change(
        c,
        ENABLE_SITE + " %s" * len(modules),
        *modules,
        why="serve JupyterLab through Apache",
        undo=("apache_site" + " %s" * len(modules), *reversed(modules)),
        keep=FOLDERS,
        then=then | {"proxy.enabled": "yes", "proxy.serves": "yes"},
    )


def refuse_to_publish(c: Connection) -> None:
    """Raise SetupError, before anything is changed, if Apache cannot publish JupyterLab here.

    That includes harm to another site.
    """
    for reason in reasons(Settings.of(c), facts(c), location.lab_names(c)):
        raise SetupError(reason, host=Host.of(c).label)


def reasons(want: Settings, have: Facts, names: list[str]) -> Iterator[str]:
    """Return why Apache cannot publish JupyterLab here. names: the lab's."""
    if want.publish != "apache":
        yield f"Apache has nothing to publish (publish: {want.publish}): set publish: apache"
    for port in (80, 443):
        holder = have.ssh.listening.get(port, "apache2")
        if holder != "apache2":
            yield (
                f"port {port} is held by {holder}, so Apache cannot have it: "
                f"stop {holder} there, or set publish: https or tunnel"
            )
    if not is_ours(have.proxy.fault):
        yield from faults(have.proxy, want.lab_port)
        yield from clashes(have.proxy, names, want.base_url)


def faults(have: Proxy, lab_port: int) -> Iterator[str]:
    """Return what in Apache's configuration is in the way."""
    if have.fault:
        yield f"Apache's configuration has a fault already, so nothing was changed: {have.fault}"
    if have.foreign_proxy_line:
        yield (
            f"{have.foreign_proxy_line} passes requests to port {lab_port} already, without TLS: "
            "remove these lines"
        )
    if have.version and not have.listens:
        yield (
            "Apache does not listen on port 443: "
            "add the line `Listen 443` to /etc/apache2/ports.conf"
        )


def is_ours(fault: str) -> bool:
    """Return whether it is our site that Apache cannot read.

    Somebody may have edited it, or deleted its certificate.
    """
    return "/zz-labfab.conf" in fault


def clashes(have: Proxy, names: list[str], base_url: str) -> Iterator[str]:
    """Return which of somebody else's sites answers where JupyterLab should."""
    for site in have.sites:
        if site.place.startswith((f"{ENABLED_SITE}:", f"{SITE}:")):
            continue
        if site.port in ("443", "*"):
            yield from clashes_at_443(site, names)
        named = [name for name in names if site.names_it(vhosts.url_host(name))]
        if site.port in ("80", "*") and named and base_url == "/":
            yield (
                f"{site.place} serves {named[0]} at 80: "
                "give the lab a base_url, such as /jupyter/, or a name of its own under `names:`"
            )


def clashes_at_443(site: vhosts.Site, names: list[str]) -> Iterator[str]:
    """Return why this site, which has TLS, and JupyterLab would be in each other's way."""
    taken = [name for name in names if site.answers(vhosts.url_host(name))]
    if taken:
        yield (
            f"{site.place} serves {taken[0]} at 443 already: "
            "give the lab a name of its own under `names:`"
        )
    # A browser that comes by address names no site, so the first one answers.
    addresses = [name for name in names if is_address(name)]
    if addresses:
        yield (
            f"browsers that come by address, such as {addresses[0]}, reach {site.place} at 443: "
            "give the lab a DNS name under `names:`"
        )
    if site.address != "*":
        yield (
            f"{site.place} has {site.address}:443 to itself, so no other site is reached there: "
            "write *:443 in it"
        )


def needed_modules(have: Proxy) -> tuple[str, ...]:
    """Return the modules that our site needs in this Apache."""
    return MODULES if upgrades(have.version) else MODULES + OLD_MODULES


def upgrades(version: str) -> bool:
    """Return whether this Apache forwards websockets by itself; one not installed yet will."""
    return not version or tuple(int(part) for part in version.split(".")) >= UPGRADES


def rendered(want: Settings, have: Proxy, names: list[str], folder: str) -> str:
    """Return the text of our site. names: the lab's. folder: its certificate's."""
    hosts = [vhosts.url_host(name.lower()) for name in names]
    at_root = want.base_url == "/"
    # Apache does not write IPv6 addresses in redirects as browsers expect them. And if
    # JupyterLab has all paths of an address, the site that answers at port 80 would lose them.
    redirected = [name for name in hosts if ":" not in name and not (at_root and is_address(name))]
    return template(
        names=hosts,
        redirected=redirected,
        folder=folder,
        port=want.lab_port,
        base_url=want.base_url,
        base_re=re.escape(want.base_url),
        bare_re=re.escape(want.base_url.rstrip("/")),
        upgrade=upgrades(have.version),
        strict=want.certificate == "letsencrypt" and at_root,
    )


def template(**values: Any) -> str:
    """Fill in the template of the site. Raises UndefinedError for a value that is missing."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(sources.CONFIG / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["regex"] = re.escape
    return environment.get_template("apache-site.conf").render(**values)
