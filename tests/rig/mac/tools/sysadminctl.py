"""sysadminctl: makes and deletes accounts. It says everything on stderr and exits with 0, whatever happened."""

import os
import shutil
import signal
import sys
from contextlib import suppress

from . import createhomedir, directory, state

USAGE = """\
Usage: sysadminctl
\t-deleteUser <user name> [-secure || -keepHome] (interactive || -adminUser <administrator user name> -adminPassword <administrator password>)
\t-newPassword <new password> -oldPassword <old password> [-passwordHint <password hint>]
\t-resetPasswordFor <local user name> -newPassword <new password> [-passwordHint <password hint>] (interactive] || -adminUser <administrator user name> -adminPassword <administrator password>)
\t-addUser <user name> [-fullName <full name>] [-UID <user ID>] [-GID <group ID>] [-shell <path to shell>] [-password <user password>] [-hint <user hint>] [-home <full path to home>] [-admin] [-roleAccount] [-picture <full path to user image>] (interactive] || -adminUser <administrator user name> -adminPassword <administrator password>)
\t-secureTokenStatus <user name>
\t-automaticTime <on || off || status>
\t-screenLock <status || immediate || off || seconds> -password <password>

Pass '-' instead of password in commands above to request prompt."""
VALUES = {
    "-addUser",
    "-deleteUser",
    "-resetPasswordFor",
    "-secureTokenStatus",
    "-fullName",
    "-UID",
    "-GID",
    "-shell",
    "-password",
    "-hint",
    "-home",
    "-picture",
    "-newPassword",
    "-oldPassword",
    "-passwordHint",
    "-adminUser",
    "-adminPassword",
}
FLAGS = {"-admin", "-roleAccount", "-secure", "-keepHome", "interactive"}
NO_ACCESS = "### Error:-14120 File:/AppleInternal/Library/BuildRoots/4~CRHiugD/Library/Caches/com.apple.xbs/Sources/Admin/DSRecord.m Line:%d"
NO_PASSWORD = "No clear text password or interactive option was specified (adduser, change/reset password will not allow user to use FDE) !"


def say(text: str) -> None:
    state.log("sysadminctl", text)


def main(words: list[str]) -> int:
    options = parse(words)
    for name, run in (
        ("-addUser", add),
        ("-deleteUser", delete),
        ("-resetPasswordFor", reset),
        ("-secureTokenStatus", token),
    ):
        if name in options:
            run(options)
            return 0
    print(USAGE, file=sys.stderr)
    return 0


def parse(words: list[str]) -> dict[str, str]:
    """Read the options; none where one is unknown or lacks its value."""
    options, rest = {}, list(words)
    while rest:
        word = rest.pop(0)
        if word in FLAGS:
            options[word] = "yes"
        elif word in VALUES and rest:
            options[word] = rest.pop(0)
        else:
            return {}
    return options


def password(options: dict[str, str], name: str) -> str | None:
    """Take the password from the command line, or for '-' from stdin."""
    given = options.get(name)
    if given != "-":
        return given
    if sys.stdin.isatty():
        print("Password:", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().rstrip("\n")


def may(options: dict[str, str]) -> bool:
    """Tell whether the caller is root, or knows an administrator's password."""
    admin = options.get("-adminUser", "")
    if state.is_root():
        return True
    if (
        admin
        and directory.is_member(admin, "admin")
        and directory.is_password(admin, password(options, "-adminPassword") or "")
    ):
        return True
    say(
        "Operation requires root privileges or administrator credentials (-adminUser, -adminPassword)"
    )
    return False


def add(options: dict[str, str]) -> None:
    name = options["-addUser"]
    secret = password(options, "-password")
    if secret is None:
        for line in ("----------------------------", NO_PASSWORD, "----------------------------"):
            say(line)
    if not may(options):
        return
    if directory.read("Users", name):
        say(f"User {name} already exists")
        return
    say("Creating user record…")
    trusted = state.on("full-disk-access")
    home = options.get("-home", f"/Users/{name}")
    wanted = options.get("-UID", "") if trusted else ""
    if not trusted:
        say(NO_ACCESS % 418)
    with directory.changed():
        uid = int(wanted) if wanted.isdigit() else None
        record = directory.new_user(
            name, options.get("-fullName", ""), options.get("-shell", "/bin/zsh"), home, uid
        )
        if options.get("-GID", "").isdigit():
            record["PrimaryGroupID"] = [options["-GID"]]
        if secret:
            directory.set_password(name, secret)
        directory.write("Users", record)
        if "-admin" in options:
            directory.add_member("admin", "Users", name)
    say(f"Assigning UID: {record['UniqueID'][0]} GID: {record['PrimaryGroupID'][0]}")
    if "-home" in options or not state.on("home-created"):
        say(f"Home directory is assigned (not created!) at {home}")
    else:
        say(f"Creating home directory at {home}")
        createhomedir.make(record)


def delete(options: dict[str, str]) -> None:
    name = options["-deleteUser"]
    if not may(options):
        return
    record = directory.read("Users", name)
    if not record:
        say(f"Unknown user {name}")
        return
    if not state.on("full-disk-access"):
        say(NO_ACCESS % 563)
        return
    uid, home = (
        int(directory.first(record, "UniqueID")),
        directory.first(record, "NFSHomeDirectory"),
    )
    say(f"Killing all processes for UID {uid}")
    kill_all(uid)
    if "-keepHome" in options:
        say(f"Keeping {name}'s home at {home}")
    elif home.startswith("/Users/") and os.path.isdir(home):
        say(f"Removing {name}'s home at {home}")
        shutil.rmtree(home, ignore_errors=True)
    say("Deleting Public share point")
    say(f"Deleting record for {name}")
    with directory.changed():
        directory.remove("Users", name)


def kill_all(uid: int) -> None:
    """End every process of an account."""
    for entry in os.listdir("/proc"):
        with suppress(OSError):
            if entry.isdigit() and os.stat(f"/proc/{entry}").st_uid == uid:
                os.kill(int(entry), signal.SIGKILL)


def reset(options: dict[str, str]) -> None:
    name = options["-resetPasswordFor"]
    secret = password(options, "-newPassword")
    record = directory.read("Users", name)
    if not may(options):
        return
    if not record or not secret:
        say(f"Unknown user {name}" if secret else NO_PASSWORD)
        return
    with directory.changed():
        directory.set_password(name, secret)
    say(f"Resetting password for {name}")
    say("Done")


def token(options: dict[str, str]) -> None:
    name = options["-secureTokenStatus"]
    if not directory.read("Users", name):
        say(f"Unknown user {name}")
        return
    owner = name == state.switch("volume-owner")
    say(f"Secure token is {'ENABLED' if owner else 'DISABLED'} for user {name}")
