"""A server's clock is asked for now and then, and counted on from there."""

from __future__ import annotations

import pytest

from celeriac.errors import StoreUnavailable
from celeriac.store import server_clock
from celeriac.store.server_clock import KEPT, ServerClock


class Here:
    """This machine's clock, which a server's is ahead of; the server may be away."""

    def __init__(self) -> None:
        self.seconds, self.ahead, self.asked, self.away = 100.0, 1000.0, 0, False

    def measure(self) -> float:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("the server", "it is away")
        return self.ahead


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    here = Here()
    monkeypatch.setattr(server_clock, "machine_clock", lambda: here.seconds)
    return here


def test_it_is_counted_on_without_asking(here: Here) -> None:
    clock = ServerClock(here.measure)
    assert clock.now() == 1100.0
    here.seconds += KEPT - 1
    here.ahead = 2000.0
    assert clock.now() == 1100.0 + KEPT - 1
    assert here.asked == 1


def test_it_is_asked_for_again_after_a_while(here: Here) -> None:
    clock = ServerClock(here.measure)
    clock.now()
    here.seconds += KEPT + 1
    here.ahead = 2000.0
    assert clock.now() == 2100.0 + KEPT + 1


def test_the_old_answer_does_while_the_server_is_away(here: Here) -> None:
    """And it is not asked each time, which would take as long as it takes to find that out."""
    clock = ServerClock(here.measure)
    clock.now()
    here.seconds += KEPT + 1
    here.away = True
    assert [clock.now(), clock.now()] == [1100.0 + KEPT + 1] * 2
    assert here.asked == 2


def test_a_server_that_never_answered_has_no_time(here: Here) -> None:
    here.away = True
    with pytest.raises(StoreUnavailable):
        ServerClock(here.measure).now()
