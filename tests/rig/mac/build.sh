#!/bin/sh
# Turns the Debian this runs in into the double of a Mac; the result lies in /mac-root.
set -e
cd /mac-double
double=/usr/libexec/double
private=$double/bin
mkdir -p $private $double/lib /usr/libexec/ApplicationFirewall
update-ca-certificates >/dev/null 2>&1
rm -f /usr/lib/tmpfiles.d/home.conf /usr/lib/tmpfiles.d/provision.conf /etc/ssh/ssh_host_* /usr/sbin/policy-rc.d
: >/etc/machine-id
systemctl mask console-getty.service getty.target systemd-logind.service >/dev/null 2>&1
systemctl disable ssh.service >/dev/null 2>&1
systemctl mask ssh.service ssh.socket systemd-sysusers.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
  e2scrub_all.timer systemd-journal-flush.service >/dev/null 2>&1

cp -R tools $double/lib/
chmod 644 $double/lib/tools/*.py
mv $double/lib/tools/shim $double/shim
cp sh/* $double/
chmod 755 $double/shim $double/bsd
rm -rf /etc/ssh/sshd_config.d /etc/pam.d/sshd /etc/zsh
cp -R tree/. /
rm -f /etc/sudoers.d/README
chmod 440 /etc/sudoers
mkdir -p /etc/zsh
for name in zprofile zshrc; do ln -s ../$name /etc/zsh/$name; done
systemctl enable launchd.service >/dev/null 2>&1

# Its locales have names, and there is no C.UTF-8 among them.
mv /usr/lib/locale/C.utf8 /usr/lib/locale/en_US.utf8

# Accounts: those of the Linux below stay in /etc/passwd, a Mac's are in the directory.
grep -E '^(_apt|messagebus|systemd-[a-z]*|sshd|tcpdump):' /etc/passwd >>$double/accounts || true
grep -vE '^[^:]*:[^:]*:(0|12|20|50|61|80|100):' /etc/group >$double/groups
cp $double/accounts /etc/passwd
mkdir -p /var/root /Users/Shared /Library/Preferences /Library/LaunchDaemons /Library/LaunchAgents /Applications /Volumes /cores /var/db/double /var/empty \
  /Library/Developer/CommandLineTools/usr/bin /System/Library/CoreServices /opt /usr/local/bin
chmod 1777 /Users/Shared
chmod 750 /var/root
chgrp -R 0 /System /Library

# What only Linux has goes out of sight; what macOS has too is replaced.
mkdir -p /usr/libexec/double/sbin
for name in getent runuser useradd usermod userdel groupadd groupmod groupdel groupmems chpasswd chgpasswd newusers adduser addgroup deluser delgroup \
  chage gpasswd vigr pwck grpck pwconv grpconv newgrp sg faillog lastlog chfn expiry dpkg dpkg-deb dpkg-divert dpkg-query dpkg-split dpkg-statoverride dpkg-trigger \
  dpkg-realpath dpkg-maintscript-helper apt apt-get apt-cache apt-cdrom apt-config apt-key apt-mark debconf debconf-apt-progress debconf-communicate \
  debconf-copydb debconf-escape debconf-set-selections debconf-show deb-systemd-helper deb-systemd-invoke update-rc.d invoke-rc.d service \
  start-stop-daemon update-alternatives update-ca-certificates update-passwd \
  systemctl loginctl journalctl systemd-run timedatectl hostnamectl localectl busctl systemd-analyze systemd-cat systemd-cgls systemd-cgtop \
  systemd-inhibit systemd-notify systemd-mount systemd-umount systemd-detect-virt systemd-escape systemd-path systemd-id128 systemd-delta \
  networkctl resolvectl homectl bootctl \
  ss ip bridge tc rtacct lnstat nstat ifstat routel ctstat flock setsid timeout md5sum sha1sum sha224sum sha256sum sha384sum sha512sum b2sum \
  nproc shuf tac numfmt stdbuf factor shred chcon runcon dir vdir ptx base32 basenc pinky hostid \
  lsblk lscpu lsmem lsns lsipc lslocks lslogins findmnt mountpoint nsenter unshare chrt taskset ionice prlimit choom setpriv fallocate \
  pivot_root switch_root losetup blkid wipefs zramctl swapon swapoff uclampset utmpdump setarch linux32 linux64 x86_64 i386 \
  free pmap pwdx skill snice slabtop tload vmstat watch pidwait mawk nawk tmux ldd ldconfig locale-gen iconvconfig \
  python3.11 pydoc3 pydoc3.11 py3compile py3clean py3versions pygettext3 pygettext3.11 pdb3 pdb3.11 deb-systemd-helper add-shell remove-shell savelog \
  tempfile installkernel run-parts tar; do
  for folder in /usr/bin /usr/sbin; do
    [ ! -e $folder/$name ] || mv $folder/$name $private/
  done
done
# Links through /etc/alternatives end in what was moved.
ln -sf $private/original-awk $private/awk
mv /usr/bin/original-awk $private/original-awk
rm -f /usr/bin/awk && cp $private/original-awk /usr/bin/awk
cp /usr/bin/bsdtar /usr/bin/tar
ln -s /usr/bin/bsdtar /usr/bin/cpio 2>/dev/null || true
ln -sf bash /usr/bin/sh
mv /usr/bin/python3 $private/python3.link && rm $private/python3.link
ln -s python3.11 $private/python3
rm -f /usr/lib/python3.11/EXTERNALLY-MANAGED
ln -s $private/python3.11 /Library/Developer/CommandLineTools/usr/bin/python3
ln -sf /usr/lib/openssh/sftp-server /usr/libexec/sftp-server
export PATH=$PATH:$private
for folder in /usr/bin /usr/sbin; do
  for name in egrep fgrep; do [ ! -e $folder/$name ] || sed -i "s|exec grep|exec $private/grep|" $folder/$name; done
done
for name in mv rm ln chmod; do cp "$(command -v $name)" /mac-double/; done
while read -r place program; do
  name=${place##*/}
  for folder in /usr/bin /usr/sbin; do
    [ ! -e "$folder/$name" ] || [ -e "$private/$name" ] || /mac-double/mv "$folder/$name" "$private/$name"
    /mac-double/rm -f "$folder/$name"
  done
  [ "$double/$program" = "$place" ] || /mac-double/ln -sf "$double/$program" "$place"
done <places
rm -f /usr/sbin/poweroff /usr/sbin/telinit /usr/sbin/runlevel
/mac-double/chmod 755 $double/* $private
$private/python3 -IS -m compileall -q $double/lib

$private/python3 -IS - <<'PYTHON'
import sys
sys.path.insert(0, "/usr/libexec/double/lib")
from tools import directory
with directory.changed():
    for name, gid in (("wheel", 0), ("everyone", 12), ("staff", 20), ("localaccounts", 61), ("admin", 80), ("com.apple.access_ssh", 399)):
        group = directory.new_group(name, gid, f"ABCDEFAB-CDEF-ABCD-EFAB-CDEF{gid:08X}")
        if name in ("wheel", "staff", "admin"):
            group["GroupMembership"] = ["root"]
        directory.write("Groups", group)
    directory.add_member("com.apple.access_ssh", "Groups", "admin")
    for name, uid, gid, full, home in (("root", 0, 0, "System Administrator", "/var/root"), ("daemon", 1, 1, "System Services", "/var/root"),
                                       ("nobody", -2, -2, "Unprivileged User", "/var/empty"), ("_sshd", 75, 75, "sshd Privilege separation", "/var/empty")):
        user = directory.new_user(name, full, "/bin/sh" if uid == 0 else "/usr/bin/false", home)
        directory.write("Users", user | {"UniqueID": [str(uid)], "PrimaryGroupID": [str(gid)], "Password": ["*"]})
import plistlib
from tools import launchd
launchd.OVERRIDES.parent.mkdir(parents=True, exist_ok=True)
launchd.OVERRIDES.write_bytes(plistlib.dumps({"com.openssh.sshd": False}))
PYTHON

# The places of macOS.
cd /
$private/mkdir -p /mac-root/private /mac-root/dev /mac-root/proc /mac-root/sys /mac-root/run
$private/tar -c --one-file-system --exclude=./mac-root --exclude=./mac-double --exclude=./proc --exclude=./sys --exclude=./dev --exclude=./run \
  --exclude=./home --exclude=./root --exclude=./boot --exclude=./srv --exclude=./media --exclude=./mnt --exclude=./.dockerenv --exclude=./tmp/* . |
  $private/tar -x -p -C /mac-root
cd /mac-root
for name in etc var tmp; do $private/mv $name private/ && $private/ln -s private/$name $name; done
$private/rm -f private/etc/resolv.conf private/etc/hostname private/etc/hosts private/etc/mtab private/etc/os-release private/etc/debian_version
$private/rm -rf private/var/cache private/var/backups
printf '127.0.0.1\tlocalhost\n::1\tlocalhost\n' >private/etc/hosts
