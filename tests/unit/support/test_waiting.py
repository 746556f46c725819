from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.support import TimedOut, free_port, patient, wait_for
from tests.support.waiting import PATIENCE


@pytest.fixture(autouse=True)
def ordinary_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PATIENCE, raising=False)


def test_it_returns_the_first_true_answer() -> None:
    answers = iter([0, "", "yes", "later"])
    assert wait_for(lambda: next(answers), interval=0) == "yes"


def test_what_the_condition_raises_ends_the_wait() -> None:
    with pytest.raises(ZeroDivisionError):
        wait_for(lambda: 1 // 0)


def test_giving_up_tells_what_was_expected_and_what_was_seen() -> None:
    with pytest.raises(TimedOut, match=r"no order came \(waited 0\.01 s; last answer: \[\]\)"):
        wait_for(list, 0.01, "no order came", interval=0.001)


def test_a_message_may_be_made_at_the_end() -> None:
    calls: list[int] = []

    def condition() -> bool:
        calls.append(1)
        return False

    with pytest.raises(TimedOut, match=r"asked [1-9]"):
        wait_for(condition, 0.01, lambda: f"asked {len(calls)}", interval=0.001)


def test_a_condition_that_takes_longer_than_the_wait_is_asked_once_more_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times: Iterator[float] = iter([0.0, 0.0, 99.0])
    answers = iter([False, True])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    assert wait_for(lambda: next(answers), 10, interval=0)


def test_patience_stretches_every_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE, "2.5")
    assert patient(4) == 10
    with pytest.raises(TimedOut, match=r"waited 0\.025 s"):
        wait_for(lambda: False, 0.01)


def test_a_free_port_can_be_served_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert server.getsockname()[1] > 1024
