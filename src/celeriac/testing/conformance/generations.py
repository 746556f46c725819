# expected figures are the point of a check
"""Generations: one task id, many messages over time, one live at any moment."""

from __future__ import annotations

import pytest

from celeriac.core.attempt import Outcome, Record
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import (
    Conformance,
    StoreHarness,
    claim,
    claim_one,
    ids,
    publish,
    record,
    run,
    settle,
    state_of,
    take_over,
    task,
)

#: What comes too late for a generation that has ended.
LATE = ("STARTED", "RETRY", "REVOKED", "PROGRESS", "PENDING")


class GenerationConformance(Conformance):
    """(task id, generation) is what is run once."""

    # -- one live message

    def test_a_second_publish_of_a_waiting_task_is_dropped(self, store: Store) -> None:
        publish(store, "a")
        publish(store, task("a", body="second", priority=9))
        assert [got.body for got in claim(store)] == [task("a").body]

    def test_a_second_publish_of_a_running_task_is_dropped(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        held = claim_one(store)
        publish(store, "a", task("a", "other"))
        assert claim(store, "celery", "other") == []
        assert settle(store, held).held
        assert store.sizes() == []

    def test_a_second_publish_of_a_delayed_task_is_dropped(self, harness: StoreHarness, store: Store) -> None:
        publish(store, task("a", run_at=store.now() + 60))
        publish(store, "a")
        assert claim(store) == []

    def test_one_batch_holds_a_task_once(self, store: Store) -> None:
        publish(store, "a", "a", "b", "a")
        assert ids(claim(store)) == ["a", "b"]

    # -- the number

    def test_what_has_settled_and_is_sent_again_is_a_new_generation(self, store: Store) -> None:
        for generation in range(3):
            publish(store, "a")
            held = claim_one(store)
            assert (held.generation, held.settled) == (generation, False)
            assert settle(store, held).held
            assert store.records(["a"])["a"].generation == generation

    @pytest.mark.parametrize(
        "outcome", [Outcome.FAILED, Outcome.DEAD_LETTERED, Outcome.IGNORED, Outcome.REVOKED, Outcome.REPLACED]
    )
    def test_every_end_makes_the_next_one_new(self, store: Store, outcome: Outcome) -> None:
        publish(store, "a")
        run(store, outcome=outcome)
        publish(store, "a")
        again = claim_one(store)
        assert (again.generation, again.settled) == (1, False)

    def test_a_follow_up_under_the_same_id_is_the_next_generation(self, store: Store) -> None:
        publish(store, "a")
        run(store, outcome=Outcome.REPLACED, follow_ups=[task("a", body="replacement", follow_up=True)])
        replacement = claim_one(store)
        assert (replacement.generation, replacement.body, replacement.settled) == (1, "replacement", False)

    def test_a_retry_replaces_its_message(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        due = store.now() + 30
        retry = task("a", "slow", body="again", envelope="[1]", priority=7, run_at=due)
        run(store, outcome=Outcome.RETRY, retry=retry)
        assert (state_of(store, "a"), store.size("celery"), store.size("slow")) == ("RETRY", 0, 1)
        assert store.next_due() == pytest.approx(due)
        harness.pass_time(31)
        again = claim_one(store, "slow")
        assert (again.generation, again.body, again.envelope, again.priority) == (1, "again", "[1]", 7)
        assert again.settled is False
        assert settle(store, again).held
        assert state_of(store, "a") == "SUCCESS"

    def test_a_retry_without_delay_is_ready(self, store: Store) -> None:
        publish(store, "a")
        run(store, outcome=Outcome.RETRY, retry=task("a"))
        assert claim_one(store).generation == 1

    @pytest.mark.parametrize("outcome", [Outcome.SNOOZED, Outcome.REQUEUED])
    def test_putting_off_keeps_the_number(self, store: Store, outcome: Outcome) -> None:
        publish(store, "a")
        run(store, outcome=outcome)
        again = claim_one(store)
        assert (again.generation, again.crashes, store.attempts("a")) == (0, 0, [])

    def test_redelivery_keeps_the_number(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        claim_one(store)
        take_over(harness)
        assert claim_one(store).generation == 0

    def test_forgetting_begins_at_the_beginning(self, store: Store) -> None:
        publish(store, "a")
        run(store)
        store.forget("a")
        assert store.records(["a"]) == {}
        publish(store, "a")
        assert claim_one(store).generation == 0

    def test_a_generation_that_is_over_is_known_at_the_claim(self, store: Store) -> None:
        publish(store, "a")
        run(store)
        publish(store, task("a", generation=0))
        again = claim_one(store)
        assert (again.generation, again.settled) == (0, True)
        assert settle(store, again, Outcome.DUPLICATE).held
        assert (claim(store), state_of(store, "a")) == ([], "SUCCESS")

    # -- who may write

    def test_an_older_generation_settles_nothing(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        zombie = claim_one(store)
        take_over(harness)
        run(store, outcome=Outcome.RETRY, retry=task("a"))
        late = record(zombie, "SUCCESS", result='"zombie"')
        assert not settle(store, zombie, record=late, follow_ups=[task("next")]).held
        assert (state_of(store, "a"), ids(claim(store))) == ("RETRY", ["a"])

    def test_an_older_generation_writes_no_record(self, store: Store) -> None:
        for _ in range(2):
            publish(store, "a")
            run(store)
        publish(store, task("a", generation=0))
        late = claim_one(store)
        settle(store, late, Outcome.FAILED, record=record(late, "FAILURE", result='"late"'))
        assert (state_of(store, "a"), store.records(["a"])["a"].generation) == ("SUCCESS", 1)

    @pytest.mark.parametrize("state", LATE)
    def test_a_closed_generation_is_not_settled_over(self, store: Store, state: str) -> None:
        publish(store, "a")
        run(store)
        publish(store, task("a", generation=0))
        late = claim_one(store)
        settle(store, late, Outcome.IGNORED, record=record(late, state, result='"late"'))
        assert (state_of(store, "a"), store.records(["a"])["a"].result) == ("SUCCESS", None)

    @pytest.mark.parametrize("state", LATE)
    @pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.FAILED])
    def test_a_closed_generation_is_not_stored_over(self, store: Store, outcome: Outcome, state: str) -> None:
        publish(store, "a")
        run(store, outcome=outcome)
        ended = store.records(["a"])["a"]
        store.store(Record("a", 0, state, closed=state == "REVOKED", result='"late"'))
        assert store.records(["a"])["a"] == ended

    def test_a_late_state_does_not_change_what_the_next_publish_is(self, store: Store) -> None:
        publish(store, "a")
        run(store)
        store.store(Record("a", 0, "PROGRESS", closed=False))
        publish(store, "a")
        assert claim_one(store).generation == 1

    def test_a_success_is_not_overwritten_by_hand(self, store: Store) -> None:
        publish(store, "a")
        run(store, record=Record("a", 0, "SUCCESS", closed=True, result="1"))
        store.store(Record("a", 0, "FAILURE", closed=True, result="2"))
        assert store.records(["a"])["a"].result == "1"

    def test_a_failure_may_be_put_right_by_hand(self, store: Store) -> None:
        publish(store, "a")
        run(store, outcome=Outcome.FAILED)
        store.store(Record("a", 0, "SUCCESS", closed=True, result="2"))
        assert (state_of(store, "a"), store.records(["a"])["a"].result) == ("SUCCESS", "2")
