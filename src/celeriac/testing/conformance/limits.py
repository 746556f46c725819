# ruff: noqa: PLR2004  # expected figures are the point of a check
"""Limited messages: as many run at once as their limits say."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from celeriac.core.attempt import Outcome
from celeriac.core.limits import Bound, Rule, pack
from celeriac.core.message import Delivery, TaskMessage
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
