# expected figures are the point of a check
"""Leases: who holds a message may settle it, nobody else; what a vanished holder had comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from celeriac.core.attempt import Outcome, Settlement
from celeriac.core.message import Delivery, Reclaimed, TaskMessage
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import (
    LEASE,
    TASK,
    Conformance,
    StoreHarness,
    claim,
    claim_one,
    id_of,
    ids,
    key,
    publish,
    record,
    run,
    settle,
    settlement,
    state_of,
    take_over,
    task,
)

#: More than any store takes back in one transaction.
MANY = 1_100
OTHER_WORKER = "another worker"

#: What only a holder may do; each is true only when the store says that it was done.
Use = Callable[[Store, Delivery], object]
_USES: dict[str, Use] = {
    "settle": lambda store, held: settle(store, held).held,
    "settle-retry": lambda store, held: settle(store, held, Outcome.RETRY, retry=task(id_of(held))).held,
    "settle-snooze": lambda store, held: settle(store, held, Outcome.SNOOZED, snooze_until=store.now() + 5).held,
    "bury": lambda store, held: settle(store, held, Outcome.DEAD_LETTERED).held,
    "ack": lambda store, held: store.ack([held.lease]),
    "extend": lambda store, held: store.extend([held.lease], LEASE) == [],
    "release": lambda store, held: store.release([held.lease]) == [held.lease],
    "crash": lambda store, held: store.release([held.lease], crashed=True, error="died") == [held.lease],
    "start": lambda store, held: store.start(held.lease),
    "park": lambda store, held: store.park(held.lease),
    "reject": lambda store, held: store.reject(held.lease, "rejected", "Reject", "no"),
}


class LeaseConformance(Conformance):
    """Leases, fencing, reclaim."""

    # -- the fencing token

    @pytest.mark.parametrize("use", _USES)
    def test_a_stale_token_does_nothing_to_the_next_holder(self, harness: StoreHarness, store: Store, use: str) -> None:
        publish(store, task("a", key=key()))
        stale = claim_one(store)
        take_over(harness)
        held = claim_one(store, owner=OTHER_WORKER)
        assert not _USES[use](store, stale)
        assert (state_of(store, "a"), store.attempts("a")) == ("PENDING", [])
        assert claim(store) == []
        assert settle(store, held, key=key()).held
        assert state_of(store, "a") == "SUCCESS"

    @pytest.mark.parametrize("use", _USES)
    def test_a_token_dies_with_the_reclaim(self, harness: StoreHarness, store: Store, use: str) -> None:
        publish(store, "a")
        stale = claim_one(store)
        take_over(harness)
        assert not _USES[use](store, stale)
        held = claim_one(store)
        assert (held.crashes, held.suspect, held.generation) == (0, True, 0)

    def test_a_zombie_prolongs_nobodys_lease(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        stale = claim_one(store)
        take_over(harness)
        claim_one(store, owner=OTHER_WORKER)
        harness.pass_time(LEASE - 1)
        assert store.extend([stale.lease], 1_000.0) == [stale.lease]
        harness.pass_time(2)
        assert len(store.reclaim()) == 1

    def test_a_settled_lease_settles_no_more(self, store: Store) -> None:
        publish(store, "a")
        held = claim_one(store)
        assert settle(store, held).held
        assert not settle(store, held, record=record(held, result='"second"')).held
        assert store.records(["a"])["a"].result is None

    def test_one_lease_settles_once_in_a_batch(self, store: Store) -> None:
        publish(store, "a")
        held = claim_one(store)
        both = [_settlement(held, "first"), _settlement(held, "second")]
        assert [answer.held for answer in store.settle(both)] == [True, False]
        assert store.records(["a"])["a"].result == "first"

    def test_a_lost_lease_costs_its_neighbours_nothing(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a", "b", "c")
        a, b, c = claim(store)
        store.release([b.lease])
        claim_one(store, owner=OTHER_WORKER)
        answers = store.settle([_settlement(item, "ok") for item in (a, b, c)])
        assert [answer.held for answer in answers] == [True, False, True]
        assert [state_of(store, name) for name in "abc"] == ["SUCCESS", "PENDING", "SUCCESS"]

    # -- renewed, run out, handed back

    def test_a_live_lease_is_not_reclaimed(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a", "b")
        kept, lost = claim(store)
        harness.pass_time(LEASE - 5)
        assert store.extend([kept.lease], LEASE) == []
        harness.pass_time(10)
        assert len(store.reclaim()) == 1
        assert ids(claim(store)) == [lost.task_id]
        assert store.extend([kept.lease, lost.lease], LEASE) == [lost.lease]

    def test_renewing_nothing_is_fine(self, store: Store) -> None:
        assert store.extend([], LEASE) == []
        store.release([])
        store.ack([])
        assert store.settle([]) == []

    def test_a_lease_that_ran_out_holds_until_someone_takes_it(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        held = claim_one(store)
        harness.pass_time(LEASE + 60)
        assert settle(store, held).held

    def test_what_comes_back_is_named_and_whether_it_had_begun(self, harness: StoreHarness, store: Store) -> None:
        store.publish([task("a"), task("b"), TaskMessage("celery", "[{}, {}, null, null]", "a reply")])
        held = claim(store)
        store.start(held[1].lease)
        harness.pass_time(LEASE + 1)
        found = [Reclaimed("a", TASK, False), Reclaimed("b", TASK, True), Reclaimed(None, None, False)]
        assert sorted(store.reclaim(), key=lambda one: one.task_id or "z") == found

    def test_everything_a_vanished_worker_held_comes_back(self, harness: StoreHarness, store: Store) -> None:
        publish(store, *[f"{number}" for number in range(MANY)])
        claim(store, limit=MANY)
        harness.pass_time(LEASE + 1)
        assert len(store.reclaim()) == MANY
        assert store.reclaim() == []
        assert store.size("celery") == MANY

    def test_released_messages_are_ready_at_once_in_their_place(self, store: Store) -> None:
        publish(store, "a", "b")
        first = claim_one(store)
        store.release([first.lease])
        again = claim_one(store)
        assert again.task_id == "a"
        assert (again.generation, again.crashes, again.suspect) == (0, 0, False)
        assert again.lease.token > first.lease.token

    @pytest.mark.parametrize("crashed", [False, True])
    def test_a_release_says_what_was_still_held(self, store: Store, crashed: bool) -> None:
        publish(store, "over", "runs")
        over, runs = claim(store)
        settle(store, over)
        assert store.release([over.lease, runs.lease], crashed=crashed) == [runs.lease]
        assert store.release([over.lease, runs.lease], crashed=crashed) == []

    def test_a_stepped_wall_clock_ends_no_lease(self, store: Store) -> None:
        publish(store, "a")
        held = claim_one(store)
        for step in (+86_400.0, -86_400.0):
            with _stepped(step):
                assert store.reclaim() == []
                assert store.extend([held.lease], LEASE) == []
        assert settle(store, held).held

    def test_a_stores_clock_that_is_set_back_takes_nothing_from_who_renews(
        self, harness: StoreHarness, store: Store
    ) -> None:
        publish(store, "renewed", "lost")
        renewed, lost = claim(store)
        harness.pass_time(-600)
        for _ in range(3):
            assert store.extend([renewed.lease], LEASE) == []
            harness.pass_time(LEASE - 1)
            assert store.reclaim() == []
        store.extend([renewed.lease], LEASE)
        harness.pass_time(600)
        store.extend([renewed.lease], LEASE)
        assert len(store.reclaim()) == 1
        assert ids(claim(store)) == [lost.task_id]
        assert settle(store, renewed).held

    # -- crashes

    def test_a_run_that_was_marked_counts_as_a_crash(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        take_over(harness, started=[claim_one(store)])
        again = claim_one(store)
        assert (again.crashes, again.suspect) == (1, True)
        [attempt] = store.attempts("a")
        assert (attempt.outcome, attempt.worker, attempt.generation) == ("crashed", "worker", 0)
        assert attempt.started_at is not None

    def test_a_neighbour_that_never_ran_counts_nothing(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "ran", "waited")
        ran, _ = claim(store)
        take_over(harness, started=[ran])
        crashes = {found.task_id: found.crashes for found in (claim_one(store), claim_one(store))}
        assert crashes == {"ran": 1, "waited": 0}
        assert store.attempts("waited") == []

    def test_the_mark_is_that_deliverys_alone(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        take_over(harness, started=[claim_one(store)])
        claim_one(store)
        take_over(harness)
        assert claim_one(store).crashes == 1

    def test_a_death_that_was_seen_counts_unmarked_too(self, store: Store) -> None:
        publish(store, "a")
        store.release([claim_one(store).lease], crashed=True, error="signal 11")
        again = claim_one(store)
        assert (again.crashes, again.suspect) == (1, True)
        assert [attempt.error for attempt in store.attempts("a")] == ["signal 11"]

    def test_a_retry_begins_to_count_anew(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        take_over(harness, started=[claim_one(store)])
        run(store, outcome=Outcome.RETRY, retry=task("a"))
        again = claim_one(store)
        assert (again.crashes, again.suspect, again.generation) == (0, False, 1)

    # -- suspects

    def test_suspects_come_one_by_one_and_before_others(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a", "b", "c")
        claim(store, limit=2)
        take_over(harness)
        batches = [claim(store) for _ in range(3)]
        assert [ids(batch) for batch in batches] == [["a"], ["b"], ["c"]]
        assert [batch[0].suspect for batch in batches] == [True, True, False]

    def test_a_suspect_of_another_queue_is_in_nobodys_way(self, harness: StoreHarness, store: Store) -> None:
        publish(store, task("suspect", "other"))
        claim(store, "other")
        take_over(harness)
        publish(store, "a", "b")
        assert ids(claim(store)) == ["a", "b"]
        assert ids(claim(store, "celery", "other")) == ["suspect"]

    def test_a_busy_pool_takes_them(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        take_over(harness, started=[claim_one(store)])
        assert ids(claim(store, idle=False)) == ["a"]

    def test_the_last_chance_is_shared_with_nobody(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        _crash_twice(harness, store)
        publish(store, "bystander")
        assert store.last_chances(["celery"])
        assert not store.last_chances(["other"])
        assert ids(claim(store, idle=False)) == ["bystander"]
        [last] = claim(store, idle=True)
        assert (last.task_id, last.crashes) == ("a", 2)
        assert not store.last_chances(["celery"])

    def test_one_behind_it_that_has_more_chances_does_not_wait_for_it(
        self, harness: StoreHarness, store: Store
    ) -> None:
        publish(store, "a")
        _crash_twice(harness, store)
        publish(store, task("b", "other"))
        take_over(harness, started=[claim_one(store, "other")])
        assert ids(claim(store, "celery", "other", idle=False)) == ["b"]

    def test_how_many_chances_there_are_is_the_callers_to_say(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        take_over(harness, started=[claim_one(store)])
        assert store.last_chances(["celery"], 1)
        assert not store.last_chances(["celery"], 2)
        assert store.claim(["celery"], 1, owner="worker", lease=30, idle=False, last_chance=1) == []
        assert ids(store.claim(["celery"], 1, owner="worker", lease=30, idle=False, last_chance=2)) == ["a"]

    def test_what_has_begun_is_not_handed_back(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "waiting", "begun", "gone")
        waiting, begun, gone = claim(store)
        assert store.start(begun.lease)
        assert settle(store, gone).held
        assert store.hand_back([waiting.lease, begun.lease, gone.lease]) == [begun.lease]
        [again] = claim(store)
        assert (again.task_id, again.crashes, again.suspect) == ("waiting", 0, False)
        # Whoever had it queued finds that it is no longer his.
        assert not store.start(waiting.lease)
        assert settle(store, begun).held

    @pytest.mark.parametrize("way", ["released", "requeued", "snoozed"])
    def test_who_crashed_stays_a_suspect_when_handed_back(self, harness: StoreHarness, store: Store, way: str) -> None:
        publish(store, "a")
        _crash_twice(harness, store)
        publish(store, "bystander")
        _hand_back(store, claim_one(store), way)
        harness.pass_time(2)
        [again] = claim(store)
        assert (again.task_id, again.crashes, again.suspect) == ("a", 2, True)


def _settlement(held: Delivery, result: str) -> Settlement:
    return settlement(held, record=record(held, result=result))


@contextmanager
def _stepped(seconds: float) -> Iterator[None]:
    real = time.time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: real() + seconds)
        yield


def _crash_twice(harness: StoreHarness, store: Store) -> None:
    for _ in range(2):
        take_over(harness, started=[claim_one(store)])


def _hand_back(store: Store, held: Delivery, way: str) -> None:
    if way == "released":
        store.release([held.lease])
    elif way == "requeued":
        assert settle(store, held, Outcome.REQUEUED).held
    else:
        assert settle(store, held, Outcome.SNOOZED, snooze_until=store.now() + 1).held
