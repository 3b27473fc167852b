"""Renewal: pass each certificate that certbot renews on to what serves it.

Owns: the hook labfab in /etc/letsencrypt/renewal-hooks/deploy; a timer, if certbot came without.
Undo: restores the old files

Constraints:
- The hook reads as root and writes as the account, whose home may contain links to elsewhere.
- With `webroot`, the hook answers the server's request too, as the account whose folder that is.
- Nobody else can read the new key, not even for a moment.
- An account that stops the hook keeps certbot waiting for three times 30 seconds, no longer.
- Hooks of somebody else run in the service too, so it takes away only what no hook needs. Nothing
  in it needs a mount namespace, which not every container has.
- Key and certificate are renamed into place one right after the other, because JupyterLab reads
  them for each connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric import Connection

from ..facts import facts
from ..facts.reader import planned_file
from ..host.changes import change, fill, put
from ..host.session import Host
from ..on_host import loader
from .location import RELOAD_APACHE, Location, location_of, make_folder

if TYPE_CHECKING:
    from ..facts.records import Acme, Https

LIVE = "/etc/letsencrypt/live/labfab"
HOOK = "/etc/letsencrypt/renewal-hooks/deploy/labfab"
UNITS = "/etc/systemd/system/labfab-certbot"
HEAD = """\
#!/bin/sh
# Made by labfab. Certbot runs this after each renewal: it hands the new certificate on to what
# serves JupyterLab. With `webroot` it also answers the ACME server's request.
OWNER=%s FOLDER=%s
"""
SERVICE = """\
[Unit]
Description=Renew the certificate of JupyterLab (labfab)
[Service]
Type=oneshot
ExecStart=%s -q renew --cert-name labfab --no-random-sleep-on-renew
TimeoutStartSec=30min
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
CapabilityBoundingSet=~CAP_SYS_BOOT CAP_SYS_MODULE CAP_SYS_PTRACE CAP_SYS_RAWIO CAP_SYS_TIME
"""
TIMER = """\
[Unit]
Description=Renew the certificate of JupyterLab (labfab)
[Timer]
OnCalendar=*-*-* 00,12:00:00
RandomizedDelaySec=43200
Persistent=true
[Install]
WantedBy=timers.target
"""


def write_hook(c: Connection) -> None:
    """Write certbot's hook, and the folder that it writes to."""
    at = location_of(c)
    make_folder(c, at)
    text = hook(at)
    then = planned_file("acme.hook", text, "755", "root")
    why = "install certbot's hook for renewed certificates"
    put(c, HOOK, text, why=why, old=facts(c).acme.hook, mode="755", then=then)


def hook(at: Location) -> str:
    """Return the text of certbot's hook."""
    text = fill(HEAD, at.account, at.folder) + loader.words("Linux") + loader.shared("certbot_hook")
    return text + (f"{RELOAD_APACHE}\n" if at.login is None else "")


def answer_command(webroot: str, verb: str) -> str:
    """Return the command by which certbot's own notes have the hook answer in a folder.

    verb: answer, or clean for afterwards.
    """
    return fill(f"{HOOK} %s {verb}", webroot)


def deploy(c: Connection) -> None:
    """Run the hook now if the certificate served is not certbot's newest."""
    have, at = facts(c), location_of(c)
    if not is_deployed(have.https, have.acme, at):
        change(
            c,
            "RENEWED_LINEAGE=%s %s",
            LIVE,
            HOOK,
            why=f"copy the certificate to {at.folder}",
            undo=("handed %s", at.folder),
            keep=at.files,
            then={"https.key": f"600 {at.account}", "https.pair": "yes"},
        )


def is_deployed(have: Https, acme: Acme, at: Location) -> bool:
    """Return whether certbot's newest certificate is served, with a key that others cannot read."""
    right = have.pair and have.key_stat == f"600 {at.account}" and not have.ca
    newest, served = acme.lineage, have.cert
    return bool(right and newest and served and served.content == newest.content)


def keep_renewing(c: Connection, program: str) -> None:
    """Enable a timer that renews certificates, if none is enabled. program: certbot's path."""
    have = facts(c)
    if have.acme.service:
        harden(c, program)
    # In plan mode, a certbot that is not there yet will bring its own timer.
    if have.acme.timers or (Host.of(c).planning and not have.acme.program):
        return
    if program.startswith("/snap/"):
        unit = "snap.certbot.renew.timer"
    elif "certbot" in have.system.packages:
        unit = "certbot.timer"
    else:
        unit = "labfab-certbot.timer"
        write_timer(c, program)
    change(
        c,
        "systemctl daemon-reload; systemctl enable -q --now %s",
        unit,
        why=f"enable {unit}, which renews the certificate",
        undo=("timer_off %s", unit),
        then={f"acme.renews.{unit}": "yes"},
    )


def write_timer(c: Connection, program: str) -> None:
    """Write a timer, and the service that it starts."""
    write_service(c, program, "write a service that renews")
    put(c, f"{UNITS}.timer", TIMER, why="write its timer", old=None)


def write_service(c: Connection, program: str, why: str) -> bool:
    """Write the service that renews; return whether it was another one. program: certbot's path."""
    service = fill(SERVICE, program)
    then = planned_file("acme.service", service, "644", "root")
    return bool(put(c, f"{UNITS}.service", service, why=why, old=facts(c).acme.service, then=then))


def harden(c: Connection, program: str) -> None:
    """Bring a service that an earlier version wrote up to date."""
    if write_service(c, program, "harden the service that renews"):
        change(c, "systemctl daemon-reload", why="reload systemd", undo=("reload_units",))


def describe(c: Connection) -> str:
    """Describe what renews the certificate."""
    have = facts(c)
    timers = ", ".join(sorted(have.acme.timers))
    if not is_deployed(have.https, have.acme, location_of(c)):
        return "certbot keeps another one, or others can read its key: https.letsencrypt"
    return f"{timers} renews it" if timers else "nothing renews it: https.letsencrypt"
