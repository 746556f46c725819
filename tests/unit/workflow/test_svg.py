"""The picture of a workflow: a document that every viewer reads, with no text beyond its box."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from operator import mul
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from celeriac.core.attempt import Record
from celeriac.core.checkpoint import Progress as Reported
from celeriac.core.workflow import Counted, Node, Workflow
from celeriac.core.workflow_state import NodeState, progress, state_of
from celeriac.workflow import WorkflowStatus
from celeriac.workflow.svg import GAP_X, GAP_Y, HEAD, HIGH, WIDE, svg

SVG = "{http://www.w3.org/2000/svg}"
RECT, TEXT, PATH, TITLE, GROUP = (f"{SVG}{tag}" for tag in ("rect", "text", "path", "title", "g"))


def status(name: str, nodes: list[Node], counted: Mapping[str, Counted] = {}, *records: Record) -> WorkflowStatus:
    workflow = Workflow("w", name, nodes)
    found = progress(workflow, {one.task_id: one for one in records}, counted, ())
    return WorkflowStatus(workflow, state_of(workflow, found), found)


def drawn(found: WorkflowStatus) -> ET.Element:
    return ET.fromstring(svg(found))


def shown(root: ET.Element) -> list[str]:
    return ["".join(text.itertext()) for text in root.iter(TEXT)]


@pytest.mark.parametrize("name", ["<b>&\"'", "a\x00b\x1b[31m", "\ud800", "\ufffe", "夜間レポート", ""])
def test_any_name_makes_a_document_that_can_be_read(name: str) -> None:
    root = drawn(status(name, [Node("a", name)]))
    readable = re.sub("[\x00\x1b\ud800\ufffe]", "\ufffd", name)
    assert root.get("aria-label") == f"{readable}: running, 0 of 1 done"
    assert shown(root) == [readable, "running, 0 of 1 done", readable, "planned"]


@pytest.mark.parametrize("letter", ["i", "W", "夜", "m.", "%"])
def test_no_text_is_wider_than_its_box(letter: str) -> None:
    name = letter * 60
    root = drawn(status(name, [Node("a", name), Node("g", name, [], 100_000)], {"g": Counted(90_000, 1_234)}))
    for group in root.iter(GROUP):
        named, told = group.findall(TEXT)
        # 166 pixels of letters of 13 that are as wide as high, and of ordinary ones at half that.
        most = 12 if letter == "夜" else 16 if letter == "W" else 24
        # The number of many takes half of that.
        number, _, text = (named.text or "").rpartition("100,000 × ")
        assert number == ""
        assert len(text) <= (most if text == named.text else most / 2 + 1)
        assert "…" in text
        assert 12 * 0.5 * len(told.text or "") <= WIDE - 12
        assert letter * 60 in "".join(group.find(TITLE).itertext())  # type: ignore[union-attr]
    assert int(root.get("width", "0")) < 400
    assert (root.find(TEXT).text or "").endswith("…")  # type: ignore[union-attr]


def test_it_fits_a_telephone() -> None:
    root = drawn(status("long", [Node(f"{place}", "t", [place - 1] if place else []) for place in range(40)]))
    assert int(root.get("width", "0")) > 40 * WIDE
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    assert root.get("style") == "max-width:100%;height:auto"


def test_nothing_lies_on_anything_else_and_every_edge_is_drawn() -> None:
    nodes = [Node("a", "t"), Node("b", "t", [0]), Node("c", "t", [0]), Node("d", "t"), Node("e", "t", [1, 2, 3])]
    root = drawn(status("w", nodes))
    check_picture(nodes)
    boxes = corners(root)
    starts = sorted(tuple(map(int, re.findall(r"\d+", path.get("d", ""))[:2])) for path in root.iter(PATH))
    ends = [boxes[before] for node in nodes for before in node.after]
    assert starts == sorted((x + WIDE, y + HIGH // 2) for x, y in ends)
    assert boxes[4][0] == boxes[0][0] + 2 * (WIDE + GAP_X)


@pytest.mark.parametrize(
    ("reported", "told", "widths"),
    [
        (Reported(30, 120, "orders <of> May", 0.0), "25%, orders <of> May", [166, 41.5]),
        (Reported(500, 120, None, 0.0), "100%", [166, 166]),
        (Reported(3000, None, None, 0.0), "3,000 done", []),
        (None, "running", []),
    ],
)
def test_how_far_a_task_is_is_a_bar_in_its_box(reported: Reported | None, told: str, widths: list[float]) -> None:
    found = status("w", [Node("a", "t")], {}, Record("a", 0, "STARTED", closed=False))
    found.nodes[0].reported = reported
    root = drawn(found)
    box, *bars = rects(root)
    assert "running" in "".join(root.find(f"{GROUP}/{TITLE}").itertext())  # type: ignore[union-attr]
    assert shown(root)[-1] == told
    assert told in "".join(root.find(f"{GROUP}/{TITLE}").itertext())  # type: ignore[union-attr]
    assert [float(bar.get("width", "")) for bar in bars] == widths
    for bar in bars:
        assert float(box.get("y", "")) + 38 < float(bar.get("y", "")) < float(box.get("y", "")) + HIGH - 3
        assert float(bar.get("x", "")) == float(box.get("x", "")) + 12


def rects(root: ET.Element) -> list[ET.Element]:
    """All but the paper."""
    return [one for one in root.iter(RECT) if one.get("class") != "paper"]


def corners(root: ET.Element) -> list[tuple[int, int]]:
    return [(int(box.get("x", "")), int(box.get("y", ""))) for box in rects(root)]


def points(path: str) -> Iterator[tuple[float, float]]:
    """Of a path as it is drawn: of each curve and each line twenty of its points."""
    x, y = 0.0, 0.0
    for letter, numbers in re.findall(r"([MCH])([-\d. ]+)", path):
        values = [float(one) for one in numbers.split()]
        if letter == "M":
            x, y = values
        elif letter == "H":
            yield from ((x + (values[0] - x) * step / 20, y) for step in range(21))
            x = values[0]
        else:
            ax, ay, bx, by, to_x, to_y = values
            for t in (step / 20 for step in range(21)):
                parts = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
                at = [sum(map(mul, parts, along)) for along in ((x, ax, bx, to_x), (y, ay, by, to_y))]
                yield at[0], at[1]
            x, y = to_x, to_y


def check_picture(nodes: list[Node]) -> None:
    root = drawn(status("w", nodes))
    boxes, wide, high = corners(root), int(root.get("width", "")), int(root.get("height", ""))
    assert len(boxes) == len(nodes)
    for at, (x, y) in enumerate(boxes):
        assert 0 <= x <= wide - WIDE
        assert HEAD < y <= high - HIGH
        assert not [1 for ox, oy in boxes[:at] if abs(ox - x) < WIDE and abs(oy - y) < HIGH + GAP_Y]
        assert all(boxes[before][0] < x for before in nodes[at].after)
    paths = [path.get("d", "") for path in root.iter(PATH)]
    assert len(paths) == sum(len(node.after) for node in nodes)
    for path in paths:
        for at_x, at_y in points(path):
            assert HEAD < at_y < high
            behind = [1 for x, y in boxes if x < at_x < x + WIDE and y - 1 < at_y < y + HIGH + 1]
            assert not behind, f"an edge runs behind a box at {at_x}, {at_y}: {path}"


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    """Of up to fourteen nodes, each of which waits for any of those before it."""
    count = draw(st.integers(1, 14))
    afters = [draw(st.sets(st.integers(0, place - 1), max_size=5)) if place else set() for place in range(count)]
    return [Node(f"{place}", "t", sorted(after)) for place, after in enumerate(afters)]


@given(graphs())
@example([Node(f"{place}", "t", after) for place, after in enumerate([[], [0], [], [], [], [], [], [0, 2], [0, 3, 5]])])
def test_no_edge_runs_behind_a_box(nodes: list[Node]) -> None:
    check_picture(nodes)


def test_what_waits_for_tasks_of_many_columns_is_reached_by_one_lane() -> None:
    chains = [[Node(f"{row}-{step}", "t") for step in range(row + 1)] for row in range(5)]
    nodes = [node for steps in chains for node in steps]
    for place, node in enumerate(nodes):
        node.after = [] if node.id.endswith("-0") else [place - 1]
    nodes.append(
        Node("body", "t", [place for place, node in enumerate(nodes) if node.id in ("0-0", "1-1", "2-2", "3-3", "4-4")])
    )
    check_picture(nodes)
    lines = [re.findall(r"H", path.get("d", "")) for path in drawn(status("w", nodes)).iter(PATH)]
    assert sum(map(len, lines)) == 4, "one for each column that edges pass"


def test_few_edges_cross() -> None:
    """Pairs that are written down the wrong way round stand opposite one another."""
    nodes = [*(Node(f"a{row}", "t") for row in range(6)), *(Node(f"b{row}", "t", [5 - row]) for row in range(6))]
    boxes = corners(drawn(status("w", nodes)))
    assert [y for _, y in boxes[6:]] == [y for _, y in boxes[5::-1]]


def test_members_stand_in_their_order_round_the_middle() -> None:
    nodes = [Node("first", "t"), *(Node(f"{row}", "t", [0]) for row in range(5)), Node("body", "t", [1, 2, 3, 4, 5])]
    boxes = corners(drawn(status("w", nodes)))
    assert [y for _, y in boxes[1:6]] == [boxes[1][1] + row * (HIGH + GAP_Y) for row in range(5)]
    assert boxes[0][1] == boxes[3][1] == boxes[6][1]


def test_a_picture_of_thousands_is_drawn_in_time() -> None:
    nodes = [Node(f"{place}", "t", [place - 1] if place % 20 else []) for place in range(4_000)]
    nodes.append(Node("body", "t", list(range(7, 4_000, 20))))
    began = time.process_time()
    assert len(list(drawn(status("w", nodes)).iter(GROUP))) == 4_001
    assert time.process_time() - began < 10


def test_every_state_has_its_colours_on_light_and_dark_pages() -> None:
    [style] = drawn(status("w", [])).iter(f"{SVG}style")
    light, dark = str(style.text).split("@media (prefers-color-scheme:dark)")
    for state in NodeState:
        assert f".{state.value} rect{{" in light
        assert f".{state.value} rect{{" in dark


def test_it_brings_its_own_paper_since_not_every_page_is_as_dark_as_its_reader_wants() -> None:
    root = drawn(status("w", [Node("a", "t")]))
    [style, paper, *_] = list(root)
    light, dark = str(style.text).split("@media (prefers-color-scheme:dark)")
    assert (paper.tag, paper.get("class"), paper.get("width"), paper.get("height")) == (RECT, "paper", "100%", "100%")
    assert ".paper{fill:#ffffff}" in light
    assert ".paper{fill:#0d1117}" in dark
    assert ":root{color-scheme:light dark}" in light, "opened by itself, the rest of the window is as dark"


def test_of_many_in_a_narrow_box_the_number_stays() -> None:
    root = drawn(status("w", [Node("g", "imports.shard, imports.sub", [], 36)]))
    assert shown(root)[2] == "36 × …shard, …sub"


def test_it_says_what_has_become_of_each() -> None:
    ended = Record("a", 0, "SUCCESS", closed=True, started_at=1.0, finished_at=3.5)
    root = drawn(status("w", [Node("a", "t"), Node("g", "x.y", [0], 30)], {"g": Counted(20, 0)}, ended))
    assert shown(root)[1:] == ["running, 21 of 31 done", "t", "succeeded, 2.5 s", "30 × x.y", "20 ✓  10 to go"]
    assert [group.get("class") for group in root.iter(GROUP)] == ["succeeded", "running"]
