# expected figures are the point of a check
"""Settlements: everything the end of an attempt means, in one transaction or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celeriac.core.attempt import DeadLetterFilter, Failure, Outcome, Record, Settlement
from celeriac.core.message import Delivery
from celeriac.errors import StoreError
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import (
    Conformance,
    StoreHarness,
    claim,
    claim_one,
    ids,
    key,
    part,
    publish,
    record,
    run,
    settle,
    settlement,
    state_of,
    task,
)

ALL = DeadLetterFilter()
ENDS = (Outcome.COMPLETED, Outcome.FAILED, Outcome.DEAD_LETTERED, Outcome.IGNORED, Outcome.REVOKED, Outcome.REPLACED)


class SettleConformance(Conformance):
    """``Ledger.settle``."""

    # -- what each outcome leaves behind

    def test_success_leaves_a_record_alone(self, store: Store) -> None:
        publish(store, "a")
        held = claim_one(store)
        full = record(
            held, "SUCCESS", name="shop.charge", queue="celery", worker="w", retries=2, started_at=1.5,
            finished_at=2.5, result='"paid"', traceback=None, meta="{}", expires_at=store.now() + 60,
        )  # fmt: skip
        assert settle(store, held, record=full).held
        assert store.records(["a"]) == {"a": full}
        assert (store.attempts("a"), store.count_dead_letters(ALL), store.sizes()) == ([], 0, [])

    @pytest.mark.parametrize("result", [None, "", '"ä"', b"\x00\xff", "x" * 1_000_000])
    def test_results_are_kept_as_they_are(self, store: Store, result: str | bytes | None) -> None:
        publish(store, "a")
        held = claim_one(store)
        settle(store, held, record=record(held, result=result))
        assert store.records(["a"])["a"].result == result

    @pytest.mark.parametrize("outcome", ENDS)
    def test_every_end_deletes_the_message(self, store: Store, outcome: Outcome) -> None:
        publish(store, "a")
        run(store, outcome=outcome)
        assert (claim(store), store.sizes()) == ([], [])

    @pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.DEAD_LETTERED, Outcome.RETRY])
    def test_what_did_not_succeed_is_history(self, store: Store, outcome: Outcome) -> None:
        publish(store, "a")
        retry = task("a") if outcome is Outcome.RETRY else None
        held = claim_one(store)
        why = Failure("permanent", "builtins.ValueError", "bad order", "Traceback …")
        settle(store, held, outcome, failure=why, retry=retry, worker="w1", started_at=12.5)
        [attempt] = store.attempts("a")
        assert (attempt.outcome, attempt.worker, attempt.started_at) == (outcome.value, "w1", 12.5)
        assert (attempt.error_type, attempt.error, attempt.traceback) == (why.error_type, why.error, why.traceback)
        assert (attempt.task_id, attempt.generation) == ("a", 0)
        assert attempt.finished_at == pytest.approx(store.now(), abs=5)

    def test_history_is_told_oldest_first(self, store: Store) -> None:
        publish(store, "a")
        for number in range(3):
            held = claim_one(store)
            settle(store, held, Outcome.RETRY, retry=task("a"), failure=Failure("retry", "E", f"{number}"))
        run(store, outcome=Outcome.FAILED, failure=Failure("declared", "E", "3"))
        assert [(found.generation, found.error) for found in store.attempts("a")] == [(n, f"{n}") for n in range(4)]

    def test_a_snoozed_message_waits_until_its_time(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        run(store, outcome=Outcome.SNOOZED, snooze_until=store.now() + 20)
        assert claim(store) == []
        harness.pass_time(21)
        assert ids(claim(store)) == ["a"]

    def test_a_requeued_message_is_ready(self, store: Store) -> None:
        publish(store, "a")
        run(store, outcome=Outcome.REQUEUED)
        assert ids(claim(store)) == ["a"]

    @pytest.mark.parametrize("outcome", [Outcome.UNSETTLED, Outcome.LEASE_LOST])
    def test_what_is_not_settled_is_not_acknowledged(
        self, harness: StoreHarness, store: Store, outcome: Outcome
    ) -> None:
        publish(store, "a")
        with pytest.raises(ValueError, match=outcome.value):
            settle(store, claim_one(store), outcome)
        harness.pass_time(60)
        assert len(store.reclaim()) == 1

    # -- with it

    def test_follow_ups_and_other_records_come_with_it(self, store: Store) -> None:
        publish(store, "a")
        run(
            store,
            follow_ups=[task("next", follow_up=True), task("late", follow_up=True, run_at=store.now() + 60)],
            others=[Record("tail", 0, "FAILURE", closed=True)],
        )
        assert (ids(claim(store)), store.size("celery")) == (["next"], 1)
        assert state_of(store, "tail") == "FAILURE"

    def test_a_follow_up_is_sent_once_though_settled_twice(self, store: Store) -> None:
        publish(store, "a")
        held = claim_one(store)
        for expected in (True, False):
            assert settle(store, held, follow_ups=[task("next", follow_up=True)]).held is expected
        assert ids(claim(store)) == ["next"]

    def test_the_record_of_an_other_is_not_older_than_its_message(self, store: Store) -> None:
        publish(store, "tail")
        run(store)
        publish(store, "tail", task("a", "head"))
        run(store, "head", others=[Record("tail", 0, "FAILURE", closed=True)])
        assert store.records(["tail"])["tail"].generation == 1

    # -- whole

    @pytest.mark.parametrize("outcome", [*ENDS, Outcome.RETRY])
    def test_a_settlement_is_whole_or_nothing(self, harness: StoreHarness, store: Store, outcome: Outcome) -> None:
        publish(store, task("a", key=key()))
        held = claim_one(store)
        whole = _full(held, outcome)
        broken = replace(whole, follow_ups=[*whole.follow_ups, harness.unstorable()])
        with pytest.raises(StoreError):
            store.settle([broken])
        assert _traces(store) == _UNTOUCHED
        assert store.settle([whole])[0].held
        assert ids(claim(store, "next")) == ["next"]

    def test_a_batch_is_one_transaction(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a", "b")
        a, b = claim(store)
        with pytest.raises(StoreError):
            store.settle([settlement(a), settlement(b, follow_ups=[harness.unstorable()])])
        assert (state_of(store, "a"), state_of(store, "b")) == ("PENDING", "PENDING")
        assert [answer.held for answer in store.settle([settlement(a), settlement(b)])] == [True, True]

    def test_a_lost_lease_writes_nothing_at_all(self, store: Store) -> None:
        publish(store, task("a", key=key()))
        held = claim_one(store)
        store.release([held.lease])
        for outcome in (*ENDS, Outcome.RETRY):
            assert not store.settle([_full(held, outcome)])[0].held
        claim_one(store)
        assert _traces(store) == _UNTOUCHED

    def test_a_settlement_survives_its_process(self, harness: StoreHarness) -> None:
        first = harness.open()
        publish(first, "a")
        run(first, follow_ups=[task("next", follow_up=True)])
        first.close()
        again = harness.open()
        assert (state_of(again, "a"), ids(claim(again))) == ("SUCCESS", ["next"])


#: What `_traces` says while nothing of the attempt has been written.
_UNTOUCHED = {
    "state": "PENDING",
    "attempts": 0,
    "letters": 0,
    "sizes": [("celery", 0, 0, 1)],
    "other": None,
    "chord": (None, []),
    "duplicate_of": "a",
}


def _full(held: Delivery, outcome: Outcome) -> Settlement:
    """A settlement that writes to every corner of the store."""
    return settlement(
        held,
        outcome,
        key=key(),
        retry=task("a", "retries") if outcome is Outcome.RETRY else None,
        follow_ups=[task("next", "next", follow_up=True)],
        others=[Record("other", 0, "FAILURE", closed=True)],
        chord=[part("group", "a")],
    )


def _traces(store: Store) -> dict[str, object]:
    [answer] = publish(store, task("second", "second", key=key()))
    return {
        "state": state_of(store, "a"),
        "attempts": len(store.attempts("a")),
        "letters": store.count_dead_letters(ALL),
        "sizes": [(size.queue, size.ready, size.delayed, size.claimed) for size in store.sizes()],
        "other": state_of(store, "other"),
        "chord": store.chord_parts("group"),
        "duplicate_of": answer.duplicate_of,
    }
