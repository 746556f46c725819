# ruff: noqa: PLR2004  # expected figures are the point of a check
"""How far tasks have come, and what is gone on with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celeriac.core.attempt import DeadLetterFilter, Outcome
from celeriac.core.checkpoint import Checkpoint
from celeriac.core.message import Adoption, Delivery
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import (
    ME,
    Conformance,
    StoreHarness,
    claim,
    claim_one,
    id_of,
    ids,
    publish,
    record,
    run,
    settle,
    take_over,
    task,
)

CURSORS = '{"rows": {"cursor": 7}}'


def at(delivery: Delivery, cursors: str | None = CURSORS, done: float = 7, **fields: object) -> Checkpoint:
    return replace(Checkpoint(id_of(delivery), done, cursors=cursors), **fields)  # type: ignore[arg-type]


def found(store: Store, task_id: str = "a") -> Checkpoint:
    known = store.checkpoints([task_id])
    assert task_id in known
    return known[task_id]


def prune(store: Store, *, attempts_before: float | None = None) -> None:
    now = store.now()
    store.prune(
        now, attempts_before=now - 3600 if attempts_before is None else attempts_before, dead_letters_before=None
    )


class CheckpointsConformance(Conformance):
    """Progress and cursors: whose they are, and how long."""

    def test_nothing_is_known_of_who_has_said_nothing(self, store: Store) -> None:
        publish(store, "a")
        run(store)
        assert store.checkpoints(["a", "never"]) == {}

    def test_what_was_saved_is_read_by_all(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a", "b")
        delivery = claim_one(store)
        before = store.now()
        saved = at(delivery, '{"größe 🥬": 1}', 2.5, total=10, note="hälfte")
        assert store.save_checkpoint(delivery.lease, saved)
        known = harness.open().checkpoints(["a", "b"])
        assert known.keys() == {"a"}
        assert replace(known["a"], at=0) == replace(saved, token=delivery.lease.token)
        assert known["a"].at == pytest.approx(before, abs=5)

    def test_progress_alone_leaves_the_cursors(self, store: Store) -> None:
        publish(store, "a")
        delivery = claim_one(store)
        assert store.save_checkpoint(delivery.lease, at(delivery))
        assert store.save_checkpoint(delivery.lease, at(delivery, None, 9, note="more"))
        assert (found(store).cursors, found(store).done, found(store).note) == (CURSORS, 9, "more")
        assert found(store).token == delivery.lease.token

    def test_progress_alone_says_nothing_of_who_moved_the_cursors(self, store: Store) -> None:
        publish(store, "a")
        first = claim_one(store)
        store.save_checkpoint(first.lease, at(first))
        store.release([first.lease])
        second = claim_one(store)
        store.save_checkpoint(second.lease, at(second, None, 9))
        assert found(store).token == first.lease.token != second.lease.token

    def test_who_has_lost_the_lease_saves_nothing(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        zombie = claim_one(store)
        take_over(harness, started=[zombie])
        assert not store.save_checkpoint(zombie.lease, at(zombie))
        assert store.checkpoints(["a"]) == {}
        heir = claim_one(store)
        assert store.save_checkpoint(heir.lease, at(heir, done=8))
        assert not store.save_checkpoint(zombie.lease, at(zombie, done=9))
        assert found(store).done == 8

    def test_who_has_lost_the_lease_clears_no_crashes(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        zombie = claim_one(store)
        take_over(harness, started=[zombie])
        store.save_checkpoint(zombie.lease, at(zombie), absolve=True)
        assert claim_one(store).crashes == 1

    def test_a_zombies_settlement_moves_no_cursor(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        zombie = claim_one(store)
        take_over(harness, started=[zombie])
        assert not settle(store, zombie, Outcome.SNOOZED, checkpoint=at(zombie)).held
        assert store.checkpoints(["a"]) == {}

    # -- crashes

    def test_crashes_before_a_checkpoint_count_no_more(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        take_over(harness, started=[claim_one(store)])
        suspect = claim_one(store)
        assert suspect.crashes == 1
        assert store.save_checkpoint(suspect.lease, at(suspect), absolve=True)
        store.release([suspect.lease], crashed=True, error="again")
        assert claim_one(store).crashes == 1

    def test_without_that_they_count(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        take_over(harness, started=[claim_one(store)])
        suspect = claim_one(store)
        store.save_checkpoint(suspect.lease, at(suspect))
        store.release([suspect.lease], crashed=True, error="again")
        assert claim_one(store).crashes == 2

    # -- settled

    def test_the_next_run_finds_what_this_one_settled_with(self, store: Store) -> None:
        publish(store, "a")
        snoozed = claim_one(store)
        settle(store, snoozed, Outcome.SNOOZED, checkpoint=at(snoozed))
        assert found(store).cursors == CURSORS
        retried = claim_one(store)
        settle(store, retried, Outcome.RETRY, retry=task("a"), checkpoint=at(retried, '"further"', 8))
        assert (found(store).cursors, found(store).done) == ('"further"', 8)
        again = claim_one(store)
        assert again.generation == 1
        assert found(store).token == retried.lease.token

    def test_success_leaves_the_progress_and_no_cursors(self, store: Store) -> None:
        publish(store, "a")
        delivery = claim_one(store)
        store.save_checkpoint(delivery.lease, at(delivery))
        settle(store, delivery, checkpoint=at(delivery, '"end"', 10, total=10))
        assert (found(store).cursors, found(store).done, found(store).total) == (None, 10, 10)

    @pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.REVOKED, Outcome.IGNORED, Outcome.REPLACED])
    def test_what_is_over_is_not_gone_on_with(self, store: Store, outcome: Outcome) -> None:
        publish(store, "a")
        delivery = claim_one(store)
        store.save_checkpoint(delivery.lease, at(delivery))
        settle(store, delivery, outcome)
        assert (found(store).cursors, found(store).done) == (None, 7)

    def test_a_dead_letter_keeps_its_cursors_for_a_redrive(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        delivery = claim_one(store)
        store.save_checkpoint(delivery.lease, at(delivery))
        settle(store, delivery, Outcome.DEAD_LETTERED, record=record(delivery, "FAILURE", expires_at=store.now() + 60))
        harness.pass_time(7200)
        prune(store)
        assert found(store).cursors == CURSORS
        [letter] = store.dead_letters(DeadLetterFilter())
        store.redrive(letter, task("a"), ME)
        prune(store)
        assert found(store).cursors == CURSORS

    def test_a_redrive_from_the_start_forgets_them(self, store: Store) -> None:
        publish(store, "a")
        delivery = claim_one(store)
        settle(store, delivery, Outcome.DEAD_LETTERED, checkpoint=at(delivery))
        [letter] = store.dead_letters(DeadLetterFilter())
        store.redrive(letter, task("a"), ME, from_start=True)
        assert found(store).cursors is None

    # -- pruned

    def test_it_goes_with_the_record_of_its_task(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a", "b")
        for delivery in claim(store):
            ends = store.now() + (60 if delivery.task_id == "a" else 600)
            settle(store, delivery, record=record(delivery, expires_at=ends), checkpoint=at(delivery))
        prune(store)
        assert store.checkpoints(["a", "b"]).keys() == {"a", "b"}
        harness.pass_time(61)
        prune(store)
        assert store.checkpoints(["a", "b"]).keys() == {"b"}

    def test_what_waits_or_runs_keeps_it_however_long(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        delivery = claim_one(store, lease=1e9)
        store.save_checkpoint(delivery.lease, at(delivery))
        harness.pass_time(1e6)
        prune(store)
        assert found(store).cursors == CURSORS

    def test_it_goes_with_a_dead_letter_that_was_purged(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        delivery = claim_one(store)
        ended = record(delivery, "FAILURE", expires_at=store.now() + 60)
        settle(store, delivery, Outcome.DEAD_LETTERED, record=ended, checkpoint=at(delivery))
        harness.pass_time(7200)
        prune(store)
        [letter] = store.dead_letters(DeadLetterFilter())
        store.purge_dead_letters([letter.id], ME)
        harness.pass_time(7200)
        prune(store)
        assert store.checkpoints(["a"]) == {}

    def test_it_goes_with_what_was_purged(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        delivery = claim_one(store)
        settle(store, delivery, Outcome.SNOOZED, checkpoint=at(delivery))
        store.purge("celery")
        harness.pass_time(86_400 * 2)
        prune(store)
        assert store.checkpoints(["a"]) == {}

    def test_it_is_forgotten_with_the_result(self, store: Store) -> None:
        publish(store, "a")
        delivery = claim_one(store)
        settle(store, delivery, checkpoint=at(delivery))
        store.forget("a")
        assert store.checkpoints(["a"]) == {}

    # -- given way

    def test_what_gives_way_waits_behind_all_that_waits_now(self, store: Store) -> None:
        publish(store, "long", "b", "c")
        settle(store, claim_one(store), Outcome.SNOOZED, behind=True)
        publish(store, "d")
        assert ids(claim(store)) == ["b", "c", "long", "d"]
        assert store.records(["long"])["long"].snoozes == 0
        assert store.attempts("long") == []

    def test_what_is_handed_back_otherwise_keeps_its_place(self, store: Store) -> None:
        publish(store, "long", "b")
        settle(store, claim_one(store), Outcome.SNOOZED)
        assert ids(claim(store)) == ["long", "b"]

    def test_the_lease_of_who_gave_way_is_nobodys(self, store: Store) -> None:
        publish(store, "a")
        old = claim_one(store)
        settle(store, old, Outcome.SNOOZED, behind=True)
        new = claim_one(store)
        assert new.lease.token > old.lease.token
        assert not settle(store, old).held
        assert settle(store, new).held
        publish(store, "b")
        assert claim_one(store).lease.message_id not in (old.lease.message_id, new.lease.message_id)

    def test_a_higher_priority_goes_before_it_still(self, store: Store) -> None:
        publish(store, task("long", priority=5), task("low"))
        settle(store, claim_one(store), Outcome.SNOOZED, behind=True)
        assert ids(claim(store)) == ["long", "low"]

    def test_its_slots_are_free_when_it_gives_way(self, store: Store) -> None:
        limits = '[["one", "", 1, null, null]]'
        publish(store, task("long", limits=limits), task("b", limits=limits))
        first = claim(store)
        assert ids(first) == ["long"]
        settle(store, first[0], Outcome.SNOOZED, behind=True, limited=True)
        second = claim(store)
        assert ids(second) == ["b"]
        settle(store, second[0], limited=True)
        assert ids(claim(store)) == ["long"]

    def test_it_can_be_revoked_and_purged_then(self, store: Store) -> None:
        publish(store, "long", "b")
        settle(store, claim_one(store), Outcome.SNOOZED, behind=True)
        store.revoke(["long"], 60)
        [b, long] = claim(store)
        assert (b.revoked, long.revoked) == (False, True)
        settle(store, long, Outcome.SNOOZED, behind=True)
        assert store.purge("celery") == 1
        assert store.size("celery") == 0

    def test_beside_another_broker_the_relay_gives_it_out(self, store: Store) -> None:
        [got] = store.adopt([task("a")], owner="worker", lease=30)
        assert not isinstance(got, Adoption)
        settle(store, got, Outcome.SNOOZED, behind=True, checkpoint=at(got))
        assert ids(store.take_for_relay(10, 30)) == ["a"]
        [again] = store.adopt([task("a")], owner="worker", lease=30)
        assert not isinstance(again, Adoption)
        assert found(store).cursors == CURSORS
