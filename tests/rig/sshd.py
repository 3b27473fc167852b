"""An sshd for this machine: the tunnel's tests start one of their own on the loopback."""

import os
import shutil

from . import dockerd
from .places import RigError

# Installed, but neither started now nor by the next boot.
INSTALL = """\
mkdir -p /etc/systemd/system
for unit in ssh.service ssh.socket; do
    [ -e /etc/systemd/system/$unit ] || ln -s /dev/null /etc/systemd/system/$unit
done
policy=/usr/sbin/policy-rc.d
[ -e $policy ] && exit
printf '#!/bin/sh\\nexit 101\\n' >$policy && chmod 755 $policy
"""
AFTER = "[ \"$(sed -n 2p /usr/sbin/policy-rc.d)\" != 'exit 101' ] || rm /usr/sbin/policy-rc.d"


def need() -> None:
    """Install openssh-server as root on Debian; elsewhere the tests that need it are skipped."""
    if shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin"):
        return
    if os.geteuid() != 0 or not dockerd.is_debian():
        return
    if dockerd.as_root(INSTALL).returncode:
        raise RigError("openssh-server cannot be installed without starting it")
    try:
        dockerd.install_packages("openssh-server")
    finally:
        dockerd.as_root(AFTER)
