"""Inspection: asks the rows of an area, and shows the answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..host.shell import CONNECTION_ERRORS, ConnectionLost
from ..laptop.kernel import TooManyTries

# Each of these modules adds its rows to CHECKS.
from . import host, https_published, https_strangers, https_tls, lab, ports, secrets, ssh, table  # noqa: F401
from .findings import FAIL, OK, UNCHECKED, Finding
from .probe import Probe
from .rows import AREAS, CHECKS, LAPTOP, REACH, Check, Row

__all__ = ["CHECKS", "answer", "answers", "check", "chosen"]


def check(c: Connection, area: str, json: bool) -> None:
    """Ask the rows of an area and show them. Raises SetupError if one fails.

    area: empty for all of them.
    """
    with console.on_stderr(json):
        label, found = inspect(c, area, quietly=json)
    if json:
        console.say(table.as_json(label, found))
    else:
        table.show(label, found)
    failed = [row.check.id for row in found if row.state == FAIL]
    if failed:
        many = "1 check fails" if len(failed) == 1 else f"{len(failed)} checks fail"
        raise SetupError(f"{many}: {', '.join(failed)}", host=label)


def inspect(c: Connection, area: str, quietly: bool) -> tuple[str, list[Row]]:
    """Return the host's label and the answers of an area."""
    probe = Probe(c)
    shown = contextlib.nullcontext() if quietly else console.working(probe.host.label, "look")
    try:
        with shown:
            wanted = chosen(area, probe.want.publish)
            areas = {check.area for check in wanted}
            # A firewall that drops packets causes waits, so ask other rows in the meantime.
            if areas & {"ports", "https"} and not probe.problem and not c.gateway:
                probe.knock(ports.WELL_KNOWN)
            ask = answers_of_laptop if probe.down else answers
            return probe.host.label, ask(probe, wanted)
    finally:
        probe.close()


def chosen(area: str, publish: str) -> list[Check]:
    """Return the rows of an area and those that they need, in order.

    area: empty for all. publish: the setting; rows for other values are left out.
    """
    known = {check.id: check for check in CHECKS if publish in check.publish}
    wanted: set[str] = set()
    left = [check.id for check in known.values() if area in ("", check.area)]
    while left:
        one = left.pop()
        left += [need for need in known[one].needs if need not in wanted]
        wanted.add(one)
    rows = [check for check in CHECKS if check.id in wanted]
    return sorted(rows, key=lambda check: AREAS.index(check.area))


def answers(probe: Probe, checks: Iterable[Check]) -> list[Row]:
    """Ask each question whose preconditions hold."""
    rows: dict[str, Row] = {}
    for check in checks:
        rows[check.id] = answer(probe, check, rows)
    return list(rows.values())


def answers_of_laptop(probe: Probe, checks: Sequence[Check]) -> list[Row]:
    """Ask what can be asked although the host is down; the other rows need it."""
    rows = {one.id: Row(one, UNCHECKED, f"needs {REACH}", cause=REACH) for one in checks}
    for check in checks:
        if check.area == LAPTOP or check.id == REACH:
            rows[check.id] = answer(probe, check, rows)
    return list(rows.values())


def answer(probe: Probe, check: Check, rows: dict[str, Row]) -> Row:
    """Ask one question. rows: the answers so far."""
    for need in check.needs:
        if rows[need].state in (FAIL, UNCHECKED):
            cause = rows[need].cause or need
            return Row(check, UNCHECKED, f"needs {cause}", cause=cause)
    try:
        return Row(check, OK, check.ask(probe))
    except Finding as found:
        mend = check.mend if found.mend is None else found.mend
        return Row(check, found.state, found.detail, "" if found.state == UNCHECKED else mend)
    except (ConnectionLost, *CONNECTION_ERRORS) as error:
        words = str(error) or type(error).__name__
        return Row(check, UNCHECKED, f"the connection to the host failed: {words}")
    except TooManyTries as error:
        return Row(check, UNCHECKED, str(error))
    except SetupError as error:
        return Row(check, FAIL, str(error), check.mend)
    # The answer of a host or a server that is none.
    except (ValueError, LookupError, TypeError) as error:
        words = f"{type(error).__name__}: {str(error)[:100]}"
        return Row(check, UNCHECKED, f"the answer to it cannot be read ({words})")
