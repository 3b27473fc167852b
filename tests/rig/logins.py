"""Who may log in to a host, and how: written once, right after its first boot."""

import shlex

AUTHORIZE = """\
home=$(getent passwd %(user)s | cut -d: -f6)
install -d -m 700 -o %(user)s -g %(user)s "$home/.ssh"
printf '%%s\\n' %(lines)s >>"$home/.ssh/authorized_keys"
chown %(user)s: "$home/.ssh/authorized_keys" && chmod 600 "$home/.ssh/authorized_keys"
"""
# A restart, not a reload: it ends when sshd answers again.
ALLOW_ROOT_PASSWORD = """\
sed -i 's/^#*PermitRootLogin .*/PermitRootLogin yes/' /etc/ssh/sshd_config
systemctl restart ssh.service
"""
PASSWORD = "printf '%%s' %(entry)s | chpasswd\n"
DISTRO_USER = """\
id %(user)s >/dev/null 2>&1 || useradd -m -s /bin/bash %(user)s
usermod -aG sudo %(user)s
"""
NOPASSWD = "echo %(user)s' ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/90-cloud-init-users\n"
# A Mac makes its administrators itself.
MAC = "[ ! -x /usr/libexec/double/let-in ] || exec /usr/libexec/double/let-in %(user)s %(lines)s %(secret)s %(nopasswd)s\n"
REFUSAL = (
    "no-port-forwarding,no-agent-forwarding,no-X11-forwarding,command=\"echo 'Please login as the user "
    '\\"%(user)s\\" rather than the user \\"root\\".\';echo;sleep 10;exit 142" '
)


def script(user: str, key: str | None, password: str | None, nopasswd: bool) -> str:
    """Write the shell script that lets a user in."""
    words = {
        "user": shlex.quote(user),
        "lines": shlex.quote(key or ""),
        "entry": shlex.quote(f"{user}:{password}"),
    }
    words |= {"secret": shlex.quote(password or ""), "nopasswd": "yes" if nopasswd else "no"}
    text = "set -e\n" + MAC % words
    if user != "root":
        text += DISTRO_USER % words + (NOPASSWD % words if nopasswd else "")
        root = {"user": "root", "lines": shlex.quote(REFUSAL % {"user": user} + (key or ""))}
        text += AUTHORIZE % root if key else ""
    text += AUTHORIZE % words if key else ""
    if password is not None:
        text += PASSWORD % words + (ALLOW_ROOT_PASSWORD if user == "root" else "")
    return text
