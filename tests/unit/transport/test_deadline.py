"""The one deadline under every wait of the AMQP client's."""

from __future__ import annotations

import threading

import pytest

from celeriac.transport.rabbitmq.deadline import DeadlineExceeded, bounded, within


def test_without_one_a_wait_is_as_long_as_it_was() -> None:
    assert bounded(None) is None
    assert bounded(600) == 600


def test_one_wait_takes_half_of_the_time_so_that_another_can_be_begun() -> None:
    with within(100):
        assert bounded(None) == 50
        assert bounded(600) == 50
        assert bounded(3) == 3
    assert bounded(None) is None


def test_a_wait_takes_what_is_left_where_that_is_less(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with within(100):
        now[0] += 70
        assert bounded(None) == 30
        now[0] += 30
        with pytest.raises(DeadlineExceeded):
            bounded(1)


def test_one_inside_another_gives_no_more_time_and_takes_none_away() -> None:
    with within(2):
        with within(100):
            assert (bounded(600) or 0) <= 1
        assert (bounded(600) or 0) <= 1
    assert bounded(None) is None


def test_it_is_over_also_when_the_block_raises() -> None:
    with pytest.raises(ZeroDivisionError), within(1):
        raise ZeroDivisionError
    assert bounded(None) is None


def test_it_is_of_one_thread() -> None:
    seen: list[float | None] = []
    with within(1):
        other = threading.Thread(target=lambda: seen.append(bounded(None)))
        other.start()
        other.join()
    assert seen == [None]
