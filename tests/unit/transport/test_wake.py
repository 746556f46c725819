"""When the next look at the store is put off."""

from __future__ import annotations

import pytest

from celeriac.transport import wake
from celeriac.transport.wake import CLOSE, IN_VAIN, PUT_OFF, Restraint


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(wake, "time", clock)
    return clock


def looks(restraint: Restraint, clock: Clock, count: int, *, gap: float = 0.001, found: bool = False) -> list[float]:
    pauses = []
    for _ in range(count):
        clock.now += gap
        pauses.append(restraint.pause(found=found))
    return pauses


def test_looks_in_vain_at_a_busy_file_are_put_off(clock: Clock) -> None:
    pauses = looks(Restraint(), clock, IN_VAIN + 20)
    assert pauses == [0.0] * IN_VAIN + [PUT_OFF] * 20


def test_work_ends_it(clock: Clock) -> None:
    restraint = Restraint()
    looks(restraint, clock, IN_VAIN + 5)
    assert looks(restraint, clock, 1, found=True) == [0.0]
    assert looks(restraint, clock, IN_VAIN - 1) == [0.0] * (IN_VAIN - 1)


def test_a_quiet_file_is_answered_at_once(clock: Clock) -> None:
    restraint = Restraint()
    looks(restraint, clock, IN_VAIN + 5)
    assert looks(restraint, clock, 3 * IN_VAIN, gap=CLOSE * 2) == [0.0] * 3 * IN_VAIN
