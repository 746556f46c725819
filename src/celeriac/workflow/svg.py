"""A workflow as a picture: what runs at the same time stands in one column, time goes from left to right."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from html import escape

from celeriac.core.workflow_state import NodeState, Progress
from celeriac.workflow.labels import Label, labels
from celeriac.workflow.placing import Placed, placed
from celeriac.workflow.status import WorkflowStatus

#: Pixels: a node, and what is between two.
WIDE, HIGH, GAP_X, GAP_Y, EDGE, HEAD = 190, 46, 56, 16, 20, 44
#: Pixels at least, that what is said of a small one has room.
_LEAST = 320
#: What a pixel's share of a letter's size is: of capitals and the like, of Chinese and the like, of others.
_BROAD, _SQUARE, _OTHER = 0.85, 1.05, 0.6
#: What no XML may contain.
_UNWRITABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: Text, border and ground of each state, on light and on dark paper.
_COLOURS = {
    NodeState.SUCCEEDED: (("#14532d", "#16a34a", "#dcfce7"), ("#bbf7d0", "#22c55e", "#052e16")),
    NodeState.RUNNING: (("#1e3a8a", "#2563eb", "#dbeafe"), ("#bfdbfe", "#3b82f6", "#172554")),
    NodeState.FAILED: (("#7f1d1d", "#dc2626", "#fee2e2"), ("#fecaca", "#ef4444", "#450a0a")),
    NodeState.BLOCKED: (("#78350f", "#d97706", "#fef3c7"), ("#fde68a", "#f59e0b", "#451a03")),
    NodeState.WAITING: (("#374151", "#6b7280", "#f3f4f6"), ("#e5e7eb", "#9ca3af", "#1f2937")),
    NodeState.PLANNED: (("#6b7280", "#d1d5db", "#ffffff"), ("#9ca3af", "#4b5563", "#111827")),
    NodeState.SKIPPED: (("#6b7280", "#9ca3af", "#f3f4f6"), ("#9ca3af", "#6b7280", "#1f2937")),
    NodeState.CANCELLED: (("#6b7280", "#9ca3af", "#e5e7eb"), ("#9ca3af", "#6b7280", "#374151")),
}


def svg(status: WorkflowStatus) -> str:
    """The picture as one SVG document, which fits light and dark pages; needs no font and no script."""
    nodes = [one.node for one in status.nodes]
    graph = placed(nodes, HIGH, GAP_Y)
    count = max(graph.columns, default=0) + 1
    width = max(_LEAST, 2 * EDGE + count * WIDE + (count - 1) * GAP_X)
    height = HEAD + 2 * EDGE + math.ceil(graph.height)
    edges, named = _edges(graph), labels(nodes)
    boxes = [_box(one, named[place], _left(graph, place), _top(graph, place)) for place, one in enumerate(status.nodes)]
    said = f"{status.state.value}, {status.done:,} of {status.size:,} done"
    # Narrower than its page it is as it is; on a telephone it shrinks.
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" style="max-width:100%;height:auto"'
    label = f'role="img" aria-label="{_text(status.name)}: {said}" font-family="system-ui, sans-serif"'
    title = _text(_fitting(status.name, width - 2 * EDGE, 16))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {label}>',
            f"<style>{_style()}</style>",
            '<rect class="paper" width="100%" height="100%" rx="8"/>',
            f'<text class="ink" x="{EDGE}" y="26" font-size="16" font-weight="600">{title}</text>',
            f'<text class="dim" x="{EDGE}" y="46" font-size="13">{said}</text>',
            *edges,
            *boxes,
            "</svg>",
            "",
        ]
    )


def _left(graph: Placed, item: int) -> int:
    return EDGE + graph.columns[item] * (WIDE + GAP_X)


def _middle(graph: Placed, item: int) -> int:
    # Halves are as good as common, and a hair above or below for being sums of fractions: of neighbours both are to go up.
    return HEAD + EDGE + math.floor(graph.centres[item] + 0.501)


def _top(graph: Placed, place: int) -> int:
    return _middle(graph, place) - HIGH // 2


def _edges(graph: Placed) -> list[str]:
    """Each from its node to the one that it leads to, or to where it meets another that leads there."""
    lanes: set[int] = set()
    found = []
    for start, *others in graph.routes:
        x, one = _left(graph, start) + WIDE, start
        path = f"M{x} {_middle(graph, start)}"
        for other in others:
            path += _curve(graph, one, other)
            if other in lanes:
                break
            if other != others[-1]:
                lanes.add(other)
                path += f"H{_left(graph, other) + WIDE}"
            one = other
        found.append(f'<path class="edge" d="{path}"/>')
    return found


def _curve(graph: Placed, one: int, other: int) -> str:
    """Through the gap between two columns, in which there are no boxes."""
    x, y, to_x, to_y = _left(graph, one) + WIDE, _middle(graph, one), _left(graph, other), _middle(graph, other)
    middle = (x + to_x) // 2
    return f"C{middle} {y} {middle} {to_y} {to_x} {to_y}"


def _box(one: Progress, label: Label, x: int, y: int) -> str:
    name, shown = str(label), label.fitting(lambda text: _wide(text, 13) <= WIDE - 24)
    reported, bar = _reported(one), _bar(one, x, y)
    told = ", ".join(filter(None, [said(one), reported]))
    # What runs has the colour of that, and its bar the room that the letters leave.
    brief = _fitting(reported if reported and one.state is NodeState.RUNNING else told, WIDE - 24, 12)
    up = 3 if bar else 0
    # Of many, several lie on one another.
    stack = f'<rect x="{x + 4}" y="{y + 4}" width="{WIDE}" height="{HIGH}" rx="7"/>' if one.node.size > 1 else ""
    return (
        f'<g class="{one.state.value}"><title>{_text(name)}: {_text(told)}</title>{stack}'
        f'<rect x="{x}" y="{y}" width="{WIDE}" height="{HIGH}" rx="7"/>'
        f'<text x="{x + 12}" y="{y + 20 - up}" font-size="13" font-weight="600">{_text(shown)}</text>'
        f'<text x="{x + 12}" y="{y + 37 - up}" font-size="12">{_text(brief)}</text>{bar}</g>'
    )


def _bar(one: Progress, x: int, y: int) -> str:
    """Along the lower edge, as far as the task says that it is."""
    if one.reported is None or one.reported.fraction is None:
        return ""
    full = WIDE - 24
    rail, filled = (
        f'<rect class="{name}" x="{x + 12}" y="{y + HIGH - 7}" width="{width:g}" height="3" rx="1.5"/>'
        for name, width in (("rail", full), ("bar", round(full * one.reported.fraction, 1)))
    )
    return rail + filled


def _text(text: str) -> str:
    """As it stands in the document; what cannot stand in any is shown as what it is not."""
    return escape(_UNWRITABLE.sub("\ufffd", text))


def _fitting(text: str, room: float, size: int) -> str:
    """What of a text has room, in pixels, in letters of this size."""
    if _wide(text, size) <= room:
        return text
    left, kept = room - size, ""
    for letter in text:
        left -= _breadth(letter) * size
        if left < 0:
            break
        kept += letter
    return f"{kept}…"


def _wide(text: str, size: int) -> float:
    """How wide a text is, in pixels, in letters of this size; which font there is nobody knows."""
    return sum(map(_breadth, text)) * size


def _breadth(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return _SQUARE
    return _BROAD if letter.isupper() or letter in "mw@%→×" else _OTHER


def said(one: Progress) -> str:
    """What has become of a node, in a few words."""
    if one.node.size > 1:
        left = one.node.size - one.succeeded - one.running - one.failed - one.cancelled
        parts = [(one.running, "▶"), (0 if one.state is NodeState.CANCELLED else left, "to go")]
        parts += [(one.failed, "✗"), (one.cancelled, "⊘")]
        counts = "  ".join([f"{one.succeeded:,} ✓", *(f"{count:,} {sign}" for count, sign in parts if count > 0)])
        return f"{counts}{_lasted(one)}"
    return f"{'dead letter' if one.dead_letter else one.state.value}{_lasted(one)}"


def _reported(one: Progress) -> str:
    """How far it says that it is: ``50%, orders of May``."""
    if (found := one.reported) is None:
        return ""
    far = f"{found.done:,} done" if found.fraction is None else f"{found.fraction:.0%}"
    return f"{far}, {found.note}" if found.note else far


def _lasted(one: Progress) -> str:
    if one.started_at is None or one.finished_at is None:
        return ""
    seconds = one.finished_at - one.started_at
    return f", {seconds:.1f} s" if seconds >= 1 else f", {seconds * 1000:.0f} ms"


def _style() -> str:
    light = [_rule(state, *colours[0]) for state, colours in _COLOURS.items()]
    dark = [_rule(state, *colours[1]) for state, colours in _COLOURS.items()]
    # Opened by itself it has the paper of the browser, and on a page that knows only light the picture brings its own.
    paper = ":root{color-scheme:light dark}.paper{fill:#ffffff}.ink{fill:#111827}.dim{fill:#6b7280}.edge{fill:none;stroke:#9ca3af;stroke-width:1.5}"
    ink = ".paper{fill:#0d1117}.ink{fill:#f9fafb}.dim{fill:#9ca3af}.edge{stroke:#6b7280}"
    return f"{paper}{''.join(light)}@media (prefers-color-scheme:dark){{{ink}{''.join(dark)}}}"


def _rule(state: NodeState, text: str, border: str, ground: str) -> str:
    dashed = ";stroke-dasharray:4 3" if state in _NOT_YET else ""
    name = state.value
    box = f".{name} rect{{fill:{ground};stroke:{border};stroke-width:1.5{dashed}}}.{name} text{{fill:{text}}}"
    if state not in _BEGUN:
        return box
    return f"{box}.{name} .rail{{stroke:none;fill:{border};fill-opacity:.25}}.{name} .bar{{stroke:none;fill:{border}}}"


_BEGUN = frozenset({NodeState.RUNNING, NodeState.WAITING})
_NOT_YET: Sequence[NodeState] = (NodeState.PLANNED, NodeState.BLOCKED, NodeState.SKIPPED)
