"""The double of a Mac behaves as macOS was seen to, and refuses what macOS refuses, so that what works on it proves something."""

import re
import subprocess
import time

import pytest

from tests.rig import installer, mac
from tests.rig.ports import banner

pytestmark = pytest.mark.host
PASSWORD = "pä'ss \"$x\\ "
PLIST = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict><key>Label</key><string>%s</string>%s</dict></plist>
"""
SSHD = """\
<key>Program</key><string>/usr/libexec/sshd-keygen-wrapper</string>
<key>ProgramArguments</key><array><string>sshd-keygen-wrapper</string>%s</array>
<key>Sockets</key><dict><key>Listeners</key><dict><key>SockServiceName</key><string>292</string></dict></dict>
<key>inetdCompatibility</key><dict><key>Wait</key><false/></dict><key>StandardErrorPath</key><string>/dev/null</string>
"""
SHELL = "<key>ProgramArguments</key><array><string>/bin/sh</string><string>-c</string><string>%s</string></array>"


class Box:
    """A Mac and the ways to try it: as admin over SSH, and as root past sshd."""

    def __init__(self, host, fab):
        self.host, self.fab = host, fab

    def __call__(
        self, command: str, user: str = "admin", port: int | None = None, input: str = ""
    ) -> subprocess.CompletedProcess:
        words = [
            "ssh",
            "-F",
            "none",
            "-i",
            str(self.fab.home / ".ssh/id_ed25519"),
            "-p",
            str(port or self.host.port),
        ]
        for option in (
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "BatchMode=yes",
            "LogLevel=ERROR",
        ):
            words += ["-o", option]
        words += [f"{user}@{self.host.address}", command]
        return subprocess.run(
            words, input=input, capture_output=True, text=True, timeout=240, check=False
        )

    def says(self, command: str, **more) -> str:
        done = self(command, **more)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.rstrip("\n")

    def fails(self, command: str, code: int) -> str:
        done = self(command)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def job(self, label: str, keys: str) -> str:
        """Put a job's property list where launchd looks."""
        path = f"/Library/LaunchDaemons/{label}.plist"
        self.host.run(f"cat >{path} && chmod 644 {path}", input=PLIST % (label, keys))
        return path

    def until(self, command: str, wanted: str, seconds: float = 5) -> None:
        """Wait for what root's command prints."""
        end = time.monotonic() + seconds
        while self.host.run(command) != wanted:
            assert time.monotonic() < end, (command, self.host.run(command))
            time.sleep(0.1)


@pytest.fixture(scope="module")
def box(module_host, module_fab):
    return Box(module_host("mac", key=module_fab.key, password=PASSWORD), module_fab)


@pytest.fixture
def set_switch(box):
    """Set switches for one test."""
    used = []

    def turn(name: str, value) -> None:
        used.append(name)
        mac.switch(box.host, name, value)

    yield turn
    for name in used:
        box.host.run(f"rm -f {mac.FOLDER}/{name}")


@pytest.fixture
def trainee(box):
    """A standard account that is gone again afterwards."""
    add = (
        "sudo sysadminctl -addUser trainee -fullName 'Remote Lab' -shell /bin/zsh -password - 2>&1"
    )
    yield box.says(add, input="Tr4inee-secret")
    box.host.run("sysadminctl -deleteUser trainee")


# The machine


def test_it_says_it_is_a_mac(box):
    assert (
        box.says("sw_vers")
        == "ProductName:\t\tmacOS\nProductVersion:\t\t26.5\nBuildVersion:\t\t25F71"
    )
    assert (
        box.says("sw_vers -productVersion; uname -smr; uname")
        == "26.5\nDarwin 25.5.0 arm64\nDarwin"
    )
    assert "Usage" in box.fails("sw_vers -nonsense", 1)
    assert re.fullmatch(
        r"\{ sec = \d+, usec = \d+ \} \w{3} \w{3} +\d+ [\d:]{8} \d{4}",
        box.says("sysctl -n kern.boottime"),
    )
    assert "unknown oid 'kernel.hostname'" in box.fails("sysctl kernel.hostname", 1)


def test_a_login_is_one_of_macos(box):
    assert box.says("echo $PATH; echo $SHELL $HOME; umask; ulimit -n; id -gn") == (
        "/usr/bin:/bin:/usr/sbin:/sbin\n/bin/zsh /Users/admin\n022\n256\nstaff"
    )
    assert "80(admin)" in box.says("id") and box.says("id -u") == "501"
    assert box.says("id -P") == "admin:********:501:20::0:0:Admin admin:/Users/admin:/bin/zsh"
    assert (
        box.says("sudo -n sh -c 'echo $HOME $PATH; id -un'")
        == "/Users/admin /usr/bin:/bin:/usr/sbin:/sbin\nroot"
    )
    assert box.says("zsh -lc 'echo $PATH'").startswith("/usr/local/bin:")
    assert (
        box.says("readlink -f /etc/ssh; readlink -f /var/db; readlink -f /tmp")
        == "/private/etc/ssh\n/private/var/db\n/private/tmp"
    )
    assert (
        box.says(
            "ls -ld /Users/admin | cut -c1-10; ls -di / >/dev/null; ls -ldn /var/root | awk '{print $3, $4}'"
        )
        == "drwxr-x---\n0 0"
    )


def test_the_sealed_system_takes_no_file(box):
    for place in ("/usr/bin/x", "/System/x", "/bin/x", "/System/Library/LaunchDaemons/ssh.plist"):
        assert "Read-only file system" in box.fails(f"sudo touch {place}", 1)
    box.says("sudo touch /usr/local/bin/x && sudo rm /usr/local/bin/x")


LINUX = (
    "getent runuser useradd userdel usermod groupadd adduser chpasswd apt-get apt dpkg dpkg-query systemctl loginctl journalctl "
    "systemd-run timedatectl hostnamectl ss ip ufw flock setsid timeout md5sum sha256sum nproc tac shuf findmnt lsblk mountpoint ldd "
    "tmux brew wget"
)


def test_what_only_linux_has_is_not_there(box):
    assert box.says(f"for name in {LINUX}; do command -v $name; done; true") == ""
    assert box.says(f"sudo sh -c 'for name in {LINUX}; do command -v $name; done; true'") == ""
    assert "not found" in box.fails("getent passwd admin", 127)


REFUSED = [
    ("stat -c %a /etc", "illegal option -- c"),
    ("stat --format=%a /etc", "illegal option"),
    ("date -d @0", "illegal option -- d"),
    ("date --iso-8601", "illegal option"),
    ("base64 -w 0 /etc/paths", "invalid option -- w"),
    ("cp --archive a b", "illegal option -- -"),
    ("mv -T a b", "illegal option -- T"),
    ("ln -sT a b", "illegal option -- T"),
    ("chmod --reference=a b", "illegal option -- -"),
    ("chown --reference=a b", "illegal option -- -"),
    ("rm --force a", "illegal option -- -"),
    ("mkdir --parents a", "illegal option -- -"),
    ("touch -d '2 days ago' x", "YYYY-MM-DD"),
    ("sed -i s/a/b/ /dev/null", "no input files|expected|unterminated|extra|unknown"),
    ("sed --quiet p /etc/paths", "illegal option"),
    ("printf 'a\\n' | sed '/a/a text'", "expected"),
    ("sed -n '/a/{p}' /etc/paths", "extra characters at the end of p command"),
    ("grep -P a /etc/paths", "invalid option -- P"),
    ("find / -maxdepth 0 -printf %p", "-printf: unknown primary"),
    ("find -name x", "illegal option -- n"),
    ("sync -f /etc", "."),
    ("head -n -1 /etc/paths", "illegal line count -- -1"),
    ("tail --pid=1 -f x", "illegal option -- -"),
    ("wc --lines /etc/paths", "illegal option -- -"),
    ("ps --no-headers", "illegal option -- -"),
    ("ps -o cmd= -p 1", "keyword not found"),
    ("id --user", "illegal option"),
    ("du --max-depth=1 /etc/ssh", "illegal option -- -"),
    ("ls --time-style=long-iso /", "illegal option -- -"),
    ("ls /etc/paths -l", "No such file"),
    ("readlink -e /etc", "illegal option -- e"),
    ("xargs -d x echo </dev/null", "illegal option -- d"),
    ("mktemp --suffix=.sh", "illegal option -- -"),
    ("su --login admin", "illegal option"),
    ("passwd -S admin", "illegal option"),
    ("install -D a b", "illegal option -- D"),
    ("dd if=/dev/zero of=/dev/null bs=1M count=1", "illegal numeric value"),
    ("pgrep --full x", "illegal option"),
    ("openssl req -new -noenc", "unknown option -noenc"),
]


@pytest.fixture(scope="module")
def refusals(box) -> dict[str, tuple[int, str]]:
    """Try them all in one session: code and words of each."""
    script = "".join(f"( {command} ) 2>&1; printf '\\0%d\\1' $?\n" for command, _ in REFUSED)
    answers = [
        answer.rsplit("\0", 1) for answer in box("zsh -s", input=script).stdout.split("\1")[:-1]
    ]
    return {
        command: (int(code), words)
        for (command, _), (words, code) in zip(REFUSED, answers, strict=True)
    }


@pytest.mark.parametrize("command, says", REFUSED)
def test_what_only_gnu_knows_is_refused(refusals, command, says):
    code, words = refusals[command]
    assert code != 0 and re.search(says, words), (code, words)


def test_what_bsd_knows_works(box):
    box.says(
        "mkdir -p /tmp/bsd/a && cd /tmp/bsd && printf 'one\\ntwo\\n' >a/f && chmod 640 a/f && ln -s a/f link"
    )
    assert (
        box.says("cd /tmp/bsd; stat -f '%Lp %Su %Sg %u %g %z %N %HT' a/f")
        == "640 admin staff 501 20 8 a/f Regular File"
    )
    assert (
        box.says(
            "cd /tmp/bsd; stat -f '%Sp %OLp %HT %Y' link; stat -L -f '%OLp %HT' link"
        ).splitlines()[1]
        == "640 Regular File"
    )
    assert box.says("stat -f %m /tmp/bsd/a/f").isdigit() and "No such file" in box.fails(
        "stat -f %m /nowhere", 1
    )
    assert (
        box.says("date -u -r 86400 '+%F %T'; date -j -u -f %Y-%m-%d 2026-01-02 +%d.%m.%Y")
        == "1970-01-02 00:00:00\n02.01.2026"
    )
    assert (
        box.says("LC_ALL=C date -j -u -f '%a %b %d %T %Y' 'Sat Nov 21 13:47:24 2026' +%s")
        == "1795268844"
    )
    assert box.says("date -j -f %s 60 +%s; date -u -v+1d -r 0 +%F") == "60\n1970-01-02"
    assert (
        box.says("cd /tmp/bsd; wc -l <a/f; wc -l a/f; wc a/f")
        == "       2\n       2 a/f\n       2       2       8 a/f"
    )
    assert (
        box.says("cd /tmp/bsd; sed -i '' s/one/1/ a/f; sed -i.bak -e s/two/2/ a/f; cat a/f a/f.bak")
        == "1\n2\n1\ntwo"
    )
    assert (
        box.says("printf abc | base64; printf YWJj | base64 -d; printf YWJj | base64 --decode")
        == "YWJj\nabcabc"
    )
    assert (
        box.says("cd /tmp/bsd; mkdir b; cp -R a/ b; ls b; cp -a a c; ls c; tail -r a/f")
        == "f\nf.bak\nf\nf.bak\n2\n1"
    )
    assert (
        box.says(
            "cd /tmp/bsd; printf '%s  a/f\\n' $(shasum -a 256 a/f | cut -d' ' -f1) | shasum -a 256 -c"
        )
        == "a/f: OK"
    )
    assert (
        box.says("awk 'BEGIN { print substr(\"macos\", 2) }'; seq 1 3 | tail -n +2") == "acos\n2\n3"
    )
    assert box.says("printf 'a\\0b' | xargs -0 -n 1 echo; xargs echo no </dev/null") == "a\nb"
    assert (
        box.says("sudo su - admin -c 'id -un; pwd'; sudo su root -c 'id -un'")
        == "admin\n/Users/admin\nroot"
    )
    assert box.says(
        "sudo head -c 100 /dev/zero | wc -c; openssl version; rsync --version | head -n 1"
    ).splitlines() == ["     100", "LibreSSL 3.3.6", "openrsync: protocol version 29"]
    assert (
        box.says(
            "ps -o pid= -p $$; ps aux | grep -c launchd; pgrep -x launchd >/dev/null && echo yes"
        ).splitlines()[2]
        == "yes"
    )
    assert box.says("cd /tmp/bsd; tar -czf t.tgz a/f && tar -tzf t.tgz; tar --version").startswith(
        "a/f\nbsdtar "
    )
    assert box.says("cd /tmp/bsd; rsync -a a/ d && ls d") == "f\nf.bak"
    assert (
        box.says("cd /tmp/bsd; find a -name f -perm +0040 -exec echo {} \\; -print | head -n 2")
        == "a/f\na/f"
    )
    assert "File exists" in box.fails("cd /tmp/bsd; mktemp x.XXXXXX.sh && mktemp x.XXXXXX.sh", 1)
    assert (
        box.says("mktemp -d /tmp/bsd/XXXXXX | cut -c1-9; mktemp -t lab | cut -c1-9")
        == "/tmp/bsd/\n/tmp/lab."
    )
    assert box.says("dd if=/dev/zero bs=1m count=1 2>/dev/null | wc -c") == " 1048576"
    box.says("sudo sh -c 'cd /tmp/bsd && touch o && chown 501:80 o && chown root: o'")
    assert (
        box.says("stat -f %Su:%Sg /tmp/bsd/o") == "root:admin"
    )  # a colon with nothing behind it leaves the group as it is
    box.says("sudo rm -rf /tmp/bsd")


def test_python_is_that_of_the_command_line_tools(box, set_switch):
    assert box.says("xcode-select -p") == "/Library/Developer/CommandLineTools"
    box.says("python3 -m venv /tmp/venv && /tmp/venv/bin/pip --version && rm -rf /tmp/venv")
    assert (
        box.says("python3 -c 'import os; print(os.environ[\"JUPYTER_DATA_DIR\"])'")
        == "/Users/admin/Library/Jupyter"
    )
    set_switch("command-line-tools", False)
    assert "No developer tools were found" in box.fails("python3 --version", 1)
    assert "unable to get active developer directory" in box.fails("xcode-select -p", 2)


# Accounts


def test_an_account_is_made_in_the_words_of_macos(box, trainee):
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} sysadminctl\[\d+:\d+\] "
    texts = [re.sub("^" + stamp, "", line) for line in trainee.splitlines()]
    assert texts == [
        "Creating user record…",
        "Assigning UID: 502 GID: 20",
        "Creating home directory at /Users/trainee",
    ]
    assert all(re.match(stamp, line) for line in trainee.splitlines())
    assert box.says(
        "dscl . -read /Users/trainee UniqueID PrimaryGroupID NFSHomeDirectory UserShell RealName"
    ) == (
        "NFSHomeDirectory: /Users/trainee\nPrimaryGroupID: 20\nRealName:\n Remote Lab\nUniqueID: 502\nUserShell: /bin/zsh"
    )
    assert box.says("id -Gn trainee") == "staff everyone localaccounts"
    assert box.says(
        "stat -f '%Lp %Su %Sg' /Users/trainee; sudo -u trainee -H zsh -lc 'id -un; echo $HOME'"
    ) == ("750 trainee staff\ntrainee\n/Users/trainee")
    assert "is DISABLED for user trainee" in box("sysadminctl -secureTokenStatus trainee").stderr
    assert box.says(
        "dscl . -authonly trainee wrong 2>&1; sudo dscl . -authonly trainee Tr4inee-secret && echo right"
    ).endswith("right")
    assert (
        "already exists" in box("sudo sysadminctl -addUser trainee -password -", input="x").stderr
    )
    box.says("sudo sysadminctl -resetPasswordFor trainee -newPassword -", input="An0ther")
    assert box.says("sudo dscl . -authonly trainee An0ther && echo right") == "right"


def test_sysadminctl_ends_well_whatever_happened(box):
    for words in (
        "-addUser",
        "-nonsense x",
        "",
        "-addUser trainee -password -",
        "-deleteUser nobody2",
    ):
        done = box(f"sysadminctl {words}")
        assert done.returncode == 0 and done.stderr and not done.stdout
    assert "no such user" in box("id trainee").stderr
    assert "No clear text password" in box("sudo sysadminctl -addUser trainee").stderr
    assert "Deleting record for trainee" in box("sudo sysadminctl -deleteUser trainee").stderr
    assert box("id trainee").returncode == 1 and box("test -e /Users/trainee").returncode == 1


def test_without_full_disk_access_an_account_can_be_made_and_hardly_changed(box, set_switch):
    set_switch("full-disk-access", False)
    said = box(
        "sudo sysadminctl -addUser trainee -fullName T -UID 777 -password -", input="x"
    ).stderr
    assert re.search(r"### Error:-14120 File:/\S+DSRecord\.m Line:418", said)
    assert box.says("id -u trainee") == "502"
    assert box.fails("sudo dscl . -create /Users/trainee NFSHomeDirectory /Users/t", 40).endswith(
        "DS Error: -14120 (eDSPermissionError)\n"
    )
    box.says("sudo dscl . -create /Users/trainee IsHidden 1")
    assert (
        "### Error:-14120" in box("sudo sysadminctl -deleteUser trainee").stderr
        and box.says("id -un trainee") == "trainee"
    )
    assert "requires Full Disk Access privileges" in box.says("sudo systemsetup -setremotelogin on")
    assert box.says("sudo systemsetup -getremotelogin") == "Remote Login: Off"  # though it is on
    set_switch("full-disk-access", True)
    assert box.says("sudo systemsetup -getremotelogin") == "Remote Login: On"
    assert "administrator access" in box.says("systemsetup -getremotelogin")
    box.says("sudo sysadminctl -deleteUser trainee")


def test_a_home_may_be_assigned_and_not_created(box, set_switch):
    set_switch("home-created", False)
    said = box("sudo sysadminctl -addUser trainee -password -", input="x").stderr
    assert "Home directory is assigned (not created!) at /Users/trainee" in said
    assert box("test -e /Users/trainee").returncode == 1
    assert "created (/Users/trainee)" in box.says("sudo createhomedir -c -u trainee")
    assert box.says("stat -f %Su:%Sg /Users/trainee") == "trainee:staff"
    assert "usage" in box.fails("createhomedir --create", 64)
    box.says("sudo sysadminctl -deleteUser trainee")


def test_dscl_answers_as_it_does(box, trainee):
    box.says("sudo dscl . -create /Users/trainee IsHidden 1")
    assert box.says("dscl . -read /Users/trainee IsHidden") == "dsAttrTypeNative:IsHidden: 1"
    assert box.says("dscl . -read /Users/trainee JPEGPhoto") == "No such key: JPEGPhoto"
    assert box.says("dscl . -list /Users UniqueID | awk '{ print $1, $2 }'") == (
        "_sshd 75\nadmin 501\ndaemon 1\nnobody -2\nroot 0\ntrainee 502"
    )
    assert (
        box.fails("dscl . -read /Users/nobody2", 56)
        == "<dscl_cmd> DS Error: -14136 (eDSRecordNotFound)\n"
    )
    assert box.fails("dscl . create /Users/x", 40) == (
        "<main> attribute status: eDSPermissionError\n<dscl_cmd> DS Error: -14120 (eDSPermissionError)\n"
    )
    assert "trainee\t\tUniqueID = (" in box.says("dscl . -search /Users UniqueID 502")
    assert "usage: dscl" in box.fails("dscl . -frobnicate /Users/x", 64)
    box.says("sudo dscl . -delete /Users/trainee IsHidden")
    assert box.says("dscl . -read /Users/trainee IsHidden") == "No such key: IsHidden"
    box.says("sudo dscl . -change /Users/trainee UserShell /bin/zsh /bin/bash")
    assert box.says("dscl . -read /Users/trainee UserShell; id -P trainee").endswith("/bin/bash")


def test_groups_nest(box, trainee):
    assert (
        box.fails("dseditgroup -o checkmember -m trainee admin", 67)
        == "no trainee is NOT a member of admin\n"
    )
    assert (
        box.says("dseditgroup -o checkmember -m admin com.apple.access_ssh")
        == "yes admin is a member of com.apple.access_ssh"
    )
    assert "must be provided" in box.fails("dseditgroup -o create lab", 77)
    box.says(
        "sudo dseditgroup -o create -q lab; sudo dseditgroup -o edit -a trainee -t user lab; sudo dseditgroup -o create inner"
    )
    box.says(
        "sudo dseditgroup -o edit -a admin -t user inner; sudo dseditgroup -o edit -a inner -t group lab"
    )
    assert {"lab", "inner"} <= set(box.says("id -Gn admin").split()) and "lab" in box.says(
        "id -Gn trainee"
    ).split()
    box.says("sudo dseditgroup -o edit -d trainee -t user lab")
    assert box("dseditgroup -o checkmember -m trainee lab").returncode == 67
    assert (
        box.fails("sudo dseditgroup -o edit -a nobody2 -t user lab", 67)
        == "Record was not found.\n"
    )
    assert "usage" in box.fails("dseditgroup --operation read admin", 64)
    box.says("sudo dseditgroup -o delete lab; sudo dseditgroup -o delete inner")
    assert box.fails("dseditgroup -o read lab", 67) == "Group not found.\n"


# Who may log in


def test_access_ssh_decides_who_logs_in(box, trainee):
    keys = "mkdir -m 700 /Users/trainee/.ssh && cat >/Users/trainee/.ssh/authorized_keys && chown -R trainee:staff /Users/trainee/.ssh"
    box.host.run(keys, input=box.fab.key + "\n")
    refused = box("true", user="trainee")  # the key is right, the account is not on the list
    assert refused.returncode == 255 and not refused.stdout
    rename = "sudo dscl . -change /Groups/com.apple.access_ssh%s RecordName com.apple.access_ssh%s com.apple.access_ssh%s"
    box.says(rename % ("", "", "-disabled"))
    assert box.says("id -un", user="trainee") == "trainee"
    box.says(rename % ("-disabled", "-disabled", ""))
    assert box("true", user="trainee").returncode == 255
    box.says("sudo dseditgroup -o edit -a trainee -t user com.apple.access_ssh")
    assert box.says("id -un; sudo -n true 2>&1 | grep -c password", user="trainee") == "trainee\n1"
    box.says("sudo dseditgroup -o edit -d trainee -t user com.apple.access_ssh")
    box.host.run("echo 'UsePAM no' >/etc/ssh/sshd_config.d/000-pam.conf")
    assert box.says("id -un", user="trainee") == "trainee"  # the list is PAM's
    box.host.run("rm /etc/ssh/sshd_config.d/000-pam.conf")


def methods(box, user: str = "admin") -> str:
    """Ask sshd which ways to log in it offers."""
    words = [
        "ssh",
        "-F",
        "none",
        "-o",
        "PreferredAuthentications=none",
        "-o",
        "StrictHostKeyChecking=no",
    ]
    words += ["-o", "UserKnownHostsFile=/dev/null"]
    done = subprocess.run(
        [*words, f"{user}@{box.host.address}", "true"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return re.search(r"Permission denied \((.*)\)", done.stderr)[1]


def test_passwords_are_offered_until_both_ways_are_closed_and_any_file_there_counts(box):
    import paramiko

    assert methods(box) == "publickey,password,keyboard-interactive"
    with paramiko.Transport((box.host.address, box.host.port)) as transport:
        transport.connect(username="admin", password=PASSWORD)
        assert transport.is_authenticated()
    box.host.run(
        "echo 'PasswordAuthentication no' >/etc/ssh/sshd_config.d/000-lab.conf.bak"
    )  # no suffix is needed
    assert methods(box) == "publickey,keyboard-interactive"
    box.host.run(
        "printf 'KbdInteractiveAuthentication no\\nPort 2200\\n' >>/etc/ssh/sshd_config.d/000-lab.conf.bak"
    )
    assert methods(box) == "publickey"
    assert not banner((box.host.address, 2200))  # the port is launchd's affair
    box.host.run("rm /etc/ssh/sshd_config.d/000-lab.conf.bak")


def test_root_does_not_log_in(box):
    assert box("true", user="root").returncode == 255
    assert box.host.host_key().startswith("ssh-ed25519 ") and banner(
        (box.host.address, box.host.port)
    ).startswith(b"SSH-2.0-")


# launchd


def test_launchd_tells_of_sshd_in_the_words_of_macos(box):
    shown = box.says("launchctl print system/com.openssh.sshd")
    assert re.match(
        r"system/com\.openssh\.sshd = \{\n\tactive count = \d+\n\tpath = /System/Library/LaunchDaemons/ssh\.plist\n\ttype = LaunchDaemon\n"
        r"\tstate = not running\n\n\tprogram = /usr/libexec/sshd-keygen-wrapper\n\targuments = \{\n\t\tsshd-keygen-wrapper\n\t\}\n",
        shown,
    )
    assert (
        '\tsockets = {\n\t\t"Listeners" = {\n\t\t\ttype = stream\n\t\t\tservice name = ssh\n'
        in shown
    )
    assert (
        box.fails("launchctl print system/x", 113)
        == 'Bad request.\nCould not find service "x" in domain for system\n'
    )
    assert '\t\t"com.openssh.sshd" => enabled\n' in box.says("launchctl print-disabled system")
    assert box.says("sudo lsof -nP -iTCP:22 -sTCP:LISTEN").splitlines()[1].startswith("launchd ")
    assert re.search(
        r"^tcp4 +0 +0 +\*\.22 +\*\.\* +LISTEN *$", box.says("netstat -an -p tcp"), re.MULTILINE
    )
    assert box("netstat -ltn").returncode == 1
    assert box.fails("launchctl frobnicate", 64).startswith("Unrecognized subcommand: frobnicate\n")
    assert "Bootstrap failed: 5: Input/output error" in box.fails(
        "launchctl bootstrap system /Library/LaunchDaemons/x.plist", 5
    )
    assert "Boot-out failed: 1:" in box.fails("launchctl bootout system/com.openssh.sshd", 1)


def test_a_port_of_ones_own_answers_until_it_is_booted_out(box):
    path = box.job("org.lab.sshd", SSHD % "")
    where = (box.host.address, box.host.next_port)
    assert not banner(where)
    box.says(f"plutil -lint {path} && sudo launchctl bootstrap system {path}")
    assert box.says("id -un", port=box.host.next_port) == "admin"
    assert "Bootstrap failed: 5: Input/output error\n" in box.fails(
        f"sudo launchctl bootstrap system {path}", 5
    )
    session = f"sudo launchctl bootout system/org.lab.sshd; sleep 0.3; echo goes on; test -e {path}"
    assert box.says(session, port=box.host.next_port) == "goes on"
    assert not banner(where) and banner((box.host.address, box.host.port))
    assert (
        box.fails("sudo launchctl bootout system/org.lab.sshd", 3)
        == "Boot-out failed: 3: No such process\n"
    )
    box.host.run(f"rm {path}")


def test_sessions_end_with_their_job_where_that_is_what_is_asked(box, set_switch):
    set_switch("bootout-ends-sessions", True)
    path = box.job("org.lab.sshd", SSHD % "")
    box.says(f"sudo launchctl bootstrap system {path}")
    done = box(
        "sudo launchctl bootout system/org.lab.sshd; sleep 1; echo goes on", port=box.host.next_port
    )
    assert done.returncode == 255 and "goes on" not in done.stdout
    box.host.run(f"rm {path}")


def test_a_word_for_sshd_in_the_plist_closes_every_connection(box):
    path = box.job("org.lab.sshd", SSHD % "<string>-i</string>")
    box.says(f"sudo launchctl bootstrap system {path}")
    assert box.host.run(f"lsof -nP -iTCP:{box.host.next_port} -sTCP:LISTEN") and not banner(
        (box.host.address, box.host.next_port)
    )
    box.says(f"sudo launchctl bootout system/org.lab.sshd; sudo rm {path}")


@pytest.mark.parametrize(
    "spoil",
    [
        "chmod 666 %s",
        "chown admin %s",
        "chgrp staff %s",
        "echo x >%s",
        "launchctl disable system/org.lab.job",
        "rm %s",
    ],
)
def test_a_job_that_launchd_cannot_trust_is_refused(box, spoil):
    path = box.job("org.lab.job", SHELL % "sleep 60")
    box.host.run(spoil % path if "%s" in spoil else spoil)
    assert (
        box.fails(f"sudo launchctl bootstrap system {path}", 5)
        == "Bootstrap failed: 5: Input/output error\n"
    )
    box.host.run(f"launchctl enable system/org.lab.job; rm -f {path}")
    assert '"org.lab.job" => enabled' in box.says("launchctl print-disabled system")


def test_a_job_runs_as_its_account_where_it_wants_and_is_kept_alive(box):
    env = "<key>EnvironmentVariables</key><dict><key>COLOUR</key><string>blue</string></dict>"
    keys = (
        env
        + "<key>UserName</key><string>admin</string><key>WorkingDirectory</key><string>/Users/Shared</string><key>Umask</key>"
    )
    keys += "<integer>63</integer><key>RunAtLoad</key><true/><key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>"
    keys += "<key>ThrottleInterval</key><integer>1</integer><key>StandardOutPath</key><string>/tmp/job.out</string>"
    path = box.job(
        "org.lab.job", keys + SHELL % "id -un; pwd; echo $COLOUR $HOME $PATH; umask; sleep 300"
    )
    box.says(f"sudo launchctl bootstrap system {path}")
    box.until("cat /tmp/job.out", "admin\n/Users/Shared\nblue /usr/bin:/bin:/usr/sbin:/sbin\n0077")
    assert box.says("stat -f %Su /tmp/job.out") == "admin"
    shown = box.says("launchctl print system/org.lab.job")
    pid = re.search(r"^\tpid = (\d+)$", shown, re.MULTILINE)[1]
    assert "\tstate = running\n" in shown and "\tusername = admin\n" in shown
    box.host.run(f"kill -9 {pid}")
    box.until("grep -c admin /tmp/job.out", "2", 8)  # a crash is no successful exit
    box.until(f"pgrep -g {pid} || echo nobody", "nobody")  # what it left behind went with it
    box.says("sudo launchctl kickstart -k system/org.lab.job")
    box.until("grep -c admin /tmp/job.out", "3")
    box.says("sudo launchctl bootout system/org.lab.job")
    assert box("pgrep -f 'sleep 300'").returncode == 1
    box.host.run(f"rm {path} /tmp/job.out")


def test_a_job_that_ends_well_stays_ended_and_one_that_cannot_start_says_so(box):
    keys = "<key>RunAtLoad</key><true/><key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>"
    keys += "<key>ThrottleInterval</key><integer>1</integer>"
    path = box.job("org.lab.job", keys + SHELL % "echo x &gt;&gt;/tmp/runs; sleep 300 &amp;")
    box.says(f"sudo launchctl bootstrap system {path}")
    box.until("launchctl print system/org.lab.job | grep -c 'last exit code = 0' || true", "1")
    time.sleep(1.5)
    assert box.host.run("cat /tmp/runs; pgrep -f '[s]leep 300' || true") == "x"
    box.says("sudo launchctl bootout system/org.lab.job")
    box.job("org.lab.job", "<key>RunAtLoad</key><true/><key>Program</key><string>/nowhere</string>")
    box.says(f"sudo launchctl bootstrap system {path}")
    box.until(
        "launchctl print system/org.lab.job | grep 'last exit' || true",
        "last exit code = 78: EX_CONFIG",
    )
    box.says(f"sudo launchctl bootout system/org.lab.job; sudo rm {path} /tmp/runs")


def test_a_job_starts_again_and_again_where_an_interval_is_set(box):
    path = box.job(
        "org.lab.job",
        "<key>StartInterval</key><integer>1</integer>" + SHELL % "echo x &gt;&gt;/tmp/ticks",
    )
    box.says(f"sudo launchctl bootstrap system {path}")
    assert "org.lab.job" in box.says("launchctl list") and '"Label" = "org.lab.job";' in box.says(
        "launchctl list org.lab.job"
    )
    box.until(
        "grep -c x /tmp/ticks 2>/dev/null | grep -qvx '[012]' && echo ticks || true", "ticks", 10
    )
    box.says(f"sudo launchctl bootout system/org.lab.job; sudo rm {path} /tmp/ticks")


def test_launchd_has_moods(box, set_switch):
    path = box.job("org.lab.job", SHELL % "sleep 1")
    set_switch("bootstrap-refusals", "2")
    assert [box(f"sudo launchctl bootstrap system {path}").returncode for _ in range(3)] == [
        5,
        5,
        0,
    ]
    set_switch("old-launchctl", True)
    assert '"com.openssh.sshd" => false' in box.says("launchctl print-disabled system")
    set_switch("remote-login-by-settings", True)
    assert "\tpath = (submitted by smd[541])\n\ttype = Submitted\n" in box.says(
        "launchctl print system/com.openssh.sshd"
    )
    box.says(f"sudo launchctl bootout system/org.lab.job; sudo rm {path}")


# The rest of what labfab asks


def test_property_lists_are_read_and_written(box):
    assert (
        box.says("plutil -lint /System/Library/LaunchDaemons/ssh.plist")
        == "/System/Library/LaunchDaemons/ssh.plist: OK"
    )
    assert (
        box.says(
            "plutil -extract Sockets.Listeners.SockServiceName raw -o - /System/Library/LaunchDaemons/ssh.plist"
        )
        == "ssh"
    )
    assert '  "Label" => "com.openssh.sshd"\n' in box.says(
        "plutil -p /System/Library/LaunchDaemons/ssh.plist"
    )
    assert "Property List error" in box.fails("plutil -lint /etc/paths", 1)
    assert "unrecognized option" in box.fails("plutil --lint /etc/paths", 1)
    window = "/Library/Preferences/com.apple.loginwindow"
    box.says(f"sudo defaults write {window} SHOWOTHERUSERS_MANAGED -bool FALSE")
    assert box.says(f"defaults read {window} SHOWOTHERUSERS_MANAGED") == "0"
    assert box.says(f"plutil -extract SHOWOTHERUSERS_MANAGED raw {window}.plist") == "false"
    box.says(f"sudo defaults delete {window} SHOWOTHERUSERS_MANAGED")
    assert (
        f"The domain/default pair of ({window}, SHOWOTHERUSERS_MANAGED) does not exist"
        in box.fails(f"defaults read {window} SHOWOTHERUSERS_MANAGED", 1)
    )
    assert "Could not write domain" in box.fails(f"defaults write {window} X -bool FALSE", 1)
    box.says("touch /tmp/f; chflags hidden /tmp/f")
    assert box.says("stat -f %Sf /tmp/f") == "hidden"


def test_power_and_disk_are_told(box, set_switch):
    assert "\n sleep                1\n" in box.says("pmset -g")
    set_switch("sleep-prevented-by", "sharingd")
    assert "\n sleep                1 (sleep prevented by sharingd)\n" in box.says("pmset -g")
    assert "must be run as root" in box.fails("pmset -a sleep 0", 77)
    box.says("sudo pmset -a sleep 0 disksleep 0 womp 1 autorestart 1")
    assert "\n sleep                0 (" in box.says(
        "pmset -g"
    ) and " disksleep            0\n" in box.says("pmset -g")
    assert "Usage" in box.fails("sudo pmset -a sleep", 64) + box.fails(
        "sudo pmset -a nonsense 1", 64
    )
    assert box.says("fdesetup status") == "FileVault is Off."
    set_switch("filevault", True)
    assert box.says("fdesetup status") == "FileVault is On."
    assert "State = 0" in box.says(
        "/usr/libexec/ApplicationFirewall/socketfilterfw --getglobalstate"
    )


UPDATES = """[{"label": "Command Line Tools for Xcode 26.5-26.5", "title": "Command Line Tools for Xcode 26.5", "version": "26.5"},
{"label": "macOS Tahoe 26.6-25G72", "title": "macOS Tahoe 26.6", "version": "26.6", "size": 3690218, "restart": true}]"""


def test_updates_are_listed_and_the_owner_of_the_volume_lets_those_in_that_restart(box, set_switch):
    assert "No new software available." in box("softwareupdate -l").stderr
    set_switch("updates", UPDATES)
    assert box.says("softwareupdate -l") == (
        "Software Update Tool\n\nFinding available software\nSoftware Update found the following new or updated software:\n"
        "* Label: Command Line Tools for Xcode 26.5-26.5\n"
        "\tTitle: Command Line Tools for Xcode 26.5, Version: 26.5, Size: 920416KiB, Recommended: YES, \n"
        "* Label: macOS Tahoe 26.6-25G72\n"
        "\tTitle: macOS Tahoe 26.6, Version: 26.6, Size: 3690218KiB, Recommended: YES, Action: restart, "
    )
    box.fails("softwareupdate -i -a", 1)  # not root
    assert "Failed to authenticate" in box.fails("sudo softwareupdate -i -a -R", 1)
    assert (
        "Failed to authenticate"
        in box("sudo softwareupdate -i -a -R --user admin --stdinpass", input="wrong").stderr
    )
    box.says("sudo softwareupdate -i 'Command Line Tools for Xcode 26.5-26.5'")
    assert "Command Line Tools" not in box.says("softwareupdate -l")
    assert "unrecognized option" in box.fails("softwareupdate --everything", 1)
    set_switch("product-version", "26.5")  # to be forgotten afterwards
    before = box.host.boot_id()
    box("sudo softwareupdate -i -a -R --user admin --stdinpass", input=PASSWORD)
    box.host._wait_for_boot_after(before)
    box.host.wait_for_ssh()
    assert (
        box.says("sw_vers -productVersion") == "26.6"
        and "No new software" in box("softwareupdate -l").stderr
    )


def test_homebrew_brings_tmux_where_it_is_wanted(box):
    mac.give_homebrew_tmux(box.host)
    assert box.says("command -v tmux; /opt/homebrew/bin/tmux -V").startswith("tmux 3")
    box.host.run("rm -rf /opt/homebrew")


# Reboots


def test_a_reboot_loads_what_is_not_disabled_and_changes_nothing(box):
    first = box.job("org.lab.sshd", SSHD % "")
    second = box.job("org.lab.job", "<key>RunAtLoad</key><true/>" + SHELL % "sleep 300")
    box.says("sudo launchctl disable system/org.lab.job")
    uuid, sums = box.says("sysctl -n kern.bootsessionuuid"), box.host.checksums()
    assert {
        "etc/ssh/sshd_config",
        "Users/admin",
        "Library/LaunchDaemons/org.lab.sshd.plist",
    } <= set(sums)
    before = box.host.boot_id()
    box("sudo shutdown -r now")
    box.host._wait_for_boot_after(before)
    box.host.wait_for_ssh()
    assert box.says("sysctl -n kern.bootsessionuuid", port=box.host.next_port) != uuid
    assert box("launchctl print system/org.lab.job").returncode == 113
    assert box.host.checksums() == sums
    box.says("sudo launchctl bootout system/org.lab.sshd")
    box.host.kill_power()
    assert box.says("id -un", port=box.host.next_port) == "admin"
    box.says(f"sudo rm {first} {second}; sudo launchctl bootout system/org.lab.sshd")


def test_filevault_waits_for_its_password_after_a_restart(box, set_switch):
    set_switch("filevault", True)
    assert "Unable to unlock" in box("sudo fdesetup authrestart", input="admin\nwrong\n").stderr
    before = box.host.boot_id()
    box("sudo fdesetup authrestart", input=f"admin\n{PASSWORD}\n")
    box.host._wait_for_boot_after(before)
    box.host.wait_for_ssh()
    before = box.host.boot_id()
    box("sudo reboot")
    box.host._wait_for_boot_after(before)
    box.until("systemctl is-active launchd || true", "active")
    time.sleep(1)
    assert not banner((box.host.address, box.host.port))
    mac.unlock(box.host)
    box.host.wait_for_ssh()


def test_the_network_can_be_cut(box):
    box.host.cut_off()
    before = box.host.attempts_outside()
    assert (
        box("curl -sS -m 2 http://198.51.100.7/").returncode != 0
        and box.host.attempts_outside() > before
    )
    box.host.reconnect()


def test_the_installer_double_makes_a_jupyterlab_that_keeps_to_library(box):
    whole = installer.build("miniforge", ("3.11",), system="Darwin", machine="arm64")
    assert whole.name.endswith("-MacOSX-arm64.sh")
    box.host.engine.run("cp", str(whole), f"{box.host.id}:/Users/Shared/M.sh", timeout=120)
    said = box.says("bash /Users/Shared/M.sh -b -p ~/miniforge3 2>&1")
    assert "installation finished." in said and "md5sum mismatch" not in said
    box.says(
        "~/miniforge3/bin/conda install -y -q --override-channels -c conda-forge jupyterlab tmux"
    )
    assert (
        box.says("~/miniforge3/bin/jupyter --runtime-dir") == "/Users/admin/Library/Jupyter/runtime"
    )
    assert box.says("~/miniforge3/bin/jupyter lab --version; ~/miniforge3/bin/tmux -V").startswith(
        "4."
    )


def test_an_intel_mac_asks_for_the_password(module_host, module_fab):
    intel = Box(
        module_host("mac-intel", "intel", key=module_fab.key, password=PASSWORD, nopasswd=False),
        module_fab,
    )
    assert intel.says("uname -m; sysctl -n hw.optional.arm64") == "x86_64\n0"
    assert "password is required" in intel("sudo -n true").stderr
    assert intel.says("sudo -S -p '' id -un", input=PASSWORD + "\n") == "root"
