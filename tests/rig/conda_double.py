"""The conda command of the installer double: installs from the wheels it came with, and refuses what the real one refuses.

Runs on the host with nothing but the standard library; the installer writes the interpreter line above it.
"""

import argparse
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

PREFIX = Path(sys.prefix)
DOUBLE = json.loads((PREFIX / "conda-meta" / "double.json").read_text())
INSTALL = [
    str(PREFIX / "pkgs" / "uv"),
    "pip",
    "install",
    "--python",
    str(PREFIX / "bin" / "python"),
    "--no-config",
    "--offline",
]
INSTALL += ["--no-index", "--find-links", str(PREFIX / "pkgs"), "--no-cache", "--link-mode", "copy"]
TMUX = Path("/usr/libexec/double/bin/tmux")
DEFAULTS = ["https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r"]
BLOCK = re.compile(r"\n?# >>> conda initialize >>>.*?# <<< conda initialize <<<\n", re.DOTALL)
INITIALIZE = """
# >>> conda initialize >>>
# !! Contents within this block are managed by 'conda init' !!
__conda_setup="$('%(prefix)s/bin/conda' 'shell.%(shell)s' 'hook' 2> /dev/null)"
if [ $? -eq 0 ]; then
    eval "$__conda_setup"
else
    export PATH="%(prefix)s/bin:$PATH"
fi
unset __conda_setup
# <<< conda initialize <<<
"""
HOOK = """export CONDA_EXE='%(prefix)s/bin/conda'
export CONDA_PREFIX='%(prefix)s'
export CONDA_DEFAULT_ENV='base'
export PATH="%(prefix)s/bin:$PATH"
"""


def fail(text: str) -> None:
    """Stop the way conda does: an empty line, the error, status 1."""
    raise SystemExit("\n" + text)


def accepted() -> Path:
    """Return the file that lists the channels whose terms this account accepted."""
    return Path.home() / ".conda" / "tos" / "accepted"


def terms(channels: list) -> None:
    """Stop when a channel with terms of service is used that nobody accepted."""
    yes = os.environ.get("CONDA_PLUGINS_AUTO_ACCEPT_TOS", "").lower() in {"yes", "true", "1", "on"}
    known = accepted().read_text().split() if accepted().exists() else []
    missing = (
        []
        if yes
        else [channel for channel in channels if channel in DEFAULTS and channel not in known]
    )
    if DOUBLE["terms"] and missing:
        commands = "".join(
            f"\n    conda tos accept --override-channels --channel {channel}" for channel in missing
        )
        names = "".join(f"\n    - {channel}" for channel in missing)
        fail(
            "CondaToSNonInteractiveError: Terms of Service have not been accepted for the following channels. "
            f"Please accept or remove them before proceeding:{names}\n\n"
            f"To accept these channels' Terms of Service, run the following commands:{commands}"
        )


def channels(options) -> list:
    """Return the channels that would be asked, the defaults spelled out."""
    if options.override_channels and not options.channel:
        fail(
            "ArgumentError: At least one -c / --channel flag must be supplied when using --override-channels."
        )
    asked = list(options.channel) + (
        [] if options.override_channels or not DOUBLE["terms"] else ["defaults"]
    )
    return [url for name in asked for url in (DEFAULTS if name == "defaults" else [name])]


def requirement(spec: str) -> str:
    """Turn conda's way to name a package into pip's: channel::name=1.2 becomes name==1.2.*"""
    name = spec.split("::")[-1].strip()
    return re.sub(r"^([\w.-]+)=([\w.]+)(=\S*)?$", r"\1==\2.*", name).replace(" ", "")


def offered(spec: str) -> bool:
    """Say whether any wheel of that name came with the installer."""
    name = re.split(r"[<>=!~\[ ]", spec)[0]
    return any((PREFIX / "pkgs").glob(re.sub(r"[-_.]+", "_", name).lower() + "-*.whl"))


def versions() -> dict:
    """Return name and version of everything installed."""
    return {
        str(found.metadata["Name"]).lower(): found.version
        for found in importlib.metadata.distributions()
    }


def install(options) -> None:
    """Install or raise packages in base."""
    if (
        options.prefix
        and Path(options.prefix).resolve() != PREFIX.resolve()
        or options.name not in (None, "base")
    ):
        fail(
            f"EnvironmentLocationNotFound: Not a conda environment: {options.prefix or PREFIX / 'envs' / options.name}"
        )
    terms(channels(options))
    specs = [requirement(spec) for spec in options.packages if requirement(spec) != "python"]
    if (
        "tmux" in specs and TMUX.exists()
    ):  # no wheel has it: on the double of a Mac it lies out of sight
        specs.remove("tmux")
        (PREFIX / "bin" / "tmux").unlink(missing_ok=True)
        (PREFIX / "bin" / "tmux").symlink_to(TMUX)
    missing = [spec for spec in specs if not offered(spec)]
    if missing:
        fail(
            "PackagesNotFoundError: The following packages are not available from current channels:\n"
            + "".join(f"\n  - {m}" for m in missing)
        )
    if not options.yes and not sys.stdin.isatty():
        fail("Proceed ([y]/n)? \nCondaSystemExit: Exiting.")
    if not specs:
        return
    before = versions()
    done = subprocess.run([*INSTALL, *specs], capture_output=True, text=True, check=False)
    if done.returncode:
        fail("LibMambaUnsatisfiableError: Encountered problems while solving:\n" + done.stderr)
    print(
        done.stderr if versions() != before else "\n# All requested packages already installed.\n"
    )


def export(options) -> None:
    """Print the environment as environment.yml has it; here all came from wheels, there numpy and the like from a channel."""
    mine = {"jupyterlab", "jupyter_server", "jupyter-server", "pip"}
    found = sorted(versions().items())
    lines = [f"  - {name}={version}" for name, version in found if name in mine]
    lines += [
        "  - pip:",
        *(f"      - {name}=={version}" for name, version in found if name not in mine),
    ]
    print(
        "\n".join(
            [
                "name: base",
                "channels:",
                "  - conda-forge",
                "dependencies:",
                *lines,
                f"prefix: {PREFIX}",
            ]
        )
    )


def apply(options) -> None:
    """Install what an environment.yml names."""
    text = Path(options.file).read_text()
    pins = re.findall(
        r"^ *- ([\w.-]+)==?([^=\s]+)", text.partition("dependencies:")[2], re.MULTILINE
    )
    done = subprocess.run(
        [*INSTALL, *(f"{name}=={version}" for name, version in pins)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        fail("CondaEnvException: Pip failed\n" + done.stderr)


def init(options) -> None:
    """Write the marked block into the start-up file of each shell."""
    files = {"bash": ".bash_profile" if "MacOSX" in DOUBLE["name"] else ".bashrc", "zsh": ".zshrc"}
    changed = False
    for shell in options.shells or ["bash"]:
        path = Path.home() / files[shell]
        old = path.read_text() if path.exists() else ""
        block = "" if options.reverse else INITIALIZE % {"prefix": PREFIX, "shell": shell}
        new = BLOCK.sub(lambda _, block=block: block, old) if BLOCK.search(old) else old + block
        changed |= new != old
        if new or path.exists():
            path.write_text(new)
        print(f"{'modified' if new != old else 'no change':<13} {path}")
    print(
        "\n==> For changes to take effect, close and re-open your current shell. <==\n"
        if changed
        else "No action taken."
    )


def tos(options) -> None:
    """Remember that this account accepted a channel's terms."""
    accepted().parent.mkdir(parents=True, exist_ok=True)
    with accepted().open("a") as out:
        for channel in channels(options):
            out.write(channel + "\n")
            print(f"accepted Terms of Service for {channel}")


def listing(options) -> None:
    """Print what is installed, as a table or as JSON."""
    rows = [
        (name, version)
        for name, version in sorted(versions().items())
        if re.search(options.regex or "", name)
    ]
    if options.json:
        print(
            json.dumps(
                [
                    {"name": name, "version": version, "channel": "conda-forge"}
                    for name, version in rows
                ],
                indent=2,
            )
        )
    else:
        print(
            f"# packages in environment at {PREFIX}:\n#\n"
            + "".join(f"{name:<25} {version:>15}\n" for name, version in rows)
        )


def info(options) -> None:
    """Print where the base environment is."""
    facts = {
        "conda_prefix": str(PREFIX),
        "root_prefix": str(PREFIX),
        "conda_version": DOUBLE["conda"],
    }
    print(
        json.dumps(facts)
        if options.json
        else str(PREFIX)
        if options.base
        else f"base environment : {PREFIX}  (writable)"
    )


def config(options) -> None:
    """Set one key in the account's .condarc."""
    path = Path.home() / ".condarc"
    lines = [
        line
        for line in (path.read_text().splitlines() if path.exists() else [])
        if not line.startswith(options.set[0] + ":")
    ]
    path.write_text("\n".join([*lines, ": ".join(options.set)]) + "\n")


def parser() -> argparse.ArgumentParser:
    """Describe the part of conda's command line that this double knows."""
    top = argparse.ArgumentParser(prog="conda")
    top.add_argument("-V", "--version", action="version", version="conda " + DOUBLE["conda"])
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    asks = argparse.ArgumentParser(add_help=False)
    asks.add_argument("-c", "--channel", action="append", default=[])
    asks.add_argument("--override-channels", action="store_true")
    for name in ("install", "update"):
        sub = commands.add_parser(name, parents=[asks])
        sub.add_argument("-y", "--yes", action="store_true")
        sub.add_argument("-q", "--quiet", action="store_true")
        sub.add_argument("-n", "--name")
        sub.add_argument("-p", "--prefix")
        sub.add_argument("packages", nargs="+")
        sub.set_defaults(run=install)
    sub = commands.add_parser("init")
    sub.add_argument("-q", "--quiet", action="store_true")
    sub.add_argument("--reverse", action="store_true")
    sub.add_argument("shells", nargs="*", choices=["bash", "zsh", []])
    sub.set_defaults(run=init)
    if DOUBLE["terms"]:
        sub = (
            commands.add_parser("tos")
            .add_subparsers(required=True)
            .add_parser("accept", parents=[asks])
        )
        sub.set_defaults(run=tos)
    for name, run, flags in (
        ("list", listing, ["--json"]),
        ("info", info, ["--json", "--base"]),
        ("clean", lambda _: None, ["-a", "--all", "-y", "--yes"]),
    ):
        sub = commands.add_parser(name)
        for flag in flags:
            sub.add_argument(flag, action="store_true")
        sub.set_defaults(run=run)
    commands.choices["list"].add_argument("regex", nargs="?")
    env = commands.add_parser("env").add_subparsers(required=True)
    for name, run in (("export", export), ("update", apply)):
        sub = env.add_parser(name)
        sub.add_argument("-n", "--name", choices=["base"])
        sub.add_argument("-q", "--quiet", action="store_true")
        sub.add_argument("--no-builds", action="store_true")
        sub.add_argument("-f", "--file")
        sub.set_defaults(run=run)
    sub = commands.add_parser("config")
    sub.add_argument("--set", nargs=2, required=True)
    sub.set_defaults(run=config)
    return top


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("shell.") and sys.argv[2:3] == ["hook"]:
        print(HOOK % {"prefix": PREFIX})
    else:
        asked = parser().parse_args()
        asked.run(asked)
