"""xcode-select: where the Command Line Tools are, if they are."""

from pathlib import Path

from . import state

TOOLS = "/Library/Developer/CommandLineTools"
ABSENT = "xcode-select: error: unable to get active developer directory, use `sudo xcode-select --switch path/to/Xcode.app` to set one (or see `man xcode-select`)"


def main(words: list[str]) -> int:
    if words in (["-p"], ["--print-path"]):
        if not state.on("command-line-tools"):
            return state.fail(ABSENT, 2)
        print(TOOLS)
        return 0
    if len(words) == 2 and words[0] in ("-s", "--switch"):
        if not state.is_root():
            return state.fail(
                "xcode-select: error: --switch must be run as root (e.g. `sudo xcode-select --switch <xcode_folder_path>`).",
                1,
            )
        if not Path(words[1]).is_dir() or not state.on("command-line-tools"):
            return state.fail(f"xcode-select: error: invalid developer directory '{words[1]}'", 1)
        return 0
    if words == ["--install"]:
        on = state.on("command-line-tools")
        return state.fail(
            'xcode-select: note: Command line tools are already installed. Use "Software Update" in System Settings or the softwareupdate command line interface to install updates'
            if on
            else "xcode-select: note: install requested for command line developer tools",
            int(on),
        )
    return state.fail(
        f"xcode-select: error: no command option given or unknown: {' '.join(words)}\nUsage: xcode-select [options]",
        1,
    )
