"""date of BSD: -u, -r SECONDS or FILE, -j -f FORMAT TEXT, -v CHANGE, -R, -I; nothing of -d."""

import calendar
import datetime
import getopt
import os
import re
import sys
import time

USAGE = "usage: date [-jnRu] [-I[date|hours|minutes|seconds|ns]] [-f input_fmt]\n            [ -z output_zone ] [-r filename|seconds] [-v[+|-]val[y|m|w|d|H|M|S]]\n            [[[[mm]dd]HH]MM[[cc]yy][.SS] | new_date] [+output_fmt]"
UNITS = {"S": 1, "M": 60, "H": 3600, "d": 86400, "w": 7 * 86400}
SHORT = {
    "%T": "%H:%M:%S",
    "%F": "%Y-%m-%d",
    "%R": "%H:%M",
    "%D": "%m/%d/%y",
    "%e": "%d",
    "%h": "%b",
}  # what Python's strptime lacks
ISO = {
    "": "%Y-%m-%d",
    "date": "%Y-%m-%d",
    "hours": "%Y-%m-%dT%H%z",
    "minutes": "%Y-%m-%dT%H:%M%z",
    "seconds": "%Y-%m-%dT%H:%M:%S%z",
}


def usage(text: str) -> int:
    print(f"date: {text}\n{USAGE}", file=sys.stderr)
    return 1


def shifted(moment: float, change: str) -> float:
    """Move a time by what -v says, e.g. +3d."""
    match = re.fullmatch(r"([+-])(\d+)([ymwdHMS])", change)
    if not match:
        raise ValueError(change)
    sign, count, unit = match.groups()
    number = int(sign + count)
    if unit in UNITS:
        return moment + number * UNITS[unit]
    now = datetime.datetime.fromtimestamp(moment)
    months = now.year * 12 + now.month - 1 + (number * 12 if unit == "y" else number)
    year, month = divmod(months, 12)
    day = min(now.day, calendar.monthrange(year, month + 1)[1])
    return now.replace(year=year, month=month + 1, day=day).timestamp()


def main(words: list[str]) -> int:
    words = ["-Idate" if word == "-I" else word for word in words]
    try:
        options, rest = getopt.getopt(words, "I:f:jnRr:uv:z:")
    except getopt.GetoptError as problem:
        return usage(f"illegal option -- {problem.opt[:1] or '-'}")
    chosen = dict(options)
    if "-u" in chosen or "-z" in chosen:
        os.environ["TZ"] = chosen.get("-z", "UTC")
        time.tzset()
    form = "%a %b %e %H:%M:%S %Z %Y"
    if "-R" in chosen:
        form = "%a, %d %b %Y %H:%M:%S %z"
    if "-I" in chosen:
        if chosen["-I"] not in ISO:
            return usage(f"invalid argument '{chosen['-I']}' for -I")
        form = ISO[chosen["-I"]]
    moment = time.time()
    try:
        if "-r" in chosen:
            given = chosen["-r"]
            moment = int(given, 0) if re.fullmatch(r"-?\d+", given) else os.stat(given).st_mtime
        if "-f" in chosen:
            if not rest or rest[0].startswith("+"):
                return usage("option requires a date to read")
            text = rest.pop(0)
            now = datetime.datetime.now()
            given = chosen["-f"]
            for short, long in SHORT.items():
                given = given.replace(short, long)
            parsed = time.strptime(text, given) if given != "%s" else time.localtime(int(text))
            clock = any(field in given for field in ("%H", "%M", "%S", "%s", "%I"))
            moment = time.mktime(
                parsed[:3]
                + (parsed[3:6] if clock else (now.hour, now.minute, now.second))
                + (0, 0, -1)
            )
        for name, change in options:
            if name == "-v":
                moment = shifted(moment, change)
    except OSError as problem:
        print(f"date: {chosen['-r']}: {problem.strerror}", file=sys.stderr)
        return 1
    except ValueError as problem:
        print(
            f"Failed conversion: {problem}"
            if "-f" in chosen
            else f"date: {problem}: Cannot apply date adjustment",
            file=sys.stderr,
        )
        return 1
    if rest and rest[0].startswith("+"):
        form = rest.pop(0)[1:]
    if rest:
        return usage(
            "illegal time format"
            if "-f" in chosen or len(rest) > 1
            else "this double does not set the time"
        )
    text = time.strftime(form.replace("%N", "N"), time.localtime(moment))
    print(
        re.sub(r"(\d\d)$", r":\1", text)
        if chosen.get("-I") in ("hours", "minutes", "seconds")
        else text
    )
    return 0
