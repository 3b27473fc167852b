"""A report on a real Mac: what the commands say that labfab reads, beside what it expects of them.

Run on the Mac itself by `inv mac-report`. It reads and changes nothing, and asks nobody for a password: what needs root is
asked by `sudo -n`, and left out where sudo wants a password.
"""

from __future__ import annotations

import getpass
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from labfab.on_host import loader

WORDS = loader.words("Darwin")
ME = "@ME@"  # stands for the account that asks
PATIENCE = 300  # seconds; softwareupdate asks Apple


class Question(NamedTuple):
    """One command: what its answer has to look like for labfab, and where its behavior is written down."""

    command: str
    expected: str  # a regular expression for what it prints, on stdout and stderr together
    source: str
    root: bool = False
    words: bool = False  # spoken in labfab's own words for macOS, as its scripts are


def word(command: str, expected: str, source: str, root: bool = False) -> Question:
    return Question(command, expected, source, root, words=True)


QUESTIONS = (
    Question("sw_vers -productVersion", r"^(1[2-5]|26)(\.\d+)*$", "sw_vers(1)"),
    Question("uname -s; uname -m", r"^Darwin\n(arm64|x86_64)$", "uname(1)"),
    # Accounts
    Question("id -P $(id -un)", rf"^{ME}:\*+:\d+:\d+:.*:/Users/[^:]+:/bin/\w+$", "id(1)"),
    word(
        "home_of $(id -un); shell_of $(id -un); name_of $(id -u)",
        rf"^/Users/\S+\n/bin/\w+\n{ME}$",
        "id(1)",
    ),
    word(
        "people",
        r"^root:0:/var/root:/bin/sh\n(.*\n)*.*:50\d:/Users/\S+:/bin/\w+$",
        "dscl(1), id(1)",
    ),
    Question("dscl . -list /Users UniqueID", r"^root +0$", "dscl(1)"),
    Question("dscl . -read /Users/$(id -un) UserShell", r"^UserShell: /bin/\w+$", "dscl(1)"),
    Question(
        "dscl . -read /Users/nobody-of-that-name UserShell; echo $?",
        r"eDSRecordNotFound\)\n56$",
        "dscl(1)",
    ),
    word("values /Groups/admin GroupMembership", rf"^{ME}$", "dscl(1)"),
    Question(
        "dseditgroup -o checkmember -m $(id -un) admin",
        r"is a member of admin|is NOT a member of admin",
        "dseditgroup(8)",
    ),
    Question(
        "defaults read /Library/Preferences/com.apple.loginwindow SHOWOTHERUSERS_MANAGED",
        r"^[01]$|does not exist",
        "defaults(1)",
    ),
    Question("sysadminctl -help", r"-addUser .*-shell .*-password|-addUser", "sysadminctl(8)"),
    Question("ls '/Library/User Template'", r"^Non_localized$", "createhomedir(8)"),
    # Remote Login
    word(
        "access_state; access_members",
        r"^(none|off|on)$",
        "dscl(1); com.apple.access_ssh: pam_sacl(8)",
    ),
    Question(
        "launchctl print system/com.openssh.sshd",
        r"^\tpath = |Could not find service",
        "launchctl(1)",
    ),
    Question(
        "launchctl print system/com.apple.no-such-service; echo $?",
        r"Could not find service.*\n113$",
        "launchctl(1)",
    ),
    Question(
        "launchctl print-disabled system",
        r'disabled services = \{\n(\t\t".*" => (enabled|disabled|true|false)\n)*',
        "launchctl(1)",
    ),
    Question(
        "cat /System/Library/LaunchDaemons/ssh.plist | plutil -p -",
        r'"Program" => "/usr/libexec/sshd-keygen-wrapper"',
        "plutil(1)",
    ),
    Question(
        "grep -n Include /etc/ssh/sshd_config; ls /etc/ssh/sshd_config.d",
        r"Include /etc/ssh/sshd_config.d/\*\n(.*\n)*100-macos.conf",
        "sshd_config(5), apple_ssh_and_fips(7)",
    ),
    Question(
        "/usr/sbin/sshd -T -C user=root,host=h,addr=192.0.2.1",
        r"^permitrootlogin ",
        "sshd(8)",
        root=True,
    ),
    Question(
        "awk '$1 == \"ssh\" && $2 ~ /\\/tcp$/ { print $2 }' /etc/services",
        r"^22/tcp$",
        "services(5)",
    ),
    # What listens
    Question(
        "lsof -nP -iTCP -sTCP:LISTEN",
        r"^COMMAND +PID +USER +FD +TYPE +DEVICE +SIZE/OFF +NODE +NAME\n",
        "lsof(8)",
        root=True,
    ),
    Question(
        "lsof -nP -iTCP -sTCP:LISTEN -F pcLn",
        r"^p\d+\nc\S.*\nL\S+\n(f\d+\n)?n\S+:\d+",
        "lsof(8)",
        root=True,
    ),
    Question("netstat -an -p tcp", r"^tcp[46]+ +\d+ +\d+ +\S+\.\d+ .*LISTEN *$", "netstat(1)"),
    Question(
        "/usr/libexec/ApplicationFirewall/socketfilterfw --getglobalstate",
        r"Firewall is (enabled|disabled)",
        "its own --help",
    ),
    # Tools that are spelled otherwise on Linux
    word(
        "mode_of /etc/hosts; owner_of /etc/hosts; ids_of /etc/hosts", r"^644\nroot\n0:0$", "stat(1)"
    ),
    word("mode_and_owner -L /etc/hosts", r"^644 root$", "stat(1)"),
    word("kind_and_ids /etc", r"^12\d{4} 0:0$", "stat(1)"),
    word("realpath_of /etc", r"^/private/etc$", "perl's Cwd"),
    word(
        "printf x | sha256",
        r"^2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881$",
        "shasum(1)",
    ),
    word("local_time 0 | grep -cE '^19(69|70)-'", r"^1$", "date(1)"),
    word(
        "LAB_USER=$(id -un); f=$(mktemp); newer_than 1 $f && echo newer; rm $f; newer_than $$ /etc/hosts || echo older",
        r"^newer\nolder$",
        "ps(1), date(1)",
    ),
    word("boot_id", r"^[0-9A-F-]{36}$", "sysctl(8), kern.bootsessionuuid"),
    word("f=$(mktemp) && exec 9>>$f && hold 9 && echo held; rm -f $f", r"^held$", "flock(2), perl"),
    Question(
        "LC_ALL=en_US.UTF-8 perl -e 'print qq(quiet)' 2>&1 | head -n 1", r"^quiet$", "perllocale(1)"
    ),
    Question("printf 'ab' | base64", r"^YWI=$", "base64(1)"),
    Question(
        "ps -u $(id -u) -o pid= -o rss= -o pcpu= -o args= | head -n 1",
        r"^ *\d+ +\d+ +\d+[.,]\d ",
        "ps(1)",
    ),
    Question("LC_ALL=C ps -o lstart= -p $$", r"^\w{3} \w{3} +\d+ \d\d:\d\d:\d\d \d{4} *$", "ps(1)"),
    Question("df -P / | tail -n 1", r"^\S.* +\d+ +\d+ +\d+ +\d+% +/$", "df(1)"),
    Question("pgrep -u $(id -u) -f . | head -n 1", r"^\d+$", "pgrep(1)"),
    # Updates, power, disk
    Question(
        "softwareupdate -l",
        r"No new software available|^\* Label: .*\n\tTitle: .*, Version: .*",
        "softwareupdate(8)",
    ),
    Question("fdesetup status", r"^FileVault is (On|Off)\.", "fdesetup(8)"),
    Question("pmset -g", r"^ sleep +\d+", "pmset(1)"),
    Question("pmset -g custom", r"^(AC|Battery) Power:\n(.*\n)*? sleep +\d+", "pmset(1)"),
    # Programs
    Question(
        "xcode-select -p", r"^/\S+|unable to get active developer directory", "xcode-select(1)"
    ),
    Question("rsync --version | head -n 1", r"rsync +version 2\.6\.9|openrsync", "rsync(1)"),
    Question("curl --version | head -n 1", r"^curl \d", "curl(1)"),
    Question("plutil -help 2>&1 | head -n 20", r"-lint", "plutil(1)"),
    Question("su -l root -c 'echo $0' </dev/null", r"sh$", "su(1)", root=True),
)


class Answer(NamedTuple):
    """What came of a question."""

    question: Question
    said: str
    verdict: str  # as expected, differs, or left out


def ask(question: Question) -> Answer:
    """Run one command and compare."""
    text = f"{WORDS}\n{question.command}" if question.words else question.command
    command = [*(["sudo", "-n"] if question.root else []), "/bin/sh", "-c", text]
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Answer(question, str(error), "differs")
    said = done.stdout.strip("\n")
    if question.root and done.returncode == 1 and "a password is required" in said:
        return Answer(question, "", "left out: sudo asks for a password (sudo -v first)")
    return Answer(
        question, said, "as expected" if fits(question, said, getpass.getuser()) else "differs"
    )


def fits(question: Question, said: str, me: str) -> bool:
    return bool(re.search(question.expected.replace(ME, re.escape(me)), said, re.MULTILINE))


def lines(answers: list[Answer]) -> Iterator[str]:
    """The report, in plain text."""
    differ = sum(answer.verdict == "differs" for answer in answers)
    yield f"labfab's report on a Mac: {platform.platform()}; {len(answers)} commands, {differ} differ from what labfab expects"
    yield "It has names of accounts, programs and updates, and no passwords or keys. Read it before you send it."
    for answer in sorted(answers, key=lambda answer: answer.verdict != "differs"):
        yield ""
        yield f"== {answer.verdict}: {'sudo ' * answer.question.root}{answer.question.command}   [{answer.question.source}]"
        if answer.verdict == "differs":
            yield f"   expected: {answer.question.expected}"
        yield from (f"   {line}" for line in answer.said.splitlines()[:200])


def write(path: Path) -> int:
    """Ask everything and write the report; give the number of differences."""
    answers = [ask(question) for question in QUESTIONS]
    path.write_text("\n".join(lines(answers)) + "\n")
    return sum(answer.verdict == "differs" for answer in answers)
