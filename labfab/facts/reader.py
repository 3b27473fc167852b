"""Reader: reads the facts about a host in sections, all in one round trip.

The POSIX script on_host/facts.sh reads them. After a change, the host's session forgets them. Then
the stage that made the change reads only the sections it asks for, and the next stage reads all
others, except slow ones that nobody asks for.
"""

from __future__ import annotations

import base64
import re
import shlex

from fabric import Connection

from ..errors import SetupError
from ..host.remote_file import Values
from ..host.session import Host
from ..host.shell import ConnectionLost
from ..on_host import loader
from ..settings import Settings
from ..text import printable

SCRIPT = loader.shared("facts")
APACHE = loader.shared("apache")
SECTIONS = (
    *("system", "updates", "upgrades", "accounts", "ssh", "guard", "firewall"),
    *("python", "jupyter", "lab", "power", "https", "acme", "proxy"),
)
# Only read when asked for: who uses the machine, and for what (survey.sh).
ON_DEMAND = ("survey",)
# These run apt's simulation and Apache's test of its configuration.
SLOW = ("upgrades", "proxy")
# The setting `python` -> the environment's folder in the home of JupyterLab's account.
PREFIXES = {
    "miniforge": "miniforge3",
    "anaconda": "anaconda3",
    "miniconda": "miniconda3",
    "venv": "jupyter-venv",
}
# What apt-get is asked to do, in earnest and as a simulation. Without the setting `autoremove`,
# nothing is removed: neither what others have marked as no longer needed, nor to make an upgrade
# possible.
APT_UPGRADE = "-o APT::Get::AutomaticRemove=false --with-new-pkgs upgrade"
APT_AUTOREMOVE = "--auto-remove dist-upgrade"
LARGEST = 8_000_000  # characters that all facts may have; their records take many times as much
HEADER = r"\[[a-z]+\]"


def start_reading(c: Connection) -> None:
    """Start reading the facts. The first use of a fact waits for the answer."""
    host = Host.of(c)
    if not host.facts and not host.reading:
        host.begin_reading(script(c, host, SECTIONS))


def read(c: Connection, section: str) -> dict[str, Values]:
    """Read the facts, or wait for the answer if start_reading() has asked for them.

    section: the one that is needed now. Returns it and the others that were due.
    Raises SetupError if the script fails on the host.
    """
    host = Host.of(c)
    wanted = sections_to_read(host, section)
    reading = host.take_reading()
    if reading:
        wanted = SECTIONS
    try:
        answer = (reading or host.open().send(script(c, host, wanted))).result()
    except ConnectionLost as lost:
        answer = host.resume(lost).run(script(c, host, wanted))
    if len(answer.out) > LARGEST:
        raise SetupError("the host's answer about itself is too long to be true", host=c.host)
    if not answer.ok:
        raise SetupError(f"cannot be read: {answer.last_words}", host=c.host)
    return parse(answer.out, wanted)


def sections_to_read(host: Host, section: str) -> tuple[str, ...]:
    """Return the sections to read in this round trip, *section* among them.

    A run begins with all of them. Later the slow ones are read only on demand, also by a new shell
    in the middle of a sequence, which has no facts yet.
    """
    if section in ON_DEMAND:
        return (section,)
    if not host.changes and not host.step:
        return SECTIONS
    same_stage = bool(host.changes) and host.changes[-1].stage == host.stage
    reread = same_stage and not host.facts
    wanted = host.sections_used[host.stage] if reread else set(SECTIONS) - host.facts.keys()
    return tuple(
        name for name in SECTIONS if name == section or (name in wanted and name not in SLOW)
    )


def script(c: Connection, host: Host, sections: tuple[str, ...]) -> str:
    """Return the script with its variables and the sections to read."""
    want = Settings.of(c)
    users = dict.fromkeys([want.user, want.lab_user or want.user, c.user, "root"])
    variables = {
        "USERS": " ".join(users),
        "LAB_USER": want.jupyter_user,
        "PREFIX": PREFIXES[want.python],
        "LAB_PORT": want.lab_port,
        "LAB_URL": want.lab_url(want.lab_port),
        "ROOT_DIR": want.root_dir,
        "LAB_SOCKET": want.lab_socket,
        "PUBLISH": want.publish,
        "APT_UPGRADE": APT_AUTOREMOVE if want.autoremove else APT_UPGRADE,
        "SSHD_LINES": loader.perl("sshd_lines"),
    }
    head = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in variables.items())
    apache = APACHE if want.publish == "apache" else ""
    kernel = host.open().kernel
    own = loader.system_part("facts", kernel)
    if {*sections} & {*ON_DEMAND}:
        own += loader.script("survey", kernel)
    return f"{head}set -- {' '.join(sections)}\n{apache}{own}{SCRIPT}"


def parse(out: str, asked: tuple[str, ...]) -> dict[str, Values]:
    """Split a script's output into sections of key and value.

    asked: the sections that the script was told to print.
    Raises SetupError for any other section or a repeated one, which must be forged.
    """
    sections: dict[str, Values] = {}
    current = ""
    # splitlines() would split at characters that the script leaves in names.
    for line in out.split("\n"):
        key, sign, value = line.partition("=")
        if sign and current:
            sections[current][key] = printable(value)
        elif re.fullmatch(HEADER, line):
            current = line[1:-1]
            if current in sections or current not in asked:
                raise SetupError(
                    f"the host's answer has an unexpected section [{current}]: "
                    "find out what forges it there, then run the same command again"
                )
            sections[current] = {}
    return sections


def with_prefix(values: Values, prefix: str) -> Values:
    """Return the values whose keys begin with PREFIX and a dot, under the rest of their keys."""
    start = f"{prefix}."
    return {
        key.removeprefix(start): value for key, value in values.items() if key.startswith(start)
    }


def planned_file(key: str, content: str, mode: str, owner: str) -> Values:
    """Return the facts about a file once it is written, which plan mode assumes."""
    return {
        f"{key}.stat": f"{mode} {owner}",
        f"{key}.text": base64.b64encode(content.encode(errors="surrogateescape")).decode(),
    }
