"""What a worker says when its grace is over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celeriac.execution.request import Request
from celeriac.worker import grace as module
from celeriac.worker.grace import Grace


def ended(held: dict[int, Any], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is handed back when the grace is over."""
    handed_back: list[Any] = []
    monkeypatch.setattr(module, "start_thread", lambda _: None)
    monkeypatch.setattr(module, "hand_back", handed_back.append)
    monkeypatch.setattr(module, "_leave", lambda _: None)
    monkeypatch.setattr(Request, "ended_by_us", False)
    grace = object.__new__(Grace)
    keeper = SimpleNamespace(held=held)
    grace._worker = SimpleNamespace(app=SimpleNamespace(keeper=keeper), pool=None)
    grace._seconds = 25.0
    grace._end()
    return handed_back


@pytest.mark.parametrize(("running", "said"), [(1, "1 task was not over"), (2, "2 tasks were not over")])
def test_what_runs_is_counted(
    running: int, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    held = {number: SimpleNamespace(started=number < running) for number in range(3)}
    assert ended(held, monkeypatch)
    assert [
        record.message.startswith(f"{said} after celeriac_shutdown_grace_seconds = 25 s") for record in caplog.records
    ]
    assert said in caplog.text


def test_where_all_has_ended_and_the_pool_has_not_left_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert ended({1: SimpleNamespace(started=False)}, monkeypatch)
    assert not caplog.records
