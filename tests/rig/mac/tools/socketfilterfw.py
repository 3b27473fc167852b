"""socketfilterfw: the state of the application firewall."""

from pathlib import Path

from . import state

USAGE = "usage: /usr/libexec/ApplicationFirewall/socketfilterfw [-c] [-w] [-d] [-l] [-T] [-U] [-B] [-L] [-a listen or accept] [-p pid to write] [--getglobalstate] [--setglobalstate on | off] [--getblockall] [--getallowsigned] [--getstealthmode] [--listapps]"


def main(words: list[str]) -> int:
    on = state.on("firewall")
    if words == ["--getglobalstate"]:
        print("Firewall is enabled. (State = 1)" if on else "Firewall is disabled. (State = 0)")
    elif words == ["--getblockall"]:
        print("Firewall has block all state set to disabled.")
    elif words == ["--getallowsigned"]:
        print(
            "Automatically allow built-in signed software ENABLED.\nAutomatically allow downloaded signed software ENABLED."
        )
    elif words == ["--getstealthmode"]:
        print("Firewall stealth mode is off")
    elif words == ["--listapps"]:
        print("Total number of apps = 0 ")
    elif len(words) == 2 and words[0] == "--setglobalstate" and words[1] in ("on", "off"):
        if not state.is_root():
            return state.fail("Must be root to change settings.", 1)
        Path(state.FOLDER / "firewall").write_text(words[1])
        print(
            f"Firewall is {'enabled' if words[1] == 'on' else 'disabled'}. (State = {int(words[1] == 'on')})"
        )
    else:
        return state.fail(USAGE, 1)
    return 0
