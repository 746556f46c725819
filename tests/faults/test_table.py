"""The page shows what was kept, and a red cell is seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults import table
from tests.faults.brokers import BROKERS
from tests.faults.injections import FAULTS
from tests.faults.matrix import Outcome
from tests.faults.verdict import Verdict


def test_the_page_is_what_the_kept_results_say() -> None:
    page = table.PAGE.read_text(encoding="utf-8")
    assert page == table.filled(page), "run `make faults FAULTS=full ARGS=--keep`"


def test_the_kept_results_have_every_fault_and_no_red_cell() -> None:
    found = table.read()
    assert found
    for column in found.values():
        assert list(column["cells"]) == [fault.name for fault in FAULTS]
        assert not [text for cell in column["cells"].values() if "RED" in (text := table.text(cell))]


def test_the_kept_columns_rest_on_what_their_brokers_say() -> None:
    for name, column in table.read().items():
        assert column["rests_on"] == BROKERS[name].rests_on


def test_faults_have_names_of_their_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_a_cell_shows_its_figures_in_the_order_of_the_legend() -> None:
    verdict = Verdict(accepted=1200, repeated=3, plain_repeated=1, recovery=2.345)
    assert table.text(table.kept(Outcome("b", "f", verdict))) == "1,200 · 0 0 0 0 0 0 · 3, 1 · 2.3 s"


def test_what_was_not_counted_yet_is_no_zero() -> None:
    found = table.kept(Outcome("b", "f", Verdict(accepted=7)))
    del found["zeros"]["over a limit"]
    assert table.text(found) == "7 · 0 0 0 0 0 - · 0, 0 · -"


def test_the_totals_tell_what_took_part() -> None:
    took_part = {"pauses": 3, "openings": 0, "snoozes": 1200}
    found = table.kept(Outcome("b", "f", Verdict(accepted=7, injected=2, took_part=took_part)))
    told = "2 cells, 14 tasks accepted, 4 faults injected, 6 pauses, 2,400 snoozes, 0 cells red"
    assert table.totals({"one": {"f": found, "g": found}}) == told


def test_a_red_cell_says_which_zero_is_none() -> None:
    verdict = Verdict(accepted=7, never_ended=["a", "b"], unexplained=["c"])
    shown = table.text(table.kept(Outcome("b", "f", verdict)))
    assert shown == "7 · **RED** 2 never ended, 1 unexplained repeats · 0, 0 · -"


def test_what_makes_no_sense_says_why_and_what_broke_is_red() -> None:
    assert table.text(table.kept(Outcome("b", "f", reason="no server"))) == "- no server"
    assert table.text(table.kept(Outcome("b", "f", error="TimedOut: late\nmore"))) == "**RED**: TimedOut: late"


def test_a_broker_whose_faults_were_run_in_part_has_holes_that_show() -> None:
    known = {"reason": "no server"}
    made = table.table({"one": {FAULTS[0].name: known, FAULTS[1].name: known}, "two": {FAULTS[0].name: known}})
    assert made.splitlines()[-1].endswith("| not run |")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results and a page of the test's own; gives the results' file."""
    monkeypatch.setattr(table, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(table, "PAGE", tmp_path / "page.md")
    table.PAGE.write_text("<!-- matrix -->\n<!-- /matrix -->\n", encoding="utf-8")
    return table.RESULTS


def test_cells_that_are_run_again_leave_the_others_of_their_column(kept: Path) -> None:
    first, second = (fault.name for fault in FAULTS[:2])
    table.keep({"one": {first: {"reason": "a"}, second: {"reason": "b"}}}, "make all", {"one": "nothing"})
    table.keep({"one": {second: {"reason": "c"}}}, "make part", {"one": "nothing"}, part=True)
    cells = json.loads(kept.read_text(encoding="utf-8"))["one"]["cells"]
    assert [(fault, cell["reason"]) for fault, cell in cells.items()] == [(first, "a"), (second, "c")]
    told = table.PAGE.read_text(encoding="utf-8")
    assert "one: `make all` on" in told
    assert f"one, *{second}*: `make part` on" in told


def test_a_column_that_is_run_again_replaces_all_of_it(kept: Path) -> None:
    first, second = (fault.name for fault in FAULTS[:2])
    table.keep({"one": {first: {"reason": "a"}, second: {"reason": "b"}}}, "make all", {"one": "nothing"})
    table.keep({"one": {first: {"reason": "c"}}}, "make all", {"one": "nothing"})
    assert list(json.loads(kept.read_text(encoding="utf-8"))["one"]["cells"]) == [first]
