"""A red cell tells what happened to whom."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.faults import report
from tests.faults.test_verdict import books
from tests.faults.verdict import judge


def test_it_has_the_story_of_each_offender_and_of_nobody_else(tmp_path: Path) -> None:
    found = books("paid-1", records={})
    found.published.append({"what": "unknown", "unit": "plain-2", "error": "no answer"})
    (tmp_path / "worker-a.log").write_text("[1] id-paid received\n[3] id-paid succeeded\n")
    (tmp_path / "worker-b.log").write_text("[2] id-paid received\n")
    store: Any = SimpleNamespace(records=lambda ids: {}, attempts=lambda task_id: ["crashed once"])
    report.write(tmp_path, judge(found, excuses=True), found, SimpleNamespace(store=store))
    told = (tmp_path / report.FILE).read_text()
    assert told.startswith("lost: paid-1/paid id-paid: accepted, and the ledger knows nothing of it\n")
    assert "== paid-1" in told
    assert "claimed: id-paid at 9.0 by process 1" in told
    assert "attempt: crashed once" in told
    assert "last seen: [3] id-paid succeeded (worker-a.log)" in told
    assert "== plain-2" not in told
