"""Draws docs/rooms.svg, the rooms of labfab and who imports whom, from the imports in the code."""

from __future__ import annotations

import ast
from functools import cache
from html import escape
from pathlib import Path

LABFAB = Path(__file__).parents[1] / "labfab"
# Lowest first. A room may import the rooms below it, and its own modules; two rooms on one floor
# do not import each other. tests/test_house.py holds the code to it.
FLOORS = (
    ("text",),
    ("errors", "decode"),
    ("console", "fabric_internals"),
    ("on_host",),
    ("local_state",),
    ("laptop",),
    ("settings",),
    ("host",),
    ("facts",),
    ("platforms",),
    ("certificates", "run"),
    ("server",),
    ("stages",),
    ("setup", "check"),
    ("fleet",),
    ("program",),
)
WHAT = {
    "text": "harmless text, counts in words",
    "errors": "what a user can fix, in one line",
    "decode": "outside data, checked",
    "console": "what you see and are asked",
    "fabric_internals": "private parts of Fabric",
    "on_host": "the scripts that a host runs",
    "local_state": "what is kept on your machine",
    "laptop": "programs on your machine",
    "settings": "what you want",
    "host": "the only door to a machine",
    "facts": "what is there",
    "platforms": "how it is done: Debian, macOS",
    "certificates": "everything about certificates",
    "run": "how a run goes, and its guard",
    "server": "JupyterLab's process",
    "stages": "what to do: the tasks",
    "setup": "plan, all stages, undo",
    "check": "is it so?",
    "fleet": "many hosts",
    "program": "the command labfab",
}
WIDTH, HEIGHT, BOX, TALL, LEFT = 640, 62, 250, 40, 40
STYLE = (
    "text{font-family:system-ui,sans-serif;font-size:14px;fill:#1f2328}"
    ".what{font-size:11px;fill:#59636e}rect{fill:#f6f8fa;stroke:#8c959f}"
    "path{fill:none;stroke:#8c959f;marker-end:url(#tip)}"
)


@cache
def modules() -> dict[str, ast.Module]:
    """Parse all modules: labfab/host/shell.py is host.shell, a package is its folder's name."""
    found = {}
    for path in sorted(LABFAB.rglob("*.py")):
        if path.name == "__main__.py":
            continue  # it starts the program, and is no room
        parts = path.relative_to(LABFAB).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text())
    return found


@cache
def imports() -> dict[str, set[str]]:
    """Give the modules of labfab that each module imports, also for types and inside functions."""
    trees = modules()
    packages = {path.parent.relative_to(LABFAB) for path in LABFAB.rglob("__init__.py")}
    names = {".".join(path.parts) for path in packages}
    graph: dict[str, set[str]] = {}
    for name, tree in trees.items():
        here = name.split(".") if name in names else name.split(".")[:-1]
        graph[name] = imported(tree, [part for part in here if part], trees) - {name}
    return graph


def imported(tree: ast.Module, here: list[str], trees: dict[str, ast.Module]) -> set[str]:
    """Give the modules of labfab that a module imports. here: its package."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= targets(node, here, trees)
        elif isinstance(node, ast.Import):
            found |= whole_modules(node, trees)
    return found


def targets(node: ast.ImportFrom, here: list[str], trees: dict[str, ast.Module]) -> set[str]:
    """Give the modules of labfab that one import statement names. here: its package."""
    words = (node.module or "").split(".") if node.module else []
    if node.level:
        base = here[: len(here) - node.level + 1] + words
    elif words[:1] == ["labfab"]:
        base = words[1:]
    else:
        return set()
    found = set()
    for alias in node.names:
        full = ".".join([*base, alias.name])
        found.add(full if full in trees else ".".join(base))
    return {name for name in found if name}


def whole_modules(node: ast.Import, trees: dict[str, ast.Module]) -> set[str]:
    """Give the modules of labfab that `import labfab.x` names."""
    found = {alias.name.removeprefix("labfab.") for alias in node.names}
    return found & trees.keys() - {""}


def rooms() -> dict[str, set[str]]:
    """Give the rooms that each room imports."""
    graph: dict[str, set[str]] = {}
    for module, others in imports().items():
        room = module.partition(".")[0]
        found = {other.partition(".")[0] for other in others} - {room}
        if room:
            graph[room] = graph.get(room, set()) | found
    return graph


def direct(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Leave out each arrow that a longer way makes anyway (transitive reduction)."""

    def reach(room: str) -> set[str]:
        return graph.get(room, set()).union(*(reach(other) for other in graph.get(room, set())))

    return {
        room: {
            other for other in others if not any(other in reach(way) for way in others - {other})
        }
        for room, others in graph.items()
    }


def picture() -> str:
    """Draw the rooms, the highest floor on top."""
    floors = list(reversed(FLOORS))
    place = {}
    for row, floor in enumerate(floors):
        for column, room in enumerate(floor):
            place[room] = (LEFT + column * (BOX + 2 * LEFT), 20 + row * HEIGHT)
    lines = []
    for room, others in sorted(direct(rooms()).items()):
        for other in sorted(others):
            if room in place and other in place:
                lines.append(arrow(place[room], place[other]))
    boxes = [box(room, *place[room]) for floor in floors for room in floor]
    height = 20 + len(floors) * HEIGHT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" role="img" '
            'aria-label="The rooms of labfab: each imports only rooms below it">',
            f"<style>{STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
            'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8" style="marker-end:none"/>'
            "</marker></defs>",
            *lines,
            *boxes,
            "</svg>",
            "",
        ]
    )


def arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    """Draw who imports whom."""
    (x1, y1), (x2, y2) = start, end
    if x1 == x2 and y2 - y1 > HEIGHT:  # around the boxes between
        bend = x1 - LEFT + 6 if x1 == LEFT else x1 + BOX + LEFT
        side = x1 if x1 == LEFT else x1 + BOX
        return f'<path d="M{side} {y1 + TALL - 8}C{bend} {y1 + TALL} {bend} {y2} {side} {y2 + 8}"/>'
    return f'<path d="M{x1 + BOX // 2} {y1 + TALL}L{x2 + BOX // 2} {y2}"/>'


def box(room: str, x: int, y: int) -> str:
    """Draw one room."""
    return (
        f'<rect x="{x}" y="{y}" width="{BOX}" height="{TALL}" rx="5"/>'
        f'<text x="{x + 12}" y="{y + 17}">{escape(room)}</text>'
        f'<text class="what" x="{x + 12}" y="{y + 32}">{escape(WHAT[room])}</text>'
    )
