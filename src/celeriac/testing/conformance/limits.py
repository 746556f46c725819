# ruff: noqa: PLR2004  # expected figures are the point of a check
"""Limited messages: as many run at once, and as often, as their limits say, and in turns."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from celeriac.core.attempt import Outcome
from celeriac.core.limits import Bound, Rule, pack
from celeriac.core.message import Adoption, Delivery, TaskMessage
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import (
    LEASE,
    QUEUE,
    Conformance,
    StoreHarness,
    claim,
    claim_one,
    ids,
    publish,
    run,
    settle,
    state_of,
    take_over,
    task,
)


def slots(number: int, value: str = "", name: str = "charge") -> Bound:
    """``Concurrency(number)`` for one value of its key."""
    return Bound(name, value, Rule(slots=number))


def rate(every: float, burst: int = 1, value: str = "", name: str = "rate") -> Bound:
    """One start every so many seconds."""
    return Bound(name, value, Rule(every=every, burst=burst))


def turns(value: str) -> Bound:
    """``FairShare`` for one value of its key."""
    return Bound("turns", value, Rule())


def limited(task_id: str, *bounds: Bound, queue: str = QUEUE, **fields: object) -> TaskMessage:
    """A message with these limits."""
    return task(task_id, queue, limits=pack(bounds), **fields)


class LimitsConformance(Conformance):
    """What starts, and what has to wait."""

    # -- slots

    def test_no_more_run_at_once_than_there_are_slots(self, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(2)) for number in range(5)])
        first = claim(store)
        assert ids(first) == ["0", "1"]
        assert claim(store) == []
        settle(store, first[1])
        assert ids(claim(store)) == ["2"]
        assert claim(store) == []

    def test_a_delivery_says_that_it_is_limited(self, store: Store) -> None:
        publish(store, limited("a", slots(2)), "b")
        assert {got.task_id: got.limited for got in claim(store)} == {"a": True, "b": False}

    def test_each_value_of_the_key_has_slots_of_its_own(self, store: Store) -> None:
        publish(store, *[limited(f"{value}{number}", slots(1, value)) for number in range(3) for value in "ab"])
        assert sorted(map(str, ids(claim(store)))) == ["a0", "b0"]
        assert claim(store) == []

    def test_one_limit_counts_over_queues_and_priorities(self, harness: StoreHarness, store: Store) -> None:
        publish(
            store, limited("a", slots(1), priority=3), limited("b", slots(1)), limited("c", slots(1), queue="other")
        )
        got = claim_one(store)
        assert got.task_id == "a"
        assert claim(harness.open(), "other") == []
        settle(store, got)
        # Whose queue is looked at first gets the slot; that nobody looks at the other's does not hold it up.
        assert ids(claim(harness.open(), "other")) == ["c"]
        assert claim(store) == []

    def test_a_queue_without_a_worker_keeps_nobody_waiting(self, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(1)) for number in range(4)])
        publish(store, *[limited(f"dead{number}", slots(1), queue="dead") for number in range(3)])
        first = claim_one(store)
        # Both queues have looked in vain, and the worker of the one goes away.
        assert (claim(store), claim(store, "dead")) == ([], [])
        settle(store, first)
        assert [run(store).task_id for _ in range(3)] == ["1", "2", "3"]

    @pytest.mark.parametrize(
        "outcome", [Outcome.COMPLETED, Outcome.FAILED, Outcome.DEAD_LETTERED, Outcome.IGNORED, Outcome.REVOKED]
    )
    def test_every_end_gives_the_slot_back(self, store: Store, outcome: Outcome) -> None:
        publish(store, limited("a", slots(1)), limited("b", slots(1)))
        run(store, outcome=outcome)
        assert ids(claim(store)) == ["b"]

    def test_a_retry_waits_without_its_slot_and_needs_one_again(self, harness: StoreHarness, store: Store) -> None:
        publish(store, limited("a", slots(1)), limited("b", slots(1)))
        later = limited("a", slots(1), run_at=store.now() + 60)
        run(store, outcome=Outcome.RETRY, retry=later)
        b = claim_one(store)
        assert b.task_id == "b"
        harness.pass_time(61)
        store.extend([b.lease], LEASE)
        assert claim(store) == []
        settle(store, b)
        assert [(got.task_id, got.generation) for got in claim(store)] == [("a", 1)]

    def test_what_is_put_off_waits_without_its_slot(self, harness: StoreHarness, store: Store) -> None:
        publish(store, limited("a", slots(1)), limited("b", slots(1)))
        run(store, outcome=Outcome.SNOOZED, snooze_until=store.now() + 60)
        b = claim_one(store)
        assert b.task_id == "b"
        harness.pass_time(LEASE - 1)
        store.extend([b.lease], 120)
        harness.pass_time(60)
        assert claim(store) == []
        settle(store, b)
        assert ids(claim(store)) == ["a"]

    @pytest.mark.parametrize("way", ["release", "hand_back", "ack", "reject"])
    def test_every_way_out_of_a_lease_gives_the_slot_back(self, store: Store, way: str) -> None:
        publish(store, limited("a", slots(1)), limited("b", slots(1)))
        lease = claim_one(store).lease
        if way == "reject":
            store.reject(lease, "undecodable", "ValueError", "no JSON")
        else:
            getattr(store, way)([lease])
        assert len(claim(store)) == 1
        assert claim(store) == []

    def test_a_vanished_workers_slot_is_free_when_its_lease_is_over(self, harness: StoreHarness, store: Store) -> None:
        publish(store, limited("a", slots(1)), limited("b", slots(1)))
        claim_one(store)
        assert claim(store) == []
        take_over(harness)
        got = claim_one(store)
        assert (got.task_id, got.suspect) == ("a", True)
        assert claim(store) == []

    def test_a_suspect_needs_a_slot_too(self, harness: StoreHarness, store: Store) -> None:
        publish(store, limited("a", slots(1)))
        got = claim_one(store)
        take_over(harness, started=[got])
        publish(store, limited("b", slots(1, name="charge")), "plain")
        # The suspect goes alone; while it has the slot nobody else has it.
        again = claim_one(store)
        assert (again.task_id, again.crashes) == ("a", 1)
        assert ids(claim(store)) == ["plain"]
        settle(store, again)
        assert ids(claim(store)) == ["b"]

    def test_a_suspect_that_may_not_start_holds_up_nobody(self, harness: StoreHarness, store: Store) -> None:
        publish(store, limited("a", slots(1)))
        claim_one(store)
        take_over(harness)
        store.publish([limited("holder", slots(1), queue="first")])
        # It crashes and is a suspect again, and its slot is given to another.
        suspect = claim_one(store)
        store.release([suspect.lease], crashed=True)
        holder = claim_one(store, "first")
        publish(store, "plain")
        assert ids(claim(store)) == ["plain"]
        settle(store, holder)
        assert ids(claim(store)) == ["a"]

    def test_what_nobody_holds_any_more_settles_nothing_and_frees_nothing(
        self, harness: StoreHarness, store: Store
    ) -> None:
        publish(store, limited("a", slots(1)), limited("b", slots(1)))
        stale = claim_one(store)
        take_over(harness)
        again = claim_one(store)
        assert not settle(store, stale).held
        assert claim(store) == []
        assert settle(store, again).held
        assert ids(claim(store)) == ["b"]

    def test_delayed_messages_come_to_their_lane_when_they_are_due(self, harness: StoreHarness, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(1), run_at=store.now() + 10) for number in range(2)])
        assert claim(store) == []
        harness.pass_time(11)
        assert ids(claim(store)) == ["0"]
        assert claim(store) == []

    # -- several limits

    def test_all_limits_of_a_message_must_let_it_start(self, store: Store) -> None:
        everybody = slots(3, name="everybody")
        for number in range(4):
            publish(store, *[limited(f"{value}{number}", slots(2, value), everybody) for value in "ab"])
        got = claim(store)
        assert len(got) == 3
        assert max(Counter(str(item.task_id)[0] for item in got).values()) == 2
        assert claim(store) == []
        settle(store, got[0])
        assert len(claim(store)) == 1

    def test_a_slot_that_one_cannot_use_goes_to_another(self, store: Store) -> None:
        everybody = slots(2, name="all")
        publish(store, limited("x", everybody), limited("a0", everybody, slots(1, "a")))
        x, a0 = sorted(claim(store), key=lambda item: item.task_id != "x")
        publish(store, limited("a1", everybody, slots(1, "a")))
        assert claim(store) == []
        publish(store, limited("b", everybody, slots(1, "b")))
        assert claim(store) == []
        # The next in turn is "a1", which waits for "a0" besides.
        settle(store, x)
        assert ids(claim(store)) == ["b"]
        settle(store, a0)
        assert ids(claim(store)) == ["a1"]

    def test_everything_runs_once_whatever_ends_when(self, store: Store) -> None:
        rng = random.Random(7)  # noqa: S311  # a run that can be repeated
        bounds = [[slots(2, value), slots(3, name="everybody"), turns(value)] for value in "abcd"]
        publish(
            store, *[limited(f"{number}", *rng.choice(bounds), priority=rng.choice([0, 5])) for number in range(60)]
        )
        running: list[Delivery] = []
        seen: Counter[str | None] = Counter()
        for _ in range(1000):
            running += claim(store, limit=rng.randint(1, 4))
            assert len(running) <= 3
            if not running:
                break
            done = running.pop(rng.randrange(len(running)))
            if rng.random() < 0.2:
                store.release([done.lease])
            else:
                settle(store, done)
                seen[done.task_id] += 1
        assert len(seen) == 60
        assert set(seen.values()) == {1}

    # -- rates

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

    # -- turns

    def test_one_with_many_keeps_nobody_waiting(self, store: Store) -> None:
        publish(store, *[limited(f"many{number}", turns("many")) for number in range(300)])
        claim(store, limit=10)
        publish(store, *[limited(f"few{number}", turns("few")) for number in range(3)])
        got = [claim_one(store).task_id for _ in range(8)]
        assert {f"few{number}" for number in range(3)} <= set(got)

    def test_each_has_its_turn_in_one_claim(self, store: Store) -> None:
        for value in "abc":
            publish(store, *[limited(f"{value}{number}", turns(value)) for number in range(20)])
        got = claim(store, limit=9)
        assert Counter(str(item.task_id)[0] for item in got) == {"a": 3, "b": 3, "c": 3}

    def test_a_lanes_messages_go_in_their_order(self, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(9)) for number in range(20)])
        assert ids(claim(store, limit=9)) == [f"{number}" for number in range(9)]

    def test_higher_priorities_go_first(self, store: Store) -> None:
        publish(store, *[limited(f"low{number}", turns("a")) for number in range(5)], "plain")
        publish(store, limited("high", turns("a"), priority=7))
        assert claim_one(store).task_id == "high"
        publish(store, task("higher", priority=9))
        assert claim_one(store).task_id == "higher"

    def test_limited_and_other_messages_of_a_queue_share_it(self, store: Store) -> None:
        publish(store, *[f"plain{number}" for number in range(50)])
        publish(store, *[limited(f"limited{number}", turns("a")) for number in range(50)])
        got = [str(item.task_id)[:5] for item in claim(store, limit=20)]
        assert Counter(got) == {"plain": 10, "limit": 10}

    # -- beside a broker that is no store

    def test_a_broker_is_given_what_may_start(self, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(2)) for number in range(4)], "plain")
        given = store.take_for_relay(64, 10)
        assert sorted(map(str, ids(given))) == ["0", "1", "plain"]
        store.relayed([item.lease for item in given], 100)
        assert store.take_for_relay(64, 10) == []
        [held] = store.adopt([limited("0", slots(2))], owner="worker", lease=LEASE)
        assert isinstance(held, Delivery)
        assert (held.task_id, held.limited) == ("0", True)
        assert store.take_for_relay(64, 10) == []
        settle(store, held)
        assert ids(store.take_for_relay(64, 10)) == ["2"]

    def test_what_the_broker_was_given_in_vain_keeps_its_slot(self, harness: StoreHarness, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(1)) for number in range(2)])
        store.relayed([item.lease for item in store.take_for_relay(64, 10)], 100)
        harness.pass_time(101)
        assert ids(store.take_for_relay(64, 10)) == ["0"]

    def test_a_limited_message_that_the_broker_delivers_waits_in_the_ledger(self, store: Store) -> None:
        [first, second] = store.adopt([limited("a", slots(1)), limited("b", slots(1))], owner="worker", lease=LEASE)
        assert (first, second) == (Adoption.DELAYED, Adoption.DELAYED)
        assert ids(store.take_for_relay(64, 10)) == ["a"]

    def test_a_suspect_is_given_to_the_broker_when_it_has_a_slot(self, harness: StoreHarness, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(1)) for number in range(3)])
        [given] = store.take_for_relay(64, 10)
        store.relayed([given.lease], 100)
        store.adopt([limited("0", slots(1))], owner="worker", lease=LEASE)
        take_over(harness)
        assert [(item.task_id, item.suspect) for item in store.take_for_relay(64, 10)] == [("0", True)]
        assert store.take_for_relay(64, 10) == []

    # -- changing one's mind

    def test_the_limits_that_are_declared_now_count(self, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(1)) for number in range(5)])
        store.rules = {"charge": Rule(slots=3)}
        assert len(claim(store)) == 3

    def test_what_came_without_limits_is_sent_to_its_lane(self, store: Store) -> None:
        publish(store, limited("a", slots(1)), task("b", priority=9))
        b = claim_one(store)
        assert b.task_id == "b"
        assert store.hold(b.lease, pack([slots(1)]))
        assert not store.hold(b.lease, pack([slots(1)]))
        got = claim_one(store)
        assert got.task_id == "b"
        assert claim(store) == []
        settle(store, got)
        assert ids(claim(store)) == ["a"]

    # -- looked at, purged, revoked

    def test_what_waits_for_its_limits_is_counted_as_such(self, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(1)) for number in range(3)])
        claim_one(store)
        [size] = store.sizes()
        assert (size.ready, size.claimed, size.extra["limited"]) == (0, 1, 2)
        assert store.size(QUEUE) == 2
        assert claim(store) == []
        [lane] = store.lanes(10)
        assert (lane.queue, lane.waiting, lane.blocked_on) == (QUEUE, 2, slots(1).bucket)
        assert store.taken().get(slots(1).bucket) == 1

    def test_a_purge_drops_what_waits_in_lanes(self, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(1)) for number in range(3)])
        got = claim_one(store)
        assert store.purge(QUEUE) == 2
        settle(store, got)
        publish(store, limited("next", slots(1)))
        assert ids(claim(store)) == ["next"]

    def test_what_is_revoked_ends_without_a_slot(self, store: Store) -> None:
        publish(store, limited("a", slots(1)), limited("b", slots(1)))
        claim_one(store)
        assert store.revoke(["b"], keep=60) == ["b"]
        got = claim_one(store)
        assert (got.task_id, got.revoked) == ("b", True)
        settle(store, got, Outcome.REVOKED)
        assert state_of(store, "b") == "REVOKED"

    def test_many_lanes_are_served_and_forgotten(self, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(1, f"{number}")) for number in range(200)])
        seen: set[str | None] = set()
        while got := claim(store, limit=32):
            seen.update(ids(got))
            for item in got:
                settle(store, item)
        assert len(seen) == 200
        assert store.lanes(10) == []
        assert store.taken() == {}
