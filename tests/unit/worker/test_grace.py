"""What a worker says, and hands back, when its grace is over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from celeriac.execution.request import Request
from celeriac.store.sqlite import SQLiteStore
from celeriac.testing.conformance.harness import claim, ids, publish, settle
from celeriac.transport.leases import LeaseKeeper
from celeriac.worker import grace as module
from celeriac.worker.grace import Grace


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    opened = SQLiteStore(tmp_path / "shop.db")
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def _stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "start_thread", lambda _: None)
    monkeypatch.setattr(module, "_leave", lambda _: None)
    monkeypatch.setattr(Request, "ended_by_us", False)


def end(store: SQLiteStore, begun: Sequence[str], *, settled: Sequence[str] = (), once: Sequence[str] = ()) -> None:
    """The grace of a worker is over that holds three tasks, and as far as it knows has begun some of them."""
    publish(store, "a", "b", "c")
    keeper = LeaseKeeper(store)
    for delivery in claim(store):
        held = keeper.hold(delivery)
        held.name = "shop.charge"
        held.started, held.once = delivery.task_id in begun, delivery.task_id in once
        if delivery.task_id in settled:
            settle(store, delivery)
    grace = object.__new__(Grace)
    grace._worker = SimpleNamespace(app=SimpleNamespace(keeper=keeper), pool=None)
    grace._seconds = 25.0
    grace._end()


@pytest.mark.parametrize(("begun", "said"), [("a", "1 task was not over"), ("ab", "2 tasks were not over")])
def test_what_runs_is_counted(store: SQLiteStore, begun: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    end(store, begun)
    assert [record.getMessage().split(" after ")[0] for record in caplog.records] == [said]
    named = ", ".join(f"shop.charge[{name}]" for name in begun)
    assert f"celeriac_shutdown_grace_seconds = 25 s, and handed back: {named}. What takes" in caplog.text
    assert sorted(map(str, ids(claim(store)))) == ["a", "b", "c"]


def test_what_must_not_run_twice_is_counted_too(store: SQLiteStore, caplog: pytest.LogCaptureFixture) -> None:
    end(store, "ab", once="b")
    assert "2 tasks were not over" in caplog.text


def test_where_nothing_has_begun_nothing_is_said(store: SQLiteStore, caplog: pytest.LogCaptureFixture) -> None:
    end(store, "")
    assert not caplog.records


def test_what_has_ended_and_was_not_heard_of_is_neither_counted_nor_handed_back(
    store: SQLiteStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A process of the pool settles by itself, and its parent hears of it when it looks."""
    end(store, "abc", settled="ab")
    assert "1 task was not over" in caplog.text
    assert ids(claim(store)) == ["c"]


def test_where_all_has_ended_nothing_is_said(store: SQLiteStore, caplog: pytest.LogCaptureFixture) -> None:
    end(store, "abc", settled="abc")
    assert not caplog.records
