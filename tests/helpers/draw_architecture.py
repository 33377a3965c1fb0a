"""Draw docs/architecture.svg from what the packages import.

Run it when the imports between rooms have changed: python tests/helpers/draw_architecture.py
"""

from __future__ import annotations

from import_graph import Graph, essential, room_imports
from paths import ROOT

FILE = ROOT / "docs/architecture.svg"
# Where each room stands: column and row of its package's panel.
PLACES = {
    "hpc": {
        **{"commands": (1, 0), "cli": (2, 0), "local": (0, 1), "slurm": (2, 1), "run": (1, 2)},
        **{"campaign": (1, 3), "images": (2, 3), "broker": (1, 4), "processes": (1, 5)},
    },
    "deeptool": {
        **{"commands": (1, 0), "cli": (2, 0), "training": (0, 1), "producer": (1, 1)},
        **{"report": (2, 1), "reader": (0, 2), "pipelines": (1, 2), "sealed": (0, 3)},
        **{"settings": (2, 3), "rows": (0, 4), "store": (0, 5), "orders": (2, 5)},
        **{"catalog": (0, 6), "columns": (1, 6), "client": (0, 7), "codec": (1, 7)},
    },
}
# Single modules that any room may import: shown as one bar, without arrows.
SHARED = {
    "hpc": ("backends",),
    "deeptool": (
        "cpu_clock",
        "errors",
        "files",
        "fork_lock",
        "lazy",
        "outcome",
        "progress",
        "quiet_tensorflow",
        "termination",
    ),
}
COLOURS = {"hpc": ("#fdf0dd", "#d9932b"), "deeptool": ("#e5eefb", "#3b73c4")}
LEFT = {"hpc": 20, "deeptool": 500}
TOP, COLUMN, ROW, WIDTH, HEIGHT, PANEL, BAR, BAR_HEIGHT = 84, 124, 58, 108, 36, 400, 556, 58


def drawn(package: str) -> Graph:
    """The imports between the rooms of a package, without the modules that all may import."""
    shared = set(SHARED[package])
    return {
        room: others - shared
        for room, others in room_imports(package).items()
        if room not in shared
    }


def _box(package: str, room: str) -> str:
    column, row = PLACES[package][room]
    x, y = LEFT[package] + 16 + column * COLUMN, TOP + row * ROW
    fill, stroke = COLOURS[package]
    return (
        f'<g data-box="{package}/{room}"><rect x="{x:g}" y="{y}" width="{WIDTH}" height="{HEIGHT}"'
        f' rx="7" fill="{fill}" stroke="{stroke}"/>'
        f'<text x="{x + WIDTH / 2:g}" y="{y + HEIGHT / 2 + 5:g}">{room}</text></g>'
    )


def _arrow(package: str, start: str, end: str) -> str:
    (column, row), (to_column, to_row) = PLACES[package][start], PLACES[package][end]
    middle = LEFT[package] + 16 + WIDTH / 2
    x, y = middle + column * COLUMN, TOP + row * ROW + HEIGHT
    to_x, to_y = middle + to_column * COLUMN, TOP + to_row * ROW
    bend = min((to_y - y) / 2, 24)
    return (
        f'<path data-arrow="{package}/{start} {package}/{end}"'
        f' d="M{x:g} {y} C{x:g} {y + bend:g} {to_x:g} {to_y - bend:g} {to_x:g} {to_y}"/>'
    )


def _panel(package: str) -> list[str]:
    left, stroke = LEFT[package], COLOURS[package][1]
    lines = [SHARED[package][place : place + 4] for place in range(0, len(SHARED[package]), 4)]
    names = [
        f'<text x="{left + PANEL / 2:g}" y="{BAR + 34 + 18 * (n - (len(lines) - 1) / 2):g}">'
        + " &#160; ".join(f'<tspan data-box="{package}/{name}">{name}</tspan>' for name in line)
        + "</text>"
        for n, line in enumerate(lines)
    ]
    return [
        f'<rect x="{left}" y="38" width="{PANEL}" height="{BAR + 66 - 38}" rx="10" fill="none"'
        f' stroke="{stroke}" stroke-dasharray="2 4"/>',
        f'<text x="{left + 16}" y="64" text-anchor="start" font-weight="bold">{package}/</text>',
        f'<rect x="{left + 16}" y="{BAR}" width="{PANEL - 32}" height="{BAR_HEIGHT}" rx="7"'
        f' fill="#f4f5f7" stroke="#9aa3b0"/>',
        *names,
    ]


def draw() -> str:
    boxes, arrows, panels = [], [], []
    for package in PLACES:
        panels += _panel(package)
        boxes += [_box(package, room) for room in sorted(drawn(package))]
        arrows += [_arrow(package, *pair) for pair in sorted(essential(drawn(package)))]
    start, end = LEFT["hpc"] + PANEL, LEFT["deeptool"]
    between = [
        f'<path d="M{start} {TOP + 18} H{end}" stroke-dasharray="5 4"/>',
        f'<path d="M{start} {BAR + 18} H{end}"/>',
    ]
    notes = {
        "starts its": TOP - 2,
        "commands": TOP + 11,
        "imports a": BAR - 2,
        "few of these": BAR + 11,
    }
    words = [
        f'<text x="{(start + end) / 2:g}" y="{y}" font-size="12">{text}</text>'
        for text, y in notes.items()
    ]
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 920 640"'
            ' font-family="Helvetica, Arial, sans-serif" font-size="14">',
            '<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7"'
            ' markerHeight="7" orient="auto"><path d="M0 0 10 5 0 10z" fill="#5b6472"/>'
            "</marker></defs>",
            '<rect width="920" height="640" fill="#fff"/>',
            '<g text-anchor="middle" fill="#1f2733">',
            *panels,
            '</g><g fill="none" stroke="#5b6472" stroke-width="1.5" marker-end="url(#arrow)">',
            *arrows,
            *between,
            '</g><g text-anchor="middle" fill="#1f2733">',
            *boxes,
            *words,
            "</g></svg>",
            "",
        ]
    )


if __name__ == "__main__":
    FILE.write_text(draw())
