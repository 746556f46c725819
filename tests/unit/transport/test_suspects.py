"""When a busy worker begins nothing new for a suspect's sake."""

from __future__ import annotations

import pytest

from celeriac.transport import suspects
from celeriac.transport.suspects import LOOK, PASS, WAIT, MakeWay


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(suspects, "time", clock)
    return clock


def held_back(way: MakeWay, clock: Clock, seconds: float, *, waits: bool) -> list[bool]:
    answers = []
    for _ in range(int(seconds)):
        answers.append(way.holds_back(lambda: waits))
        clock.now += LOOK
    return answers


def test_nobody_waits_for_nothing(clock: Clock) -> None:
    assert held_back(MakeWay(), clock, 200, waits=False) == [False] * 200


def test_others_pass_and_wait_in_turn(clock: Clock) -> None:
    turn = [False] * int(PASS) + [True] * int(WAIT)
    assert held_back(MakeWay(), clock, 2 * (PASS + WAIT), waits=True) == turn * 2


def test_it_is_over_when_the_suspect_has_been_taken(clock: Clock) -> None:
    way = MakeWay()
    assert held_back(way, clock, PASS + 1, waits=True)[-1]
    assert held_back(way, clock, 5, waits=False) == [False] * 5
    assert held_back(way, clock, 5, waits=True) == [False] * 5


def test_the_store_is_asked_once_a_second(clock: Clock) -> None:
    way, asked = MakeWay(), 0

    def waits() -> bool:
        nonlocal asked
        asked += 1
        return True

    for _ in range(100):
        way.holds_back(waits)
        clock.now += LOOK / 10
    assert 10 <= asked <= 11
