"""stat of BSD: -f FORMAT, -x, -L, -n, -q, -s, -r, -t; nothing of -c."""

import getopt
import grp
import os
import pwd
import re
import stat as modes
import sys
import time

USAGE = "usage: stat [-FLnq] [-f format | -l | -r | -s | -x] [-t timefmt] [file ...]"
FIELD = re.compile(r"%([#+\-0 ]*)(\d+)?(?:\.(\d+))?([DOUXFS])?([HML])?([a-zA-Z%])")
USUAL = '%d %i %Sp %l %Su %Sg %r %z "%Sa" "%Sm" "%Sc" "%SB" %k %b %#Xf %N'
LETTERS = {"Fifo File": "|", "Directory": "/", "Symbolic Link": "@", "Socket": "="}


def kind(mode: int) -> str:
    """Name the type of a file."""
    rows = (
        (modes.S_ISREG, "Regular File"),
        (modes.S_ISDIR, "Directory"),
        (modes.S_ISLNK, "Symbolic Link"),
        (modes.S_ISSOCK, "Socket"),
        (modes.S_ISFIFO, "Fifo File"),
        (modes.S_ISCHR, "Character Device"),
        (modes.S_ISBLK, "Block Device"),
    )
    return next(name for test, name in rows if test(mode))


def name_of(look, number: int) -> str:
    try:
        return look(number)[0]
    except KeyError:
        return str(number)


def value(
    path: str, about: os.stat_result, letter: str, sub: str | None, form: str, timefmt: str
) -> tuple[object, str]:
    """Give one datum, and the output format it has on its own."""
    if letter == "p":
        if form == "S":
            text = modes.filemode(about.st_mode)
            return (text if sub is None else text[{"H": 1, "M": 4, "L": 7}[sub] :][:3]), "S"
        number = about.st_mode
        return {None: number, "H": number >> 12, "M": number >> 6 & 0o7, "L": number & 0o777}[
            sub
        ], "O"
    if letter in "amcB":
        moment = {
            "a": about.st_atime_ns,
            "m": about.st_mtime_ns,
            "c": about.st_ctime_ns,
            "B": about.st_ctime_ns,
        }[letter]
        if form == "S":
            return time.strftime(timefmt, time.localtime(moment // 10**9)), "S"
        return (f"{moment // 10**9}.{moment % 10**9:09d}" if form == "F" else moment // 10**9), "D"
    if letter == "u":
        return (name_of(pwd.getpwuid, about.st_uid) if form == "S" else about.st_uid), "U"
    if letter == "g":
        return (name_of(grp.getgrgid, about.st_gid) if form == "S" else about.st_gid), "U"
    if letter == "T":
        text = kind(about.st_mode)
        return (
            text
            if sub == "H"
            else LETTERS.get(text, "*" if text == "Regular File" and about.st_mode & 0o111 else "")
        ), "S"
    if letter == "Y":
        link = os.readlink(path) if modes.S_ISLNK(about.st_mode) else ""
        return (f" -> {link}" if link and form == "S" else link), "S"
    if letter in "dr":
        number = about.st_dev if letter == "d" else about.st_rdev
        return {None: number, "H": os.major(number), "L": os.minor(number)}.get(sub, number), "D"
    if letter == "N":
        return path, "S"
    numbers = {
        "i": about.st_ino,
        "l": about.st_nlink,
        "z": about.st_size,
        "b": about.st_blocks,
        "k": about.st_blksize,
    }
    numbers |= {"f": flags(path), "v": 0}
    if letter == "f" and form == "S":
        return "hidden" if numbers["f"] else "-", "S"
    return numbers[letter], "U"


def flags(path: str) -> int:
    """Read what chflags set."""
    try:
        return int(os.getxattr(path, "user.double.flags", follow_symlinks=False))
    except OSError:
        return 0


def written(path: str, about: os.stat_result, template: str, timefmt: str) -> str:
    """Fill a format."""

    def field(match: re.Match) -> str:
        flag, size, precision, form, sub, letter = match.groups()
        if letter in "nt%":
            return {"n": "\n", "t": "\t", "%": "%"}[letter]
        if letter not in "dilpugramcBzbkfvNTYZ":
            raise ValueError(letter)
        datum, usual = value(
            path,
            about,
            letter,
            sub,
            form or {"N": "S", "T": "S", "Y": "S"}.get(letter, ""),
            timefmt,
        )
        form = form or usual
        text = str(datum)
        if isinstance(datum, int):
            text = {"O": f"{datum:o}", "X": f"{datum:x}"}.get(form, str(datum))
            text = text.zfill(int(precision)) if precision else text
            text = (
                ("0" if form == "O" else "0x" if form == "X" else "") + text
                if "#" in flag and datum
                else text
            )
        elif precision:
            text = text[: int(precision)]
        width = int(size or 0)
        return text.ljust(width) if "-" in flag else text.rjust(width, "0" if "0" in flag else " ")

    return FIELD.sub(field, template)


def main(words: list[str]) -> int:
    try:
        options, paths = getopt.getopt(words, "f:FHlLnqrst:x")
    except getopt.GetoptError as problem:
        what = "option requires an argument" if "requires" in str(problem) else "illegal option"
        print(f"stat: {what} -- {problem.opt[:1] or '-'}\n{USAGE}", file=sys.stderr)
        return 1
    chosen = dict(options)
    template = chosen.get("-f", USUAL)
    if "-x" in chosen:
        template = '  File: "%N"%n  Size: %-11z  FileType: %HT%n  Mode: (%OLp/%.10Sp)         Uid: (%5u/%8Su)  Gid: (%5g/%8Sg)%nModify: %Sm'
    timefmt = chosen.get("-t", "%b %e %H:%M:%S %Y")
    code = 0
    for path in paths or ["(stdin)"]:
        try:
            about = (
                os.fstat(0) if not paths else os.stat(path) if "-L" in chosen else os.lstat(path)
            )
            sys.stdout.write(
                written(path, about, template, timefmt) + ("" if "-n" in chosen else "\n")
            )
        except OSError as problem:
            code = 1
            if "-q" not in chosen:
                print(
                    f"stat: {path}: {'stat' if '-L' in chosen else 'lstat'}: {problem.strerror}",
                    file=sys.stderr,
                )
        except ValueError:
            print(f"stat: {template}: bad format", file=sys.stderr)
            return 1
    return code
