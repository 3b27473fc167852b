"""softwareupdate: lists and installs what the switch `updates` names; what is installed leaves that list."""

import json
import subprocess
import sys

from . import directory, state

USAGE = """\
usage: softwareupdate <cmd> [<args> ...]

** Manage Updates:
\t-l | --list\t\tList all appropriate update labels (options:  --no-scan, --product-types)
\t-d | --download\t\tDownload Only
\t-i | --install\t\tInstall
\t\t<label> ...\tspecific updates
\t\t-a | --all\t\tAll appropriate updates
\t\t-R | --restart\t\tAutomatically restart (or shut down) if required to complete installation.
\t\t-r | --recommended\tOnly recommended updates
\t\t--user\t\tLocal username to authenticate as an owner. Apple silicon only.
\t\t--stdinpass\tPassword to authenticate as an owner. Apple silicon only.
\t--agree-to-license\t\tAgree to the software license agreement without user interaction."""
FLAGS = {
    "-l": "list",
    "--list": "list",
    "-i": "install",
    "--install": "install",
    "-a": "all",
    "--all": "all",
    "-R": "restart",
    "--restart": "restart",
    "-r": "recommended",
    "--recommended": "recommended",
    "--stdinpass": "stdinpass",
    "--agree-to-license": "agree",
    "--no-scan": "noscan",
    "--verbose": "verbose",
}


def main(words: list[str]) -> int:
    options, labels, rest = {}, [], list(words)
    while rest:
        word = rest.pop(0)
        if word in FLAGS:
            options[FLAGS[word]] = "yes"
        elif word == "--user" and rest:
            options["user"] = rest.pop(0)
        elif word.startswith("-"):
            return state.fail(f"softwareupdate: unrecognized option `{word}'\n{USAGE}", 1)
        else:
            labels.append(word)
    if not {"list", "install"} & set(options):
        return state.fail(USAGE, 1)
    print("Software Update Tool\n")
    updates = json.loads(state.switch("updates"))
    if "list" in options:
        return listing(updates)
    return install(options, labels, updates)


def listing(updates: list[dict]) -> int:
    print("Finding available software", flush=True)
    if not updates:
        print("No new software available.", file=sys.stderr)
        return 0
    print("Software Update found the following new or updated software:")
    for update in updates:
        size = update.get("size", 920416)
        action = " Action: restart, " if update.get("restart") else " "
        print(
            f"* Label: {update['label']}\n\tTitle: {update['title']}, Version: {update['version']}, Size: {size}KiB, Recommended: YES,{action}"
        )
    return 0


def install(options: dict[str, str], labels: list[str], updates: list[dict]) -> int:
    if not state.is_root():
        return state.fail("softwareupdate: Must be run as root to install updates", 1)
    if not labels and not {"all", "recommended"} & set(options):
        return state.fail(USAGE, 1)
    print("Finding available software", flush=True)
    chosen = [update for update in updates if not labels or update["label"] in labels]
    for label in labels:
        if label not in [update["label"] for update in updates]:
            print(f"{label}: No such update", file=sys.stderr)
    if not chosen:
        print("No updates are available." if not labels else "No such update", file=sys.stderr)
        return 1 if labels else 0
    restart = [update for update in chosen if update.get("restart")]
    if restart and state.machine() == "arm64" and not owner(options):
        return 1
    left = [update for update in updates if update not in chosen]
    for update in chosen:
        print(f"Downloading {update['title']}\nDownloaded {update['title']}", flush=True)
    if restart and "restart" not in options:
        left += restart
        chosen = [update for update in chosen if update not in restart]
    for update in chosen:
        print(f"Installing {update['title']}\nDone with {update['title']}")
    (state.FOLDER / "updates").write_text(json.dumps(left))
    for update in chosen:
        if update.get("restart"):
            (state.FOLDER / "product-version").write_text(update["version"])
    print("Done.")
    if restart and "restart" in options:
        print("Restarting...", flush=True)
        subprocess.run(["/sbin/shutdown", "-r", "now"], check=False)
    elif restart:
        print(
            "You have installed one or more updates that requires that you restart your\ncomputer.  Please restart immediately."
        )
    return 0


def owner(options: dict[str, str]) -> bool:
    """Tell whether an owner of the volume gave the password."""
    name = options.get("user", "")
    given = sys.stdin.readline().rstrip("\n") if "stdinpass" in options else ""
    if name == state.switch("volume-owner") and directory.is_password(name, given):
        return True
    print("Failed to authenticate", file=sys.stderr)
    return False
