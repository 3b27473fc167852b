"""The local directory: a property list for each user and group, as Open Directory keeps them.

What the C library reads is written from them after each change: /etc/passwd, /etc/shadow and /etc/group, which has the
members of nested groups as well. On a Mac no account is in those files, so nothing but the C library may read them.
"""

import crypt
import fcntl
import os
import plistlib
import uuid
from contextlib import contextmanager
from pathlib import Path

NODE = Path("/var/db/dslocal/nodes/Default")
BELOW = Path("/usr/libexec/double")  # accounts and groups of the Linux below
SHADOW = NODE / "shadow"  # the hashes, for root's eyes
KINDS = {"Users": NODE / "users", "Groups": NODE / "groups"}
EVERYBODY = ("everyone", "localaccounts")
FIRST_UID, FIRST_GID = 501, 501


@contextmanager
def changed():
    """Hold the directory for a change, and write what the C library reads at its end."""
    NODE.mkdir(parents=True, exist_ok=True)
    with (NODE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        publish()


def path(kind: str, name: str) -> Path:
    return KINDS[kind] / f"{name}.plist"


def names(kind: str) -> list[str]:
    """List the records of a kind."""
    return sorted(
        file.stem if file.suffix == ".plist" else file.name for file in KINDS[kind].glob("*.plist")
    )


def read(kind: str, name: str) -> dict[str, list[str]] | None:
    """Read a record by any of its names; None where there is none."""
    try:
        return plistlib.loads(path(kind, name).read_bytes())
    except OSError:
        pass
    for other in names(kind):
        record = plistlib.loads(path(kind, other).read_bytes())
        if name in record.get("RecordName", []):
            return record
    return None


def write(kind: str, record: dict[str, list[str]]) -> None:
    """Write a record under its first name."""
    KINDS[kind].mkdir(parents=True, exist_ok=True)
    target = path(kind, record["RecordName"][0])
    fresh = target.with_suffix(".new")
    fresh.write_bytes(plistlib.dumps(record))
    fresh.chmod(0o644)
    fresh.rename(target)


def remove(kind: str, name: str) -> None:
    path(kind, name).unlink()
    if kind == "Users":
        (SHADOW / name).unlink(missing_ok=True)
        for group in names("Groups"):
            drop_member(group, name)


def first(record: dict[str, list[str]], key: str, default: str = "") -> str:
    return (record.get(key) or [default])[0]


def next_id(kind: str, key: str, least: int) -> int:
    """Find the first free number from the least on."""
    taken = {first(read(kind, name), key) for name in names(kind)}
    return next(number for number in range(least, 60000) if str(number) not in taken)


def guid() -> str:
    return str(uuid.uuid4()).upper()


def new_user(
    name: str, full: str, shell: str, home: str, uid: int | None = None
) -> dict[str, list[str]]:
    """Make the record of a user, not written yet."""
    return {
        "AppleMetaNodeLocation": ["/Local/Default"],
        "AuthenticationAuthority": [";ShadowHash;HASHLIST:<SALTED-SHA512-PBKDF2>"],
        "GeneratedUID": [guid()],
        "NFSHomeDirectory": [home],
        "Password": ["********"],
        "PrimaryGroupID": ["20"],
        "RealName": [full or name],
        "RecordName": [name],
        "RecordType": ["dsRecTypeStandard:Users"],
        "UniqueID": [str(uid or next_id("Users", "UniqueID", FIRST_UID))],
        "UserShell": [shell],
    }


def new_group(name: str, gid: int | None = None, guid_: str = "") -> dict[str, list[str]]:
    """Make the record of a group, not written yet."""
    number = gid if gid is not None else next_id("Groups", "PrimaryGroupID", FIRST_GID)
    return {
        "AppleMetaNodeLocation": ["/Local/Default"],
        "GeneratedUID": [guid_ or guid()],
        "PrimaryGroupID": [str(number)],
        "RecordName": [name],
        "RecordType": ["dsRecTypeStandard:Groups"],
    }


def set_password(name: str, password: str) -> None:
    """Keep the hash of a user's password."""
    SHADOW.mkdir(mode=0o700, parents=True, exist_ok=True)
    put(SHADOW / name, crypt.crypt(password, crypt.mksalt(crypt.METHOD_SHA512)), 0o600)


def password_hash(name: str) -> str:
    try:
        return (SHADOW / name).read_text()
    except OSError:
        return ""


def is_password(name: str, password: str) -> bool:
    """Tell whether a password is a user's."""
    kept = password_hash(name)
    return bool(kept) and crypt.crypt(password, kept) == kept


def add_member(group: str, kind: str, name: str) -> None:
    """Put a user into a group, or a group below it."""
    record, member = read("Groups", group), read(kind, name)
    own = first(member, "GeneratedUID")
    if kind == "Users":
        add(record, "GroupMembership", first(member, "RecordName"))
        add(record, "GroupMembers", own)
    else:
        add(record, "NestedGroups", own)
    write("Groups", record)


def drop_member(group: str, name: str, kind: str = "Users", own: str = "") -> None:
    """Take a user or a nested group out of a group."""
    record, member = read("Groups", group), read(kind, name)
    own = own or (first(member, "GeneratedUID") if member else "")
    for key, value in (
        (("GroupMembership", name), ("GroupMembers", own))
        if kind == "Users"
        else (("NestedGroups", own),)
    ):
        if value in record.get(key, []):
            record[key].remove(value)
            if not record[key]:
                del record[key]
    write("Groups", record)


def add(record: dict[str, list[str]], key: str, value: str) -> None:
    if value not in record.setdefault(key, []):
        record[key].append(value)


def members(group: str, seen: tuple[str, ...] = ()) -> set[str]:
    """Name the users of a group, by the groups below it as well."""
    record = read("Groups", group) or {}
    if group in EVERYBODY:
        return {
            name
            for name in names("Users")
            if int(first(read("Users", name), "UniqueID", "0") or 0) >= FIRST_UID
        }
    number = first(record, "PrimaryGroupID")
    found = set(record.get("GroupMembership", []))
    found |= {
        name
        for name in names("Users")
        if number and first(read("Users", name), "PrimaryGroupID") == number
    }
    for below in names("Groups"):
        if below not in (*seen, group) and first(
            read("Groups", below), "GeneratedUID"
        ) in record.get("NestedGroups", []):
            found |= members(below, (*seen, group))
    return found


def is_member(name: str, group: str) -> bool:
    """Tell whether a user is in a group, as opendirectoryd reckons."""
    return name in members(group)


def publish() -> None:
    """Write what the C library reads."""
    passwd, shadow = [], []
    for name in names("Users"):
        record = read("Users", name)
        uid, home = first(record, "UniqueID"), first(record, "NFSHomeDirectory")
        if not uid.lstrip("-").isdigit() or not home or int(uid) < FIRST_UID:
            continue
        gid, full, shell = (
            first(record, "PrimaryGroupID", "20"),
            first(record, "RealName"),
            first(record, "UserShell", "/usr/bin/false"),
        )
        passwd.append(f"{name}:x:{uid}:{gid}:{full.replace(':', ' ')}:{home}:{shell}\n")
        shadow.append(f"{name}:{password_hash(name) or '*'}:19000:0:99999:7:::\n")
    lines = []
    for name in names("Groups"):
        record = read("Groups", name)
        gid = first(record, "PrimaryGroupID")
        users = sorted(
            user
            for user in members(name)
            if first(read("Users", user) or {}, "PrimaryGroupID") != gid
        )
        if gid.isdigit():
            lines.append(f"{name}:*:{gid}:{','.join(users)}\n")
    accounts = (BELOW / "accounts").read_text()
    locked = "".join(
        f"{line.split(':')[0]}:*:19000:0:99999:7:::\n" for line in accounts.splitlines()
    )
    put(Path("/etc/passwd"), accounts + "".join(passwd), 0o644)
    put(Path("/etc/shadow"), locked + "".join(shadow), 0o600)
    put(Path("/etc/group"), "".join(lines) + (BELOW / "groups").read_text(), 0o644)


def put(target: Path, text: str, mode: int) -> None:
    """Replace a file at once, where it says something else."""
    if target.exists() and target.read_text() == text:
        return
    fresh = target.with_name(target.name + ".new")
    fresh.write_text(text)
    fresh.chmod(mode)
    os.rename(fresh, target)


def error(number: int) -> tuple[str, int]:
    """Give dscl's words for an error of the directory service, and its exit code."""
    words = {
        -14120: "eDSPermissionError",
        -14136: "eDSRecordNotFound",
        -14134: "eDSAttributeNotFound",
        -14009: "eDSUnknownNodeName",
        -14135: "eDSRecordAlreadyExists",
        -14090: "eDSAuthFailed",
    }
    return f"<dscl_cmd> DS Error: {number} ({words[number]})", (-number - 14080) & 255
