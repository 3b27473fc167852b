"""What a host looks like, as far as setup.undo promises to bring it back."""

from collections.abc import Sequence

from . import Host

LOOK = """\
cd /; find etc root home -xdev %(skipped)s\\( -type f -printf '%%m %%u:%%g %%p\\n' -exec sha256sum {} + \\) \
  -o \\( -type l -printf '%%m %%u:%%g %%p -> %%l\\n' \\) -o \\( -type d -printf '%%m %%u:%%g %%p/\\n' \\)
for folder in %(by_size)s; do
  find $folder -name __pycache__ -prune -o -printf '%%y %%m %%u:%%g %%s %%p %%l\\n' | sort | sha256sum
done
dpkg-query -W -f 'package ${db:Status-Abbrev} ${Package}\\n'
systemctl list-unit-files --no-legend --plain | awk '{print "unit", $1, $2}'
systemctl list-units --no-legend --plain --state=active --type=service,socket,timer,mount | awk '{print "active", $1}'
ss -Hltn | awk '{print "listens", $4}' | sort -u
getent passwd | sed 's/^/account /'; getent group | sed 's/^/group /'
ls -d /var/lib/labfab /var/cache/labfab /var/backups/labfab /tmp/tmux* 2>/dev/null
true
"""
# Of a login that has just ended.
PASSING = ("active user@", "active user-runtime-dir@", "active run-user-", "unit session-")


def snapshot(host: Host, by_size: Sequence[str] = ()) -> set[str]:
    """List each file of /etc and the homes, package, unit, port, account and folder of labfab.

    Folders in *by_size*, such as home/lab/big, get one line each, made from the sizes of their files.
    """
    skipped = "".join(f"-path {folder} -prune -o " for folder in by_size)
    look = host.run(LOOK % {"skipped": skipped, "by_size": " ".join(by_size)})
    return {line for line in look.splitlines() if not line.startswith(PASSING)}
