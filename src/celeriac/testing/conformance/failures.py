# expected figures are the point of a check
"""Failures of which nobody has heard are kept until somebody has."""

from __future__ import annotations

import pytest

from celeriac.core.attempt import DeadLetterFilter, Failure, Outcome, Record
from celeriac.core.desk import By, Verb
from celeriac.core.message import Delivery
from celeriac.store.protocols import Store
from celeriac.testing.conformance.desk import again, bury
from celeriac.testing.conformance.harness import (
    ME,
    Conformance,
    StoreHarness,
    claim_one,
    publish,
    record,
    run,
    settle,
    task,
)

ALL = DeadLetterFilter()


def fail(store: Store, task_id: str, error: str = "refused", **fields: object) -> Delivery:
    """A failure that the task itself has declared: no dead letter."""
    queue = str(fields.pop("queue", "celery"))
    publish(store, task(task_id, queue))
    why = Failure("declared", "builtins.OSError", error)
    return run(store, queue, outcome=Outcome.FAILED, failure=why, **fields)


def unread(store: Store, chosen: DeadLetterFilter = ALL) -> list[str]:
    """The task ids of those that match."""
    failures = [failure.task_id for failure in store.unread_failures(chosen)]
    assert store.count_unread_failures(chosen) == len(failures)
    return failures


class FailureConformance(Conformance):
    """Written with the failure; gone when its result is read, when a person says so, when it is a failure no more."""

    def test_a_failure_is_unread(self, store: Store) -> None:
        publish(store, task("a", "payments"))
        delivery = claim_one(store, "payments")
        ended = record(delivery, "FAILURE", name="shop.charge", queue="payments", worker="w1")
        why = Failure("permanent", "builtins.OSError", "refused")
        settle(store, delivery, Outcome.DEAD_LETTERED, record=ended, failure=why)
        [failure] = store.unread_failures(ALL)
        assert (failure.task_id, failure.generation, failure.name, failure.queue, failure.worker) == (
            "a",
            0,
            "shop.charge",
            "payments",
            "w1",
        )
        assert (failure.error_type, failure.error) == ("builtins.OSError", "refused")
        assert failure.failed_at == pytest.approx(store.now(), abs=5)

    @pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.IGNORED, Outcome.REVOKED, Outcome.RETRY])
    def test_no_other_end_is_one(self, store: Store, outcome: Outcome) -> None:
        publish(store, "a")
        run(store, outcome=outcome, **({"retry": task("a")} if outcome is Outcome.RETRY else {}))
        assert unread(store) == []

    def test_one_that_is_told_otherwise_is_none(self, store: Store) -> None:
        publish(store, "a")
        delivery = claim_one(store)
        settle(store, delivery, Outcome.FAILED, record=record(delivery, "FAILURE", told=True))
        assert unread(store) == []

    def test_what_no_worker_can_take_is_one(self, store: Store) -> None:
        publish(store, "a")
        store.reject(claim_one(store).lease, "unknown-task", "NotRegistered", "shop.charge")
        [failure] = store.unread_failures(ALL)
        assert (failure.task_id, failure.error_type, failure.error) == ("a", "NotRegistered", "shop.charge")

    def test_the_end_of_another_task_is_one_too(self, store: Store) -> None:
        publish(store, "a")
        body = Record("body", 0, "FAILURE", closed=True, error_type="ChordError", error="a member failed")
        run(store, outcome=Outcome.FAILED, others=[body])
        assert sorted(unread(store)) == ["a", "body"]
        [failure] = [one for one in store.unread_failures(ALL) if one.task_id == "body"]
        assert (failure.error_type, failure.error) == ("ChordError", "a member failed")

    def test_a_failure_that_comes_too_late_is_none(self, store: Store) -> None:
        publish(store, "a")
        run(store)
        store.store(Record("a", 0, "FAILURE", closed=True))
        assert unread(store) == []

    # -- no more

    def test_who_reads_the_result_has_heard(self, store: Store) -> None:
        for name in ("a", "b", "c"):
            fail(store, name)
        store.failures_read(["a", "c", "unknown"])
        store.failures_read([])
        assert unread(store) == ["b"]
        assert store.actions() == [], "a program reads results all day long"

    def test_a_person_says_so_and_it_is_in_the_log(self, store: Store) -> None:
        for name in ("a", "b"):
            fail(store, name)
        anna = By("anna@laptop", "known")
        assert store.acknowledge_failures(["a", "unknown"], anna) == 1
        assert store.acknowledge_failures(["a"], anna) == 0
        assert unread(store) == ["b"]
        [line] = store.actions()
        assert (line.who, line.verb, line.task_id, line.letter_id, line.note) == (
            "anna@laptop",
            Verb.READ,
            "a",
            None,
            "known",
        )

    @pytest.mark.parametrize("deed", ["acknowledged", "redriven", "purged"])
    def test_who_deals_with_its_dead_letter_has_heard(self, store: Store, deed: str) -> None:
        letter = bury(store, "a")
        assert unread(store) == ["a"]
        if deed == "acknowledged":
            store.acknowledge_dead_letters([letter.id], ME)
        elif deed == "redriven":
            store.redrive(letter, again(letter), ME)
        else:
            store.purge_dead_letters([letter.id], ME)
        assert unread(store) == []

    def test_one_that_was_sent_again_and_succeeds_is_none_any_more(self, store: Store) -> None:
        fail(store, "a")
        publish(store, "a")
        run(store)
        assert unread(store) == []

    def test_one_that_fails_again_is_one_with_its_last_error(self, store: Store) -> None:
        fail(store, "a", "first")
        store.failures_read(["a"])
        fail(store, "a", "second")
        fail(store, "a", "third")
        [failure] = store.unread_failures(ALL)
        assert (failure.generation, failure.error) == (2, "third")

    def test_a_failure_that_is_put_right_is_none(self, store: Store) -> None:
        fail(store, "a")
        store.store(Record("a", 0, "SUCCESS", closed=True))
        assert unread(store) == []

    def test_a_forgotten_one_is_none(self, store: Store) -> None:
        fail(store, "a")
        store.forget("a")
        assert unread(store) == []

    # -- found

    def test_filters_choose_by_every_condition(self, harness: StoreHarness, store: Store) -> None:
        fail_in(store, "old", "payments", "Refused by bank")
        harness.pass_time(100)
        fail_in(store, "new", "mail", "timeout")
        assert unread(store, DeadLetterFilter(queue="pay*")) == ["old"]
        assert unread(store, DeadLetterFilter(error="REFUSED")) == ["old"]
        assert unread(store, DeadLetterFilter(error="oserror: time")) == ["new"]
        assert unread(store, DeadLetterFilter(older_than=50)) == ["old"]
        assert unread(store, DeadLetterFilter(newer_than=50)) == ["new"]
        assert unread(store, DeadLetterFilter(task="shop.*", newer_than=50)) == ["new"]
        assert unread(store, DeadLetterFilter(task="shop")) == []

    def test_many_are_read_page_by_page_and_the_newest_by_their_number(
        self, harness: StoreHarness, store: Store
    ) -> None:
        for number in range(7):
            fail(store, f"{number}")
            harness.pass_time(1)
        everything = [f"{number}" for number in range(7)]
        assert [one.task_id for one in store.unread_failures(ALL, batch=2)] == everything
        assert [one.task_id for one in store.unread_failures(ALL, newest=3)] == ["4", "5", "6"]

    def test_they_may_go_while_they_are_listed(self, store: Store) -> None:
        for number in range(7):
            fail(store, f"{number}")
        seen = []
        for failure in store.unread_failures(ALL, batch=2):
            seen.append(failure.task_id)
            store.failures_read([failure.task_id])
        assert (sorted(seen), unread(store)) == ([f"{n}" for n in range(7)], [])

    # -- kept

    def test_one_is_kept_as_long_as_history_or_its_letter(self, harness: StoreHarness, store: Store) -> None:
        fail(store, "declared")
        bury(store, "buried")
        harness.pass_time(1_000)
        fail(store, "new")
        now = store.now()
        store.prune(now, attempts_before=now - 500, dead_letters_before=None)
        assert sorted(unread(store)) == ["buried", "new"]
        store.prune(now, attempts_before=now - 500, dead_letters_before=now - 500)
        assert unread(store) == ["new"]

    def test_one_outlives_its_result(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        delivery = claim_one(store)
        ended = record(delivery, "FAILURE", expires_at=store.now() + 10)
        settle(store, delivery, Outcome.FAILED, record=ended)
        harness.pass_time(100)
        store.prune(store.now(), attempts_before=0.0, dead_letters_before=None)
        assert (store.records(["a"]), unread(store)) == ({}, ["a"])


def fail_in(store: Store, task_id: str, queue: str, error: str) -> None:
    """A failure whose record says where it ran."""
    publish(store, task(task_id, queue))
    delivery = claim_one(store, queue)
    ended = record(delivery, "FAILURE", name="shop.charge", queue=queue)
    settle(store, delivery, Outcome.FAILED, record=ended, failure=Failure("declared", "builtins.OSError", error))
