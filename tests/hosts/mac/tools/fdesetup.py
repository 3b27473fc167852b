"""fdesetup: status and isactive of FileVault; supportsauthrestart."""

from . import state


def main(words: list[str]) -> int:
    if words == ["status"]:
        print(f"FileVault is {'On' if state.on('filevault') else 'Off'}.")
        return 0
    if words == ["isactive"]:
        print("true" if state.on("filevault") else "false")
        return 0 if state.on("filevault") else 1
    if words == ["supportsauthrestart"]:
        print("true")
        return 0
    if words[:1] == ["authrestart"]:
        return state.fail("fdesetup: this double has no disk to unlock", 1)
    return state.fail("Usage: fdesetup verb [options]\nfdesetup help - shows help information", 10)
