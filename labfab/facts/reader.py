"""Reader: reads a host, section by section.

One POSIX script, facts.sh in on_host/, reads a host in sections, in one round trip. A change forgets what was read;
its stage then reads again what it asks about, and the next stage all the rest, but for what takes long and is not asked for.
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
    "system",
    "updates",
    "upgrades",
    "accounts",
    "ssh",
    "guard",
    "firewall",
    "python",
    "jupyter",
    "lab",
    "power",
    "https",
    "acme",
    "proxy",
)
SLOW = ("upgrades", "proxy")  # apt's simulation, Apache's own look at its files
PREFIXES = {
    "miniforge": "miniforge3",
    "anaconda": "anaconda3",
    "miniconda": "miniconda3",
    "venv": "jupyter-venv",
}
HEADER = r"\[[a-z]+\]"


def begin(c: Connection) -> None:
    """Have the host read itself while the laptop does something else; its answer is waited for where it is needed."""
    host = Host.of(c)
    if not host.facts and not host.reading:
        host.begin_reading(script(c, SECTIONS))


def read(c: Connection, section: str) -> dict[str, Values]:
    """Read the host, or wait for what it was asked already. section: the one that is needed now."""
    host = Host.of(c)
    wanted = due(host, section)
    reading = host.take_reading()
    try:
        wanted = SECTIONS if reading else wanted
        answer = (reading or host.open().send(script(c, wanted))).result()
    except ConnectionLost as lost:
        answer = host.resume(lost).run(script(c, wanted))
    if not answer.ok:
        raise SetupError(f"{c.host}: cannot be read: {answer.last_words}")
    return parse(answer.out, wanted)


def due(host: Host, section: str) -> tuple[str, ...]:
    """What to read in one round trip: all at first; after a change what its stage asks about, and all that is quick for the next stage.

    In the middle of a recipe what takes long is read only where it is asked for, also by a shell that knows nothing yet.
    """
    if not host.changes and not host.step:
        return SECTIONS
    again = bool(host.changes) and host.changes[-1].stage == host.stage and not host.facts
    wanted = host.asked[host.stage] if again else set(SECTIONS) - host.facts.keys()
    return tuple(
        name for name in SECTIONS if name == section or (name in wanted and name not in SLOW)
    )


def script(c: Connection, sections: tuple[str, ...]) -> str:
    """The script with what it has to know."""
    want = Settings.of(c)
    users = dict.fromkeys([want.user, *([want.lab_user] if want.lab_user else []), c.user, "root"])
    given = {
        "USERS": " ".join(users),
        "LAB_USER": want.jupyter_user,
        "PREFIX": PREFIXES[want.python],
        "LAB_PORT": want.lab_port,
        "LAB_URL": want.lab_url(want.lab_port),
        "ROOT_DIR": want.root_dir,
        "LAB_SOCKET": want.lab_socket,
        "PUBLISH": want.publish,
    }
    head = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in given.items())
    own = APACHE * (want.publish == "apache") + loader.own("facts", Host.of(c).open().kernel)
    return f"{head}set -- {' '.join(sections)}\n{own}{SCRIPT}"


def parse(out: str, asked: tuple[str, ...]) -> dict[str, Values]:
    """Split a script's output into sections of key and value.

    Raises SetupError for a section that nobody asked for or that comes twice: then something forged it.
    """
    sections: dict[str, Values] = {}
    current = ""
    for line in out.split(
        "\n"
    ):  # splitlines() would break a name at more signs than the script takes out
        key, sign, value = line.partition("=")
        if sign and current:
            sections[current][key] = printable(value)
        elif re.fullmatch(HEADER, line):
            current = line[1:-1]
            if current in sections or current not in asked:
                raise SetupError(
                    f"the host's answer has a section [{current}] too many: look what forges it there, then the same again"
                )
            sections[current] = {}
    return sections


def below(values: Values, prefix: str) -> Values:
    """The values whose key begins with *prefix* and a dot."""
    start = f"{prefix}."
    return {
        key.removeprefix(start): value for key, value in values.items() if key.startswith(start)
    }


def as_file(key: str, content: str, mode: str, owner: str) -> Values:
    """The facts of a file that was just written, for plan mode."""
    return {
        f"{key}.stat": f"{mode} {owner}",
        f"{key}.text": base64.b64encode(content.encode(errors="surrogateescape")).decode(),
    }
