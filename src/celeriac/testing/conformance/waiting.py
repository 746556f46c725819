"""What a store is besides its data: where it is, its clocks, and how it wakes who waits."""

from __future__ import annotations

import threading
import time

import pytest

from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import Conformance, StoreHarness, claim, ids, publish

#: Seconds from a commit to the waking of who waits for it: usually, and on a busy machine.
PROMPT, SOON = 0.03, 0.5
LONG = 30.0


class WaitingConformance(Conformance):
    """``mark``, ``wait``, clocks, and life after ``close``."""

    def test_a_commit_of_another_process_wakes(self, harness: StoreHarness, store: Store) -> None:
        other = harness.open()
        delays = sorted(_wake(store, other, f"{number}") for number in range(9))
        assert delays[len(delays) // 2] < PROMPT
        assert delays[-1] < SOON

    def test_a_commit_between_mark_and_wait_is_not_missed(self, harness: StoreHarness, store: Store) -> None:
        mark = store.mark()
        publish(harness.open(), "a")
        _returns_at_once(store, mark)

    def test_its_own_commit_wakes_as_well(self, store: Store) -> None:
        mark = store.mark()
        publish(store, "a")
        _returns_at_once(store, mark)

    def test_a_commit_is_not_missed_when_connections_are_opened_anew(self, harness: StoreHarness, store: Store) -> None:
        """Connections close round every fork."""
        mark = store.mark()
        store.close()
        for number in range(5):
            publish(harness.open(), f"{number}")
            _returns_at_once(store, mark)
            mark = store.mark()
            store.close()

    @pytest.mark.parametrize("timeout", [0.0, 0.05, 0.3])
    def test_a_wait_ends_with_its_time_out(self, store: Store, timeout: float) -> None:
        mark = store.mark()
        begun = time.monotonic()
        assert store.wait(timeout, mark) == mark
        assert timeout <= time.monotonic() - begun < timeout + SOON

    def test_a_wait_ends_though_nothing_more_happens(self, harness: StoreHarness, store: Store) -> None:
        publish(harness.open(), "a")
        assert store.wait(0.05, store.mark()) == store.mark()

    def test_clocks_go_forward(self, harness: StoreHarness, store: Store) -> None:
        before = store.now(), store.lease_now()
        harness.pass_time(100)
        after = store.now(), store.lease_now()
        assert [late - early for early, late in zip(before, after, strict=True)] == pytest.approx([100, 100], abs=5)

    def test_clocks_are_everybodys(self, harness: StoreHarness, store: Store) -> None:
        other = harness.open()
        assert other.lease_now() == pytest.approx(store.lease_now(), abs=5)
        assert other.now() == pytest.approx(time.time(), abs=60)

    def test_all_stores_on_the_data_are_one_ledger(self, harness: StoreHarness, store: Store) -> None:
        other, keeper = harness.open(), store.keeper()
        assert store.uuid == other.uuid == keeper.uuid
        assert store.location == other.location == keeper.location
        publish(store, "a")
        assert ids(claim(keeper)) == ["a"]
        keeper.close()

    def test_a_closed_store_opens_again_when_used(self, store: Store) -> None:
        publish(store, "a")
        store.close()
        store.close()
        assert ids(claim(store)) == ["a"]


def _wake(store: Store, other: Store, name: str) -> float:
    """Seconds from a commit of ``other`` until ``store``, which waits idly, is awake."""
    done: list[float] = []

    def commit() -> None:
        publish(other, name)
        done.append(time.monotonic())

    mark = store.mark()
    timer = threading.Timer(0.15, commit)
    timer.start()
    assert store.wait(LONG, mark) != mark
    awake = time.monotonic()
    timer.join()
    return awake - done[0]


def _returns_at_once(store: Store, mark: int) -> None:
    begun = time.monotonic()
    assert store.wait(10 * SOON, mark) != mark
    assert time.monotonic() - begun < SOON
