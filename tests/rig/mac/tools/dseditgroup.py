"""dseditgroup: makes and edits groups, and tells who is in them."""

from . import directory, state

USAGE = """\
dseditgroup: a command line tool to edit groups
usage: dseditgroup [-pqv] [-o edit] [-n nodename] [-u username] [-P password] [-a recordname] [-d recordname] [-t recordtype]
                   [-i gid] [-g guid] [-s sid] [-r realname] [-k keyword] [-c comment] [-T timetolive] [-L] groupname
       dseditgroup [-pqv] -o create|delete|read|checkmember ... groupname"""
VALUES = "onuPadtigsrkcTSfm"
NOT_FOUND, USAGE_CODE = 67, 64


def main(words: list[str]) -> int:
    options, rest = {}, list(words)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word[1:] in ("p", "q", "v", "L"):
            options[word[1:]] = "yes"
        elif len(word) == 2 and word[1] in VALUES and rest:
            options[word[1]] = rest.pop(0)
        else:
            return state.fail(USAGE, USAGE_CODE)
    run = OPERATIONS.get(options.get("o", "read"))
    if not run or len(rest) != 1:
        return state.fail(USAGE, USAGE_CODE)
    if run in (create, edit, delete) and not state.is_root():
        return state.fail("Username and password must be provided.", 77)
    return run(options, rest[0])


def create(options: dict[str, str], name: str) -> int:
    if directory.read("Groups", name) and "q" not in options:
        print("Create called on existing record - do you really want to overwrite, y or n : ")
        return state.fail(
            "Operation canceled because user did not choose to overwrite existing record.", 1
        )
    gid = int(options["i"]) if options.get("i", "").isdigit() else None
    with directory.changed():
        record = directory.new_group(name, gid, options.get("g", ""))
        if "r" in options:
            record["RealName"] = [options["r"]]
        directory.write("Groups", record)
    return 0


def edit(options: dict[str, str], name: str) -> int:
    if not directory.read("Groups", name):
        return state.fail("Group not found.", NOT_FOUND)
    kind = {"user": "Users", "group": "Groups"}.get(options.get("t", "user"))
    if not kind:
        return state.fail(USAGE, USAGE_CODE)
    for key in ("a", "d"):
        if key in options and not directory.read(kind, options[key]):
            return state.fail("Record was not found.", NOT_FOUND)
    with directory.changed():
        if "a" in options:
            directory.add_member(name, kind, options["a"])
        if "d" in options:
            directory.drop_member(name, options["d"], kind)
        record = directory.read("Groups", name)
        for key, attribute in (
            ("i", "PrimaryGroupID"),
            ("r", "RealName"),
            ("k", "Keywords"),
            ("c", "Comment"),
        ):
            if key in options:
                record[attribute] = [options[key]]
        directory.write("Groups", record)
    return 0


def delete(options: dict[str, str], name: str) -> int:
    if not directory.read("Groups", name):
        return state.fail("Group not found.", NOT_FOUND)
    with directory.changed():
        directory.remove("Groups", name)
    return 0


def read(options: dict[str, str], name: str) -> int:
    record = directory.read("Groups", name)
    if not record:
        return state.fail("Group not found.", NOT_FOUND)
    print(f"{len(record)} attribute(s) found")
    for number, (key, values) in enumerate(sorted(record.items()), 1):
        full = key if key.startswith("dsAttrType") else f"dsAttrTypeStandard:{key}"
        print(f"Attribute[{number}] is <{full}>")
        for place, value in enumerate(values, 1):
            print(f"\tValue[{place}] is <{value}>")
    return 0


def checkmember(options: dict[str, str], name: str) -> int:
    user = options.get("m", "")
    if not user or not directory.read("Users", user):
        return state.fail("Unable to find the user record", NOT_FOUND)
    if not directory.read("Groups", name):
        return state.fail("Group not found.", NOT_FOUND)
    if directory.is_member(user, name):
        print(f"yes {user} is a member of {name}")
        return 0
    print(f"no {user} is NOT a member of {name}")
    return NOT_FOUND


OPERATIONS = {
    "create": create,
    "edit": edit,
    "delete": delete,
    "read": read,
    "checkmember": checkmember,
}
