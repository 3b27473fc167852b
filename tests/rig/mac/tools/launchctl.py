"""launchctl: asks launchd, in the words of macOS 11 and later."""

import json
import os
import signal
import socket
import sys

from . import state
from .launchd import SOCKET

USAGE = """\
Usage: launchctl <subcommand> ... | help [subcommand]
Many subcommands take a target specifier that refers to a domain or service
within that domain. The available specifier forms are:

system/[service-name]
Targets the system domain or service within the system domain.

Subcommands:
\tbootstrap       Bootstraps a domain or a service into a domain.
\tbootout         Tears down a domain or removes a service from a domain.
\tenable          Enables an existing service.
\tdisable         Disables an existing service.
\tkickstart       Forces an existing service to start.
\tkill            Sends a signal to the service instance.
\tprint           Prints a description of a domain or service.
\tprint-disabled  Prints which services are disabled.
\tlist            Lists information about services.
\tversion         Prints the launchd version."""
NO_SERVICE, NO_DOMAIN = 113, 112


def ask(operation: str, *words) -> dict:
    """Put a question to launchd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
        wire.connect(SOCKET)
        wire.sendall(json.dumps({"operation": operation, "words": words}).encode() + b"\n")
        line = wire.makefile().readline()
    return json.loads(line) if line else {"code": 5}


def failed(what: str, code: int) -> int:
    """Say that something failed, as launchctl does."""
    print(f"{what} failed: {code}: {os.strerror(code)}", file=sys.stderr)
    if not state.is_root():
        print("Try re-running the command as root for richer errors.", file=sys.stderr)
    return code


def missing(label: str) -> int:
    return state.fail(f'Could not find service "{label}" in domain for system', NO_SERVICE)


def usage(line: str) -> int:
    return state.fail(f"Usage: launchctl {line}", 64)


def label_of(target: str) -> str:
    """Take the name of a service out of system/NAME; none for another domain."""
    domain, _, name = target.partition("/")
    return name if domain == "system" else ""


def main(words: list[str]) -> int:
    if not words or words[0] == "help":
        print(USAGE, file=sys.stderr)
        return 0
    run = COMMANDS.get(words[0])
    if not run:
        print(f"Unrecognized subcommand: {words[0]}", file=sys.stderr)
        print(USAGE, file=sys.stderr)
        return 64
    return run(words[1:])


def bootstrap(words: list[str]) -> int:
    if not words:
        return usage("bootstrap <domain-target> [service-path, service-path2, ...]")
    if words[0] != "system":
        return failed("Bootstrap", 125 if words[0].startswith(("gui/", "user/")) else 22)
    worst = 0
    for word in words[1:]:
        paths = (
            sorted(os.path.join(word, name) for name in os.listdir(word) if name.endswith(".plist"))
            if os.path.isdir(word)
            else [word]
        )
        for path in paths:
            worst = ask("bootstrap", os.path.abspath(path))["code"] or worst
    return failed("Bootstrap", worst) if worst else 0


def bootout(words: list[str]) -> int:
    if not words:
        return usage(
            "bootout <domain-target> [service-path1, service-path2, ...] | <service-target>"
        )
    label = label_of(words[0])
    if words[0] == "system" and len(words) == 2:
        label = next(
            (
                told["label"]
                for told in ask("list")["value"]
                if told["path"] == os.path.abspath(words[1])
            ),
            "",
        )
    code = ask("bootout", label, state.on("bootout-ends-sessions"))["code"] if label else 3
    return failed("Boot-out", code) if code else 0


def switch(operation: str):
    def run(words: list[str]) -> int:
        if len(words) != 1 or not label_of(words[0]):
            return usage(f"{operation} <service-target>")
        code = ask(operation, label_of(words[0]))["code"]
        return (
            state.fail(f"Could not {operation} service: {code}: {os.strerror(code)}", code)
            if code
            else 0
        )

    return run


def kickstart(words: list[str]) -> int:
    flags = {letter for word in words if word.startswith("-") for letter in word[1:]}
    targets = [word for word in words if not word.startswith("-")]
    if len(targets) != 1 or flags - set("kps") or not label_of(targets[0]):
        return usage("kickstart [-k] [-p] [-s] <service-target>")
    label = label_of(targets[0])
    answer = ask("kickstart", label, "k" in flags)
    code = answer["code"]
    if code:
        return (
            missing(label)
            if code == 3
            else state.fail(
                f'Could not kickstart service "{label}": {code}: {os.strerror(code)}', code
            )
        )
    if "p" in flags:
        print(f"service spawned with pid: {answer['value']}")
    return 0


def kill(words: list[str]) -> int:
    if len(words) != 2 or not label_of(words[1]):
        return usage("kill <signal-number|signal-name> <service-target>")
    name = words[0].upper().removeprefix("SIG")
    number = int(name) if name.isdigit() else getattr(signal, "SIG" + name, None)
    if number is None:
        return usage("kill <signal-number|signal-name> <service-target>")
    code = ask("kill", int(number), label_of(words[1]))["code"]
    if code == 3:
        loaded = any(told["label"] == label_of(words[1]) for told in ask("list")["value"])
        return state.fail("No process to signal.", 3) if loaded else missing(label_of(words[1]))
    return state.fail(f"Could not signal service: {code}: {os.strerror(code)}", code) if code else 0


def print_disabled(words: list[str]) -> int:
    if words != ["system"]:
        return usage("print-disabled <domain-target>")
    words = ("false", "true") if state.on("old-launchctl") else ("enabled", "disabled")
    print("\n\tdisabled services = {")
    for label, disabled in sorted(ask("print-disabled")["value"].items()):
        print(f'\t\t"{label}" => {words[disabled]}')
    print("\t}\n\tlogin item associations = {\n\t}")
    return 0


def exit_words(status: int | None) -> str:
    """Write how a job ended, as print and list do."""
    if status is None:
        return "(never exited)"
    if os.WIFSIGNALED(status):
        return f"{os.WTERMSIG(status)}: {signal.strsignal(os.WTERMSIG(status))}"
    code = os.WEXITSTATUS(status)
    return "78: EX_CONFIG" if code == 78 else str(code)


def show(words: list[str]) -> int:
    if len(words) != 1:
        return usage("print <domain-target> | <service-target>")
    domain, _, label = words[0].partition("/")
    if domain in ("gui", "user", "login", "pid"):
        print("Bad request.", file=sys.stderr)
        return state.fail(f"Could not find domain for {words[0]}", NO_DOMAIN)
    if domain != "system":
        print(f"Unrecognized target specifier, did you mean\n  system/{words[0]}", file=sys.stderr)
        return usage("print <domain-target> | <service-target>")
    if not label:
        return domain_shown()
    answer = ask("print", label)
    if answer["code"]:
        print("Bad request.", file=sys.stderr)
        return missing(label)
    print(described(answer["value"]))
    return 0


def domain_shown() -> int:
    print("system = {\n\ttype = system\n\thandle = 0\n\n\tservices = {")
    for told in ask("list")["value"]:
        print(f"\t{told['pid']:>9} {exit_code(told):>6} \t{told['label']}")
    print("\t}\n}")
    return 0


def described(told: dict) -> str:
    """Write the description of a service."""
    plist = told["plist"]
    running = told["pid"] > 0
    program = plist.get("Program") or plist["ProgramArguments"][0]
    submitted = told["label"] == "com.openssh.sshd" and state.on("remote-login-by-settings")
    lines = [
        f"system/{told['label']} = {{",
        f"\tactive count = {told['active']}",
        f"\tpath = {'(submitted by smd[541])' if submitted else told['path']}",
        f"\ttype = {'Submitted' if submitted else 'LaunchDaemon'}",
        f"\tstate = {'running' if running else 'spawn scheduled' if told['waits'] and plist.get('KeepAlive') else 'not running'}",
        "",
        f"\tprogram = {program}",
    ]
    if "ProgramArguments" in plist:
        lines += ["\targuments = {", *(f"\t\t{word}" for word in plist["ProgramArguments"]), "\t}"]
    if "WorkingDirectory" in plist:
        lines += ["", f"\tworking directory = {plist['WorkingDirectory']}"]
    lines += [""]
    for key, name in (("StandardOutPath", "stdout path"), ("StandardErrorPath", "stderr path")):
        lines += [f"\t{name} = {plist[key]}"] if key in plist else []
    lines += [
        "\tdefault environment = {",
        "\t\tPATH => /usr/bin:/bin:/usr/sbin:/sbin",
        "\t}",
        "",
        "\tenvironment = {",
    ]
    lines += [
        f"\t\t{key} => {value}" for key, value in plist.get("EnvironmentVariables", {}).items()
    ]
    lines += [f"\t\tXPC_SERVICE_NAME => {told['label']}", "\t}", "", "\tdomain = system"]
    lines += [f"\tusername = {plist['UserName']}"] if "UserName" in plist else []
    lines += [
        f"\tminimum runtime = {plist.get('ThrottleInterval', 10)}",
        f"\texit timeout = {plist.get('ExitTimeOut', 5)}",
    ]
    lines += [f"\truns = {told['runs']}"]
    lines += [f"\tpid = {told['pid']}"] if running else []
    signalled = told["last"] is not None and os.WIFSIGNALED(told["last"])
    lines += [
        f"\tlast terminating signal = {exit_words(told['last'])}"
        if signalled
        else f"\tlast exit code = {exit_words(told['last'])}"
    ]
    if told["sockets"]:
        lines += ["", "\tsockets = {"]
        for name, numbers in told["sockets"].items():
            entry = plist["Sockets"][name]
            entry = entry[0] if isinstance(entry, list) else entry
            lines += [
                f'\t\t"{name}" = {{',
                "\t\t\ttype = stream",
                f"\t\t\tservice name = {entry.get('SockServiceName')}",
                "",
            ]
            lines += [
                "\t\t\tsockets = {",
                *(f"\t\t\t\t{number} (no bytes to read)" for number in numbers),
                "\t\t\t}",
                "",
            ]
            lines += [
                "\t\t\tactive = 0",
                "\t\t\tpassive = 1",
                f"\t\t\tbonjour = {int('Bonjour' in entry)}",
                "\t\t\tipv4v6 = 0",
            ]
            lines += ["\t\t\treceive_packet_info = 0", "\t\t}"]
        lines += ["\t}"]
    lines += [
        "",
        f"\tspawn type = {'interactive (4)' if plist.get('POSIXSpawnType') == 'Interactive' else 'daemon (3)'}",
    ]
    return "\n".join([*lines, "}"])


def exit_code(told: dict) -> str:
    status = told["last"]
    return (
        "0"
        if status is None
        else str(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
    )


def listing(words: list[str]) -> int:
    services = ask("list")["value"]
    if not words:
        print("PID\tStatus\tLabel")
        for told in services:
            print(f"{told['pid'] or '-'}\t{exit_code(told)}\t{told['label']}")
        return 0
    told = next((told for told in services if told["label"] == words[0]), None)
    if not told:
        return missing(words[0])
    rows = {
        "LimitLoadToSessionType": '"System"',
        "Label": f'"{told["label"]}"',
        "OnDemand": "true",
        "LastExitStatus": told["last"] or 0,
    }
    rows |= {"PID": told["pid"]} if told["pid"] else {}
    print("{\n" + "".join(f'\t"{key}" = {value};\n' for key, value in rows.items()) + "};")
    return 0


def version(words: list[str]) -> int:
    print(
        "Darwin Bootstrapper Version 7.0.0: Mon Apr 27 20:41:26 PDT 2026; root:libxpc_executables-3051.121.6~2/launchd/RELEASE_ARM64E"
    )
    return 0


COMMANDS = {
    "bootstrap": bootstrap,
    "bootout": bootout,
    "enable": switch("enable"),
    "disable": switch("disable"),
    "kickstart": kickstart,
    "kill": kill,
    "print": show,
    "print-disabled": print_disabled,
    "list": listing,
    "version": version,
}
