"""Admission: what of sshd's own configuration would keep a change from working.

Everything here is asked before the first change, and names the file and line that decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from fabric import Connection

from ... import console
from ...errors import SetupError
from ...facts import facts, sshd_lines
from ...host.session import Host

if TYPE_CHECKING:
    from ...facts.records import Ssh

# Kinds of Match criteria that an account alone decides.
CERTAIN = {"user", "group", "all"}


def require_sshd_settings(c: Connection) -> Ssh:
    """Return what sshd says of itself.

    Raises SetupError if it says nothing, or if another program than this sshd let us in.
    """
    have, host = facts(c).ssh, Host.of(c)
    if have.problem or ("root" in facts(c).accounts and "root" not in have.effective):
        raise SetupError(
            f"sshd does not tell its settings: {have.problem or 'no answer'}; "
            "look at `sshd -T` there",
            host=host.label,
        )
    # Later in a run, sshd may have left the port of the connection that is still open.
    if not host.changes and have.login_port in have.listening and have.login_port not in have.ports:
        ours = ", ".join(map(str, sorted(have.ports))) or "none"
        raise SetupError(
            f"this login came in on port {have.login_port}, which is not one of the sshd that "
            f"labfab changes ({ours}): log in on that one, or end the other",
            host=host.label,
        )
    return have


def refuse_accounts(c: Connection, names: Sequence[str], admin_group: str) -> None:
    """Raise SetupError if sshd would not let in one of the accounts that labfab is to open.

    names: the first of them will be in admin_group.
    """
    refuse_lists(c, names, admin_group)
    refuse_key_file(c, names)


def refuse_lists(c: Connection, names: Iterable[str], admin_group: str) -> None:
    """Raise SetupError if AllowUsers and the like would not let one of these accounts in.

    names: the first of them will be in admin_group.
    """
    have = require_sshd_settings(c)
    first = True
    for name in names:
        account = facts(c).accounts.get(name)
        groups = {*(account.groups if account else ()), name}
        if problem := shut_by_list(have, name, groups | ({admin_group} if first else set())):
            raise SetupError(problem, host=Host.of(c).label)
        first = False


def shut_by_list(have: Ssh, name: str, groups: Iterable[str]) -> str:
    """Return which list of sshd keeps an account out, and where it is; empty: none."""
    options = have.effective.get(name) or have.effective.get("root", {})
    lists: dict[str, list[str]] = {}
    for key, value in options.items():
        option, _, number = key.partition(".")
        if number:
            lists.setdefault(option, []).append(value)
    for option, members in (
        ("denyusers", [name]),
        ("allowusers", [name]),
        ("denygroups", groups),
        ("allowgroups", groups),
    ):
        patterns = lists.get(option)
        if not patterns:
            continue
        inside = any(sshd_lines.listed(patterns, member) for member in members)
        if inside == option.startswith("deny"):
            return f"{spoken(have, option, name, groups)}: {advice(option, name, groups)}"
    return ""


def limit(have: Ssh, name: str, groups: Iterable[str]) -> str:
    """Return the line of sshd's files that limits what an account's keys may do; empty: none.

    Such a key has no limit of its own, and would open another account without any.
    """
    for line in have.lines:
        if line.match and not sshd_lines.may_hold(line.match, name, groups):
            continue
        words = line.value.lower().split()
        if line.option in ("forcecommand", "chrootdirectory") and words != ["none"]:
            return str(line)
        alone = {"any", "publickey"}
        if line.option == "authenticationmethods" and not alone & set(words):
            return str(line)
        fits = [word for word in words if sshd_lines.listed([word.removeprefix("!")], name)]
        if line.option == "allowusers" and any("@" in word for word in fits):
            return str(line)
    return ""


def spoken(have: Ssh, option: str, name: str, groups: Iterable[str]) -> str:
    """Return which list does not let the account in, and where sshd reads it."""
    places = [
        line.place
        for line in have.lines
        if line.option == option
        and (not line.match or sshd_lines.may_hold(line.match, name, groups))
    ]
    written = {"denyusers": "DenyUsers", "allowusers": "AllowUsers"}
    written |= {"denygroups": "DenyGroups", "allowgroups": "AllowGroups"}
    where = f" in {', '.join(dict.fromkeys(places))}" if places else ""
    return f"{written[option]}{where} does not let {name} in"


def advice(option: str, name: str, groups: Iterable[str]) -> str:
    """Return how to let the account in."""
    if option.startswith("deny"):
        return "take it out of that list"
    if option == "allowusers":
        return f"add {name} to that line"
    return f"add one of its groups ({', '.join(sorted(groups))}) to that line"


def refuse_key_file(c: Connection, names: Iterable[str]) -> None:
    """Raise SetupError if sshd does not look for keys where labfab writes them."""
    have = require_sshd_settings(c)
    for name in names:
        options = have.effective.get(name) or have.effective.get("root", {})
        files = options.get("authorizedkeysfile", "").split()
        if not files or {".ssh/authorized_keys", "%h/.ssh/authorized_keys"} & {*files}:
            continue
        lines = [line for line in have.lines if line.option == "authorizedkeysfile"]
        said = str(lines[0]) if lines else f"AuthorizedKeysFile is {' '.join(files)}"
        raise SetupError(
            f"{said}, so sshd would not find the keys of {name}: "
            "add .ssh/authorized_keys to that line",
            host=Host.of(c).label,
        )


def refuse_lines(c: Connection, options: Mapping[str, str], users: Iterable[str]) -> None:
    """Raise SetupError for a line that would decide one of these options, whatever ours say.

    options: what ours will say. users: the accounts that they are about.
    """
    have = require_sshd_settings(c)
    wanted = {option.lower(): value for option, value in options.items()}
    for line in sshd_lines.before_ours(have.lines):
        if line.value.lower() != wanted.get(line.option, line.value.lower()):
            raise SetupError(
                f"{line} and sshd reads it before labfab's file: delete that line",
                host=Host.of(c).label,
            )
    for line in deciding_blocks(c, have, wanted, users):
        raise SetupError(f"{line}: delete that line", host=Host.of(c).label)


def warn_of_blocks(c: Connection, options: Mapping[str, str], users: Iterable[str]) -> None:
    """Warn of Match blocks, for an address or port, that give back what is refused already."""
    wanted = {option.lower(): value for option, value in options.items()}
    for line in deciding_blocks(c, facts(c).ssh, wanted, users):
        if Host.of(c).first_time(str(line)):
            console.warn(f"[{Host.of(c).label}] {line}: that stays")


def deciding_blocks(
    c: Connection, have: Ssh, wanted: Mapping[str, str], users: Iterable[str]
) -> list[sshd_lines.Line]:
    """Return the lines of Match blocks that set an option to another value for one of the accounts.

    Where an address or a port decides, nobody knows who comes from there.
    """
    found = []
    for user in users:
        account = facts(c).accounts.get(user)
        groups = {*(account.groups if account else ()), user}
        effective = have.effective.get(user, {})
        for line in sshd_lines.in_blocks(have.lines, user, groups):
            value = wanted.get(line.option)
            if value is None or line.value.lower() == value:
                continue
            kinds = {word.lower() for word in re.split(r"[\s=]+", line.match)[::2]}
            if not kinds <= CERTAIN or effective.get(line.option) != value:
                found.append(line)
    return list(dict.fromkeys(found))


def refuse_second_factor(c: Connection) -> None:
    """Raise SetupError if sshd demands a password besides a key, which would then be refused."""
    for line in require_sshd_settings(c).lines:
        ways = line.value.lower().split()
        if line.option == "authenticationmethods" and ways != ["any"]:
            asked = [way for way in ways if "password" in way or "keyboard-interactive" in way]
            if asked == ways:
                raise SetupError(
                    f"{line}: without passwords nobody could log in; change that line first",
                    host=Host.of(c).label,
                )
