"""The picture of a workflow: a document that every viewer reads, with no text beyond its box."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET

import pytest

from celeriac.core.attempt import Record
from celeriac.core.checkpoint import Progress as Reported
from celeriac.core.workflow import Counted, Node, Workflow
from celeriac.core.workflow_state import NodeState, progress, state_of
from celeriac.workflow import WorkflowStatus
from celeriac.workflow.svg import GAP_X, HIGH, WIDE, svg

SVG = "{http://www.w3.org/2000/svg}"
RECT, TEXT, PATH, TITLE, GROUP = (f"{SVG}{tag}" for tag in ("rect", "text", "path", "title", "g"))


def status(name: str, nodes: list[Node], counted: Mapping[str, Counted] = {}, *records: Record) -> WorkflowStatus:
    workflow = Workflow("w", name, nodes)
    found = progress(workflow, {one.task_id: one for one in records}, counted, ())
    return WorkflowStatus(workflow, state_of(workflow, found), found)


def drawn(given: WorkflowStatus) -> ET.Element:
    return ET.fromstring(svg(given))


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
        assert len(named.text or "") <= most
        assert (named.text or "").startswith("…")
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
    corners = [(int(box.get("x", "")), int(box.get("y", ""))) for box in root.iter(RECT)]
    assert len(corners) == 5
    for at, (x, y) in enumerate(corners):
        assert 0 <= x <= int(root.get("width", "")) - WIDE
        assert 0 <= y <= int(root.get("height", "")) - HIGH
        assert not [1 for ox, oy in corners[:at] if abs(ox - x) < WIDE and abs(oy - y) < HIGH]
    starts = sorted(tuple(map(int, re.findall(r"\d+", path.get("d", ""))[:2])) for path in root.iter(PATH))
    ends = [corners[before] for node in nodes for before in node.after]
    assert starts == sorted((x + WIDE, y + HIGH // 2) for x, y in ends)
    assert corners[4][0] == corners[0][0] + 2 * (WIDE + GAP_X)


@pytest.mark.parametrize(
    ("reported", "told", "widths"),
    [
        (Reported(30, 120, "<May>", 0.0), "running  25%  <May>", [166, 41.5]),
        (Reported(500, 120, None, 0.0), "running  100%", [166, 166]),
        (Reported(3000, None, None, 0.0), "running  3,000 done", []),
        (None, "running", []),
    ],
)
def test_how_far_a_task_is_is_a_bar_in_its_box(reported: Reported | None, told: str, widths: list[float]) -> None:
    given = status("w", [Node("a", "t")], {}, Record("a", 0, "STARTED", closed=False))
    given.nodes[0].reported = reported
    root = drawn(given)
    box, *bars = root.iter(RECT)
    assert shown(root)[-1] == told
    assert told in "".join(root.find(f"{GROUP}/{TITLE}").itertext())  # type: ignore[union-attr]
    assert [float(bar.get("width", "")) for bar in bars] == widths
    for bar in bars:
        assert float(box.get("y", "")) + 38 < float(bar.get("y", "")) < float(box.get("y", "")) + HIGH - 3
        assert float(bar.get("x", "")) == float(box.get("x", "")) + 12


def test_every_state_has_its_colours_on_light_and_dark_pages() -> None:
    [style] = drawn(status("w", [])).iter(f"{SVG}style")
    light, dark = str(style.text).split("@media (prefers-color-scheme:dark)")
    for state in NodeState:
        assert f".{state.value} rect{{" in light
        assert f".{state.value} rect{{" in dark


def test_it_says_what_has_become_of_each() -> None:
    ended = Record("a", 0, "SUCCESS", closed=True, started_at=1.0, finished_at=3.5)
    root = drawn(status("w", [Node("a", "t"), Node("g", "x.y", [0], 30)], {"g": Counted(20, 0)}, ended))
    assert shown(root)[1:] == ["running, 21 of 31 done", "t", "succeeded, 2.5 s", "30 × x.y", "20 ✓  10 to go"]
    assert [group.get("class") for group in root.iter(GROUP)] == ["succeeded", "running"]
