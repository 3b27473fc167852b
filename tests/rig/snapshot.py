"""What a host looks like, as far as setup.undo promises to bring it back: everything that is different is to be seen."""

from . import Host

LOOK = """\
cd /; find etc root home -xdev \\( -type f -printf '%m %u:%g %p\\n' -exec sha256sum {} + \\) \
  -o \\( -type l -printf '%m %u:%g %p -> %l\\n' \\) -o \\( -type d -printf '%m %u:%g %p/\\n' \\)
dpkg-query -W -f 'package ${db:Status-Abbrev} ${Package}\\n'
systemctl list-unit-files --no-legend --plain | awk '{print "unit", $1, $2}'
systemctl list-units --no-legend --plain --state=active --type=service,socket,timer,mount | awk '{print "active", $1}'
ss -Hltn | awk '{print "listens", $4}' | sort -u
getent passwd | sed 's/^/account /'; getent group | sed 's/^/group /'
ls -d /var/lib/labfab /var/cache/labfab /var/backups/labfab /tmp/tmux* 2>/dev/null
true
"""
PASSING = ("active user@", "active user-runtime-dir@", "active run-user-")  # of a login just ended


def snapshot(host: Host) -> set[str]:
    """One line for each file of /etc and the homes, package, unit, port, account and folder of labfab."""
    return {line for line in host.run(LOOK).splitlines() if not line.startswith(PASSING)}
