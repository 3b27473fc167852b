"""A modeled Mac: what is there on one, and what the commands of macOS do to the model."""

import shlex

from tests import fake_commands
from tests.fake import FakeHost

SYSTEM = {
    "kernel": "Darwin",
    "machine": "arm64",
    "id": "macos",
    "version": "26.5",
    "name": "macOS 26.5",
    "boot_id": "boot-1",
    "login": "admin",
}
LIST = {"access": "on", "member.group:admin": "yes"}


def turn_into_mac(model: FakeHost, **system: str) -> FakeHost:
    """Turn a model into a Mac: an administrator, and Remote Login on port 22 for administrators."""
    model.sections["system"] = SYSTEM | system
    model.sections["ssh"] = {
        "port.22": "yes",
        "listening.22": "launchd",
        "remote_login": "22",
        **LIST,
    }
    model.set_file("ssh", "main", "Include /etc/ssh/sshd_config.d/*\n", "644 root")
    model.sections["accounts"].clear()
    model.add_account("root", uid=0, home="/var/root", shell="/bin/sh", groups="wheel admin")
    model.add_account(
        "admin",
        uid=501,
        home="/Users/admin",
        shell="/bin/zsh",
        groups="staff admin",
        password="P",
        linger="yes",
    )
    return model


def add_account(model, made, name) -> None:
    assert made.stdin.strip() and made.stdin not in made.command
    like = {"shell": "/bin/zsh", "groups": "staff", "password": "P", "ours": "yes", "linger": "yes"}
    model.add_account(name, uid=502, home=f"/Users/{name}", **like)
    del model.sections["accounts"][f"{name}.home_stat"]


def make_home(model, made, name, home) -> None:
    model.sections["accounts"][f"{name}.home_stat"] = f"700 {name}"


def hide(model, made, name) -> None:
    model.sections["accounts"][f"{name}.hidden"] = "yes"


def hide_others(model, made) -> None:
    model.sections["system"]["others_shown"] = "0"


def load(model, made) -> None:
    import plistlib

    have = model.sections["ssh"]
    for key in [
        key
        for key in have
        if key.startswith(("port.", "listening."))
        and key.rpartition(".")[2] != have.get("remote_login")
    ]:
        del have[key]
    found = plistlib.loads(model.file("ssh", "plist").encode())["Sockets"]["Listeners"]
    for one in found if isinstance(found, list) else [found]:
        have |= {
            f"port.{one['SockServiceName']}": "yes",
            f"listening.{one['SockServiceName']}": "launchd",
        }


def restrict(model, made, members) -> None:
    have = model.sections["ssh"]
    for key in [key for key in have if key.startswith("member.")]:
        del have[key]
    have |= {"access": "on", **{f"member.{one}": "yes" for one in shlex.split(members)}}


def close_remote_login(model, made) -> None:
    have = model.sections["ssh"]
    port = have.pop("remote_login")
    del have[f"port.{port}"], have[f"listening.{port}"]


EFFECTS = (
    (r"set -- ([a-z]+)\n# Adds a standard account .*sysadminctl -addUser .*", add_account),
    (r"dscl . -create /Users/([a-z]+) IsHidden 1", hide),
    (
        r"createhomedir -c -u ([a-z]+) >/dev/null; \[ -d (\S+) \] && run_as \1 chmod 700 \2",
        make_home,
    ),
    (
        r"defaults write /Library/Preferences/com.apple.loginwindow SHOWOTHERUSERS_MANAGED -bool FALSE",
        hide_others,
    ),
    (r"load_daemon org.labfab.sshd /Library/LaunchDaemons/org.labfab.sshd.plist", load),
    (r"set_access on (.*)", restrict),
    (
        r"launchctl disable system/com.openssh.sshd && unload_daemon com.openssh.sshd",
        close_remote_login,
    ),
)
fake_commands.EFFECTS = EFFECTS + fake_commands.EFFECTS
