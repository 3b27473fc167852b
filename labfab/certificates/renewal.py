"""Renewal: each new certificate reaches what serves it, by itself.

Owns: our hook in /etc/letsencrypt/renewal-hooks/deploy; a timer where a certbot came without one.  Undo: as before

Constraints:
- The hook reads as root and lets the account write, whose home may hold links that lead elsewhere.
- Nobody else can read the new key, not for a moment.
- Key and certificate take their names one right after the other, for JupyterLab reads them with each connection.
"""

from __future__ import annotations

from fabric import Connection

from ..facts import facts
from ..facts.reader import as_file
from ..host.changes import change, fill, put
from ..host.session import Host
from .location import make_folder, place

LIVE = "/etc/letsencrypt/live/labfab"
HOOK = "/etc/letsencrypt/renewal-hooks/deploy/labfab"
UNITS = "/etc/systemd/system/labfab-certbot"
TEXT = """\
#!/bin/sh
# Made by labfab. Certbot runs this after each renewal; it hands the new certificate on to what serves JupyterLab.
set -eu
[ "${RENEWED_LINEAGE##*/}" = labfab ] || exit 0
account=%s folder=%s
as_account() { if [ "$account" = root ]; then "$@"; else (cd / && runuser -u "$account" -- "$@"); fi; }
take() {  # file mode name
  as_account sh -c 'set -eu; umask 077; cd -P "$1"; rm -f "$3"; cat >"$3"; chmod "$2" "$3"' sh "$folder" "$2" "$3" <"$1"
}
take "$RENEWED_LINEAGE/privkey.pem" 600 next-key.pem
take "$RENEWED_LINEAGE/fullchain.pem" 644 next-cert.pem
as_account sh -c 'set -eu; cd -P "$1"; mv -fT next-key.pem key.pem; mv -fT next-cert.pem cert.pem; rm -f ca.pem' sh "$folder"
"""
RELOAD = "if systemctl -q is-active apache2; then systemctl reload apache2; fi\n"
SERVICE = """\
[Unit]
Description=Renew the certificate of JupyterLab (labfab)
[Service]
Type=oneshot
ExecStart=%s -q renew --cert-name labfab --no-random-sleep-on-renew
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
    """Let certbot hand each new certificate on."""
    at = place(c)
    make_folder(c, at)
    text = fill(TEXT, at.account, at.folder) + (RELOAD if at.login is None else "")
    then = as_file("acme.hook", text, "755", "root")
    put(
        c,
        HOOK,
        text,
        why="let certbot hand each new certificate on",
        old=facts(c).acme.hook,
        mode="755",
        then=then,
    )


def hand_on(c: Connection) -> None:
    """Hand the present certificate on, where what is served is another."""
    at = place(c)
    if not handed_on(c):
        change(
            c,
            "RENEWED_LINEAGE=%s %s",
            LIVE,
            HOOK,
            why=f"hand the certificate on to {at.folder}",
            undo=("handed %s", at.folder),
            keep=at.files,
            then={"https.key": f"600 {at.account}", "https.pair": "yes"},
        )


def handed_on(c: Connection) -> bool:
    """Whether what is served is the newest, and its key nobody else's to read."""
    have, newest = facts(c).https, facts(c).acme.lineage
    right = have.pair and have.key_stat == f"600 {place(c).account}" and not have.ca
    return bool(right and newest and have.cert and have.cert.content == newest.content)


def keep_renewing(c: Connection, program: str) -> None:
    """Have a timer that renews."""
    have = facts(c)
    if have.acme.timers or (
        Host.of(c).planning and not have.acme.program
    ):  # the package brings one
        return
    unit = "certbot.timer" if "certbot" in have.system.packages else "labfab-certbot.timer"
    if program.startswith("/snap/"):
        unit = "snap.certbot.renew.timer"
    elif unit.startswith("labfab"):
        put(
            c,
            f"{UNITS}.service",
            fill(SERVICE, program),
            why="write a service that renews",
            old=None,
        )
        put(c, f"{UNITS}.timer", TIMER, why="write a timer for it", old=None)
    change(
        c,
        "systemctl daemon-reload; systemctl enable -q --now %s",
        unit,
        why=f"renew by {unit}",
        undo=("timer_off %s", unit),
        then={f"acme.renews.{unit}": "yes"},
    )


def described(c: Connection) -> str:
    """What renews the certificate, in words."""
    timers = ", ".join(sorted(facts(c).acme.timers))
    if not handed_on(c):
        return "certbot keeps another one, or others can read its key: https.letsencrypt"
    return f"{timers} renews it" if timers else "nothing renews it: https.letsencrypt"
