# ruff: noqa: PLR2004  # expected figures are the point of a check
"""Messages that wait: accepted whole, claimed in order, each by one."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from celeriac.core.message import Delivery, QueueSize, TaskMessage
from celeriac.errors import StoreError
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import (
    QUEUE,
    Conformance,
    StoreHarness,
    claim,
    claim_one,
    ids,
    publish,
    run,
    state_of,
    task,
)

#: More than any store deletes in one transaction.
MANY = 1_200


class QueueConformance(Conformance):
    """``MessageQueue`` without leases."""

    # -- accepted

    def test_a_message_arrives_as_it_was_sent(self, store: Store) -> None:
        sent = task("a", body="[[7], {}, {}]", envelope='[{"id": "a"}, {}, "application/json", "utf-8"]', priority=4)
        [answer] = publish(store, sent)
        assert (answer.task_id, answer.duplicate_of) == ("a", None)
        got = claim_one(store)
        assert (got.queue, got.envelope, got.body, got.priority) == (QUEUE, sent.envelope, sent.body, 4)
        assert (got.task_id, got.generation, got.crashes) == ("a", 0, 0)
        assert (got.suspect, got.revoked, got.settled) == (False, False, False)

    @pytest.mark.parametrize("body", ["", "żółw ☃ \x00 \N{PILE OF POO}", b"", b"\x00\xff" * 5, b"x" * 3_000_000])
    def test_bodies_of_every_kind_are_kept(self, store: Store, body: str | bytes) -> None:
        publish(store, task("a", body=body))
        assert claim_one(store).body == body

    def test_messages_that_are_no_tasks_are_not_told_apart(self, store: Store) -> None:
        publish(store, *[TaskMessage("replies", "[{}, {}, null, null]", str(number)) for number in range(3)])
        assert [got.body for got in claim(store, "replies")] == ["0", "1", "2"]

    def test_all_or_none_is_accepted(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "before")
        with pytest.raises(StoreError):
            publish(store, task("a"), harness.unstorable(), task("b"))
        assert ids(claim(store)) == ["before"]
        publish(store, "a")
        assert ids(claim(store)) == ["a"]

    def test_nothing_may_be_published(self, store: Store) -> None:
        assert store.publish([]) == []

    def test_hundreds_at_once_are_each_what_they_are_alone(self, store: Store) -> None:
        publish(store, "40", "205")
        sent = [
            task(
                f"{number}",
                priority=number % 3,
                generation=number % 5,
                body=f"{number} ☃",
                run_at=1e12 if number == 7 else None,
            )
            for number in range(230)
        ]
        answers = store.publish([*sent, task("100", generation=0)])
        assert [number for number, answer in enumerate(answers) if answer.live] == [40, 205, 230]
        taken = [delivery for _ in range(5) for delivery in claim(store)]
        order = sorted(
            range(230),
            key=lambda number: (-(number % 3 if number not in {40, 205} else 0), number not in {40, 205}, number),
        )
        assert ids(taken) == [str(number) for number in order if number != 7]
        assert all(
            (found.body, found.generation) == (f"{found.task_id} ☃", int(found.task_id or 0) % 5)
            for found in taken
            if found.task_id not in {"40", "205"}
        )

    def test_what_one_process_accepted_every_other_sees(self, harness: StoreHarness, store: Store) -> None:
        other = harness.open()
        publish(store, "a")
        assert ids(claim(other)) == ["a"]
        assert claim(store) == []

    def test_what_is_sent_ahead_is_published_in_order_where_a_store_can(self, store: Store) -> None:
        publish(store, "b")
        first = store.publish_ahead([task("a"), task("b")], None)
        if first is None:
            assert store.size(QUEUE) == 1
            return
        second = store.publish_ahead([task("c"), task("a")], first)
        assert second is not None
        assert [one.live for one in first.published()] == [False, True]
        assert [one.live for one in second.published()] == [False, True]
        third = store.publish_ahead([task("d")], second)
        assert third is not None
        third.abandon()
        publish(store, "e")
        assert [name for name in ids(claim(store)) if name != "d"] == ["b", "a", "c", "e"]

    # -- order

    def test_higher_priorities_go_first_then_arrival(self, store: Store) -> None:
        for name, priority in (("low", 0), ("mid-1", 5), ("top-1", 9), ("mid-2", 5), ("top-2", 9)):
            publish(store, task(name, priority=priority))
        assert ids(claim(store)) == ["top-1", "top-2", "mid-1", "mid-2", "low"]

    def test_order_holds_over_claims_as_well(self, store: Store) -> None:
        publish(store, *[task(f"{priority}", priority=priority) for priority in range(10)])
        claimed = [claim_one(store).task_id for _ in range(10)]
        assert claimed == [str(priority) for priority in reversed(range(10))]

    def test_queues_are_emptied_in_the_order_given(self, store: Store) -> None:
        publish(store, task("b1", "b", priority=9), task("a1", "a"), task("b2", "b"), task("c1", "c", priority=9))
        assert ids(claim(store, "a", "b")) == ["a1", "b1", "b2"]
        assert ids(claim(store, "b", "c", "a")) == ["c1"]

    def test_a_claim_is_limited_over_all_its_queues(self, store: Store) -> None:
        publish(store, *[task(f"a{n}", "a") for n in range(3)], *[task(f"b{n}", "b") for n in range(3)])
        first = claim(store, "a", "b", limit=4)
        assert ids(first) == ["a0", "a1", "a2", "b0"]
        assert [got.batch for got in first] == [4] * 4
        assert ids(claim(store, "a", "b", limit=4)) == ["b1", "b2"]

    def test_an_unknown_queue_is_empty(self, store: Store) -> None:
        publish(store, "a")
        assert claim(store, "unheard-of") == []
        assert claim(store, "unheard-of", QUEUE)[0].task_id == "a"

    def test_a_claimed_message_is_nobody_elses(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a", "b")
        claim(store, limit=1)
        assert ids(claim(harness.open())) == ["b"]

    # -- delayed

    def test_a_delayed_message_waits_until_it_is_due(self, harness: StoreHarness, store: Store) -> None:
        due = store.now() + 100
        publish(store, task("later", run_at=due, priority=9), task("now"))
        assert store.next_due() == pytest.approx(due)
        assert ids(claim(store)) == ["now"]
        harness.pass_time(99)
        assert claim(store) == []
        harness.pass_time(2)
        assert ids(claim(store)) == ["later"]
        assert store.next_due() is None

    def test_a_time_in_the_past_is_now(self, store: Store) -> None:
        publish(store, task("late", run_at=store.now() - 5))
        assert ids(claim(store)) == ["late"]

    def test_due_messages_have_their_priority(self, harness: StoreHarness, store: Store) -> None:
        publish(
            store, *[task(f"{p}", priority=p, run_at=store.now() + 10 - p) for p in (1, 8, 3)], task("5", priority=5)
        )
        harness.pass_time(11)
        assert ids(claim(store)) == ["8", "5", "3", "1"]

    def test_due_times_are_kept_by_the_store_alone(self, harness: StoreHarness) -> None:
        first = harness.open()
        due = first.now() + 50
        publish(first, task("later", run_at=due))
        first.close()
        again = harness.open()
        assert again.next_due() == pytest.approx(due)
        assert claim(again) == []
        harness.pass_time(51)
        assert ids(claim(again)) == ["later"]

    def test_the_earliest_of_many_is_due_next(self, store: Store) -> None:
        now = store.now()
        publish(store, *[task(f"{n}", f"queue-{n}", run_at=now + n) for n in (30, 10, 20)])
        assert store.next_due() == pytest.approx(now + 10)

    # -- counted and dropped

    def test_size_counts_what_waits(self, store: Store) -> None:
        publish(store, "a", "b", task("later", run_at=store.now() + 60), task("elsewhere", "other"))
        assert (store.size(QUEUE), store.size("other"), store.size("unheard-of")) == (3, 1, 0)
        claim_one(store)
        assert store.size(QUEUE) == 2

    def test_sizes_tell_what_each_queue_holds(self, harness: StoreHarness, store: Store) -> None:
        assert store.sizes() == []
        publish(store, "a", "b", task("later", run_at=store.now() + 60), task("x", "other"))
        claim_one(store, "other")
        harness.pass_time(20)
        sizes = {size.queue: size for size in store.sizes()}
        assert _counts(sizes[QUEUE]) == (2, 1, 0)
        assert _counts(sizes["other"]) == (0, 0, 1)
        assert sizes[QUEUE].oldest_ready_seconds == pytest.approx(20, abs=5)
        assert sizes["other"].oldest_ready_seconds is None

    def test_a_delayed_message_is_old_from_when_it_was_due(self, harness: StoreHarness, store: Store) -> None:
        publish(store, task("later", run_at=store.now() + 60), task("other", "other"))
        harness.pass_time(70)
        claim_one(store, "other")  # makes due messages ready
        [size] = [size for size in store.sizes() if size.queue == QUEUE]
        assert size.oldest_ready_seconds == pytest.approx(10, abs=5)

    def test_purge_drops_all_that_waits_and_ends_it(self, store: Store) -> None:
        publish(store, "running")
        claim_one(store)
        publish(store, "a", task("later", run_at=store.now() + 60), task("x", "other"))
        assert store.purge(QUEUE) == 2
        assert store.purge(QUEUE) == 0
        assert [state_of(store, name) for name in ("a", "later", "running")] == ["REVOKED", "REVOKED", "PENDING"]
        assert _counts(store.sizes()[0]) == (0, 0, 1)
        assert ids(claim(store, "other")) == ["x"]

    def test_purge_has_no_limit(self, store: Store) -> None:
        publish(store, *[f"{number}" for number in range(MANY)])
        assert store.purge(QUEUE) == MANY
        assert store.size(QUEUE) == 0

    def test_what_was_purged_may_be_sent_again(self, store: Store) -> None:
        publish(store, "a")
        store.purge(QUEUE)
        publish(store, "a")
        assert claim_one(store).settled is False

    def test_the_records_of_a_purge_do_not_stay_for_ever(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        store.purge(QUEUE)
        harness.pass_time(400 * 86_400.0)
        store.prune(store.now(), attempts_before=store.now(), dead_letters_before=None)
        assert store.records(["a"]) == {}

    # -- acknowledged without a settlement

    def test_ack_deletes(self, harness: StoreHarness, store: Store) -> None:
        publish(store, *[TaskMessage("replies", "[{}, {}, null, null]", str(number)) for number in range(3)])
        first, *rest = claim(store, "replies")
        store.ack([first.lease])
        harness.pass_time(60)
        store.reclaim()
        assert sorted(_bodies(_all(store, "replies"))) == sorted(_bodies(rest))

    def test_a_settled_message_is_gone(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        run(store)
        harness.pass_time(10_000)
        store.reclaim()
        assert claim(store) == []
        assert store.sizes() == []


def _counts(size: QueueSize) -> tuple[int, int, int]:
    return size.ready, size.delayed, size.claimed


def _bodies(deliveries: Sequence[Delivery]) -> list[str]:
    return [str(delivery.body) for delivery in deliveries]


def _all(store: Store, queue: str) -> list[Delivery]:
    found: list[Delivery] = []
    end = time.monotonic() + 10
    while (got := claim(store, queue)) and time.monotonic() < end:
        found += got
    return found
