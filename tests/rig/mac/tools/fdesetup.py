"""fdesetup: status and isactive of FileVault; authrestart, which lets one restart through without a password at the screen."""

import plistlib
import subprocess
import sys

from . import directory, state


def main(words: list[str]) -> int:
    if words == ["status"]:
        soon = (
            ", but will be enabled after the next restart"
            if state.switch("filevault") == "soon"
            else ""
        )
        print(f"FileVault is {'On' if state.on('filevault') else 'Off'}{soon}.")
        return 0
    if words == ["isactive"]:
        print("true" if state.on("filevault") else "false")
        return 0 if state.on("filevault") else 1
    if words == ["supportsauthrestart"]:
        print("true")
        return 0
    if words[:1] == ["authrestart"] and words[1:] in ([], ["-inputplist"]):
        return restart(words[1:] == ["-inputplist"])
    return state.fail("Usage: fdesetup verb [options]\nfdesetup help - shows help information", 10)


def restart(in_plist: bool) -> int:
    """Restart, with the disk unlocked for this once."""
    if not state.is_root():
        return state.fail("Error: This command must be run as root.", 1)
    if not state.on("filevault"):
        return state.fail("Error: FileVault is not enabled.", 1)
    if in_plist:
        given = plistlib.loads(sys.stdin.buffer.read())
        name, password = given.get("Username", ""), given.get("Password", "")
    else:
        print("Enter the user name:", end="", flush=True)
        name = sys.stdin.readline().rstrip("\n")
        print(f"Enter the password for user '{name}':", end="", flush=True)
        password = sys.stdin.readline().rstrip("\n")
    if name != state.switch("volume-owner") or not directory.is_password(name, password):
        return state.fail("Error: Unable to unlock or authenticate to FileVault.", 11)
    (state.FOLDER / "authrestart").touch()
    return subprocess.run(["/sbin/shutdown", "-r", "now"], check=False).returncode
