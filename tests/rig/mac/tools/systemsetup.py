"""systemsetup: Remote Login, as far as Full Disk Access lets it."""

import subprocess

from . import state
from .launchctl import ask

PLIST = "/System/Library/LaunchDaemons/ssh.plist"
NO_ACCESS = "setremotelogin: Turning Remote Login on or off requires Full Disk Access privileges."


def main(words: list[str]) -> int:
    if not state.is_root():
        print("You need administrator access to run this tool... exiting!")
        return 0
    forced = words[:1] == ["-f"]
    words = words[1:] if forced else words
    if words == ["-getremotelogin"]:
        on = state.on("full-disk-access") and ask("print", "com.openssh.sshd")["code"] == 0
        print(f"Remote Login: {'On' if on else 'Off'}")
        return 0
    if words in (["-setremotelogin", "on"], ["-setremotelogin", "off"]):
        return set_login(words[1] == "on", forced)
    print(
        "systemsetup: see systemsetup(8); this double knows -getremotelogin and -setremotelogin <on|off>"
    )
    return 0


def set_login(on: bool, forced: bool) -> int:
    if not state.on("full-disk-access"):
        print(NO_ACCESS)
        return 0
    if not on and not forced:
        print(
            "Do you really want to turn remote login off? If you do, you will lose this connection and can only turn it back on locally at the server (yes/no)?"
        )
        if input() != "yes":
            return 0
    steps = [("enable", "system/com.openssh.sshd"), ("bootstrap", "system", PLIST)]
    if not on:
        steps = [("bootout", "system/com.openssh.sshd"), ("disable", "system/com.openssh.sshd")]
    for words in steps:
        subprocess.run(["/bin/launchctl", *words], check=False, capture_output=True)
    return 0
