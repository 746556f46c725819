"""Timers of ended tasks are dropped; the living ones fire in order."""

from __future__ import annotations

import time

from kombu.asynchronous.timer import Timer

from celeriac.worker import timers
from celeriac.worker.timers import WORTH, sweep


def test_cancelled_timers_go_and_the_others_stay_in_order() -> None:
    timer = Timer()
    fired: list[int] = []
    kept = [timer.call_after(3600 + number, fired.append, (number,)) for number in (3, 1, 2)]
    for _ in range(WORTH):
        timer.cancel(timer.call_after(1800, fired.append, (0,)))
    assert sweep(timer) == WORTH
    assert len(timer) == len(kept)
    assert [item.entry.args[0] for item in sorted(timer._queue)] == [1, 2, 3]


def test_few_are_left_where_they_are() -> None:
    timer = Timer()
    timer.cancel(timer.call_after(1800, print))
    assert sweep(timer) == 0
    assert len(timer) == 1


def test_many_living_ones_are_no_reason() -> None:
    timer = Timer()
    for _ in range(WORTH + 1):
        timer.call_after(1800, print)
    assert sweep(timer) == 0
    assert len(timer) == WORTH + 1


def test_who_only_sleeps_keeps_no_worker_from_ending() -> None:
    timer = timers.Timer(max_interval=20.0)
    timer.call_after(20.0, print)
    before = time.monotonic()
    timer.stop()
    assert time.monotonic() - before < 10.0
