"""Plot: the medians as bars, in an SVG that reads well on light and on dark ground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from statistics import median

from . import table

WIDTH, LEFT, RIGHT, ROW, HEAD = 760, 220, 70, 24, 40
STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 14px }
.bar { fill: #8c959f } .ours { fill: #1a7f37 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .bar { fill: #7d8590 } .ours { fill: #3fb950 } }
"""


def svg(times: table.Times) -> str:
    """Draw one panel for each scene and line, each with a scale of its own."""
    parts, y = [], 0
    for scene, lines in times.items():
        for line, contenders in lines.items():
            if any(contenders.values()):
                parts.append(panel(f"{scene}, {line} (seconds)", contenders, y))
                y += HEAD + ROW * len(contenders) + 8
    body = "\n".join(parts)
    title = "How long each tool takes: labfab in green"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img" aria-label="{title}">\n'
        f"<title>{title}</title>\n<style>\n{STYLE}</style>\n{body}\n</svg>\n"
    )


def panel(title: str, contenders: Mapping[str, Sequence[float]], top: int) -> str:
    """Bars below a title, the longest as wide as there is room."""
    shown = {name: median(runs) for name, runs in contenders.items() if runs}
    scale = (WIDTH - LEFT - RIGHT) / max(shown.values())
    rows = [f'<text class="title" x="8" y="{top + 24}">{escape(title)}</text>']
    for number, (name, value) in enumerate(shown.items()):
        y = top + HEAD + ROW * number
        kind = (
            "bar ours" if name.startswith(("labfab", table.LIST)) and name != table.EMPTY else "bar"
        )
        rows.append(f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
        rows.append(
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{max(1.0, value * scale):.1f}" height="{ROW - 6}" rx="2"/>'
        )
        rows.append(
            f'<text x="{LEFT + value * scale + 6:.1f}" y="{y + 13}">{table.seconds(value)}</text>'
        )
    return "\n".join(rows)
