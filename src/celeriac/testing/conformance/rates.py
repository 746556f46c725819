# ruff: noqa: PLR2004  # expected figures are the point of a check
"""Rates: so many starts in so much time."""

from __future__ import annotations

import pytest

from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import (
    Conformance,
    StoreHarness,
    claim,
    claim_one,
    ids,
    publish,
    settle,
)
from celeriac.testing.conformance.limits import limited, rate, slots


class RatesConformance(Conformance):
    """When what starts may start."""

    def test_a_rate_spreads_starts(self, harness: StoreHarness, store: Store) -> None:
        publish(store, *[limited(f"{number}", rate(10)) for number in range(3)])
        assert ids(claim(store)) == ["0"]
        assert claim(store) == []
        harness.pass_time(9)
        assert claim(store) == []
        harness.pass_time(1.5)
        assert ids(claim(store)) == ["1"]
        assert claim(store) == []

    def test_a_burst_may_come_at_once_and_comes_back_with_time(self, harness: StoreHarness, store: Store) -> None:
        publish(store, *[limited(f"{number}", rate(10, burst=3)) for number in range(9)])
        assert len(claim(store)) == 3
        harness.pass_time(20.5)
        assert len(claim(store)) == 2
        harness.pass_time(1000)
        assert len(claim(store)) == 3

    def test_who_waits_for_a_rate_is_told_when(self, store: Store) -> None:
        publish(store, *[limited(f"{number}", rate(100)) for number in range(2)])
        assert store.next_due() is None
        claim(store)
        claim(store)
        due = store.next_due()
        assert due is not None
        assert 90 < due - store.now() < 101

    def test_a_rate_and_slots_together(self, harness: StoreHarness, store: Store) -> None:
        publish(store, *[limited(f"{number}", rate(10, burst=2), slots(1)) for number in range(4)])
        first = claim_one(store)
        assert claim(store) == []
        settle(store, first)
        second = claim_one(store)
        settle(store, second)
        assert claim(store) == []
        harness.pass_time(10.5)
        assert ids(claim(store)) == ["2"]

    @pytest.mark.parametrize("crashed", [False, True], ids=["waiting", "suspect"])
    def test_what_expired_as_it_waited_takes_no_slot_and_no_start(
        self, harness: StoreHarness, store: Store, crashed: bool
    ) -> None:
        bounds = rate(60, burst=2), slots(1)
        publish(store, *[limited(f"old{number}", *bounds, expires_at=store.now() + 30) for number in range(4)])
        if crashed:
            store.release([item.lease for item in claim(store)], crashed=True)
        publish(store, limited("live", *bounds), limited("next", *bounds))
        harness.pass_time(200)  # whatever was started is forgotten
        got: list[str | None] = []
        while claimed := claim(store):
            got += ids(claimed)
        # The slot and one of the two starts; none of those that are over is settled yet.
        assert sorted(map(str, got)) == ["live", "old0", "old1", "old2", "old3"]
        assert store.taken().get(slots(1).bucket) == 1

    def test_what_expired_gives_its_turn_to_the_next_beside_another_broker_too(
        self, harness: StoreHarness, store: Store
    ) -> None:
        bounds = rate(60), slots(1)
        publish(store, *[limited(f"old{number}", *bounds, expires_at=store.now() + 30) for number in range(3)])
        publish(store, limited("live", *bounds), limited("next", *bounds))
        harness.pass_time(31)
        got: list[str | None] = []
        while given := store.take_for_relay(64, 10):
            store.relayed([item.lease for item in given], 100)
            got += ids(given)
        assert sorted(map(str, got)) == ["live", "old0", "old1", "old2"]
        assert store.taken().get(slots(1).bucket) == 1

    def test_what_expired_and_is_handed_back_gives_back_nothing(self, harness: StoreHarness, store: Store) -> None:
        publish(
            store, limited("old", slots(1), expires_at=store.now() + 30), limited("a", slots(1)), limited("b", slots(1))
        )
        harness.pass_time(31)
        got = {item.task_id: item for item in [*claim(store), *claim(store)]}
        assert sorted(map(str, got)) == ["a", "old"]
        store.release([got["old"].lease])
        assert store.taken().get(slots(1).bucket) == 1
        settle(store, got["a"])
        again = [*claim(store), *claim(store)]
        assert sorted(map(str, ids(again))) == ["b", "old"]
        assert store.taken().get(slots(1).bucket) == 1

    # -- a clock that was set back

    def test_a_clock_that_was_set_back_holds_no_rate_up_for_longer_than_a_start(
        self, harness: StoreHarness, store: Store
    ) -> None:
        publish(store, *[limited(f"{number}", rate(10)) for number in range(3)])
        publish(store, *[limited(f"hourly{number}", rate(3600, name="hourly")) for number in range(2)])
        assert sorted(map(str, ids(claim(store)))) == ["0", "hourly0"]
        assert claim(store) == []
        harness.pass_time(-600)
        store.look_again()
        claim(store)
        harness.pass_time(10.5)
        assert ids(claim(store)) == ["1"]
        assert claim(store) == []
        harness.pass_time(3600)
        assert sorted(map(str, ids(claim(store)))) == ["2", "hourly1"]

    def test_looking_again_lets_nothing_start_that_waits_its_time(self, store: Store) -> None:
        publish(store, *[limited(f"{number}", rate(10)) for number in range(2)])
        claim(store)
        claim(store)
        store.look_again()
        assert claim(store) == []
        due = store.next_due()
        assert due is not None
        assert due > store.now() + 5
