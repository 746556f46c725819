# ruff: noqa: PLR2004  # expected figures are the point of a check
"""Paused queues and tasks: what runs goes on, what waits waits, whatever becomes of who paused it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from celeriac.core.attempt import Outcome
from celeriac.core.message import Adoption, Delivery, TaskMessage
from celeriac.core.pauses import PauseKind, WaitingFilter
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import (
    LEASE,
    QUEUE,
    TASK,
    Conformance,
    StoreHarness,
    claim,
    claim_one,
    ids,
    key,
    publish,
    run,
    settle,
    state_of,
    take_over,
    task,
)
from celeriac.testing.conformance.limits import limited, rate, slots

OTHER = "shop.mail"


def of(name: str, message: TaskMessage) -> TaskMessage:
    """The same message of another task."""
    return replace(message, name=name)


def mail(task_id: str, **fields: Any) -> TaskMessage:
    """A message of ``shop.mail``."""
    return of(OTHER, task(task_id, **fields))


def pause(store: Store, kind: PauseKind = "task", name: str = TASK) -> None:
    """Pause what was not paused."""
    assert store.pause(kind, name, "ann@host", "why")


def resume(store: Store, kind: PauseKind = "task", name: str = TASK) -> None:
    """Resume what was paused."""
    assert store.resume(kind, name)


def paused_in(store: Store, queue: str = QUEUE) -> int:
    """How many are set aside in a queue."""
    return sum(size.extra.get("paused", 0) for size in store.sizes() if size.queue == queue)


def waiting(store: Store, **conditions: object) -> list[str]:
    """The ids of what waits and matches."""
    return sorted(message.task_id for message in store.waiting(WaitingFilter(**conditions)))  # type: ignore[arg-type]


class PausesConformance(Conformance):
    """What is claimed while something is paused."""

    # -- queues

    def test_a_paused_queue_is_left_out(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a", task("b", "other"))
        pause(store, "queue", QUEUE)
        assert ids(claim(harness.open(), QUEUE, "other")) == ["b"]
        publish(store, "c", task("later", run_at=store.now() + 5), limited("limited", slots(1)))
        harness.pass_time(6)
        assert claim(store) == []
        assert store.size(QUEUE) == 4
        resume(store, "queue", QUEUE)
        assert sorted(map(str, ids(claim(store)))) == ["a", "c", "later", "limited"]

    def test_what_is_due_in_a_paused_queue_keeps_nobody_awake(self, harness: StoreHarness, store: Store) -> None:
        publish(store, task("later", run_at=store.now() + 5))
        publish(store, *[limited(f"{number}", rate(5)) for number in range(2)])
        claim_one(store)
        claim(store)
        pause(store, "queue", QUEUE)
        harness.pass_time(6)
        assert claim(store) == []
        assert store.next_due() is None

    def test_suspects_of_a_paused_queue_hold_up_nobody(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        for _ in range(2):
            take_over(harness, started=[claim_one(store)])
        assert store.last_chances([QUEUE])
        pause(store, "queue", QUEUE)
        assert not store.last_chances([QUEUE])
        assert claim(store) == []
        resume(store, "queue", QUEUE)
        assert claim_one(store).suspect

    def test_what_runs_of_a_paused_queue_goes_on(self, store: Store) -> None:
        publish(store, "a", "b")
        running = claim_one(store)
        pause(store, "queue", QUEUE)
        assert store.extend([running.lease], LEASE) == []
        assert settle(store, running).held
        assert claim(store) == []

    # -- tasks

    def test_a_paused_task_is_set_aside_in_every_queue(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a", mail("x"), task("b", "other"), "c", mail("y"))
        pause(store)
        assert ids(claim(harness.open(), QUEUE, "other")) == ["x", "y"]
        assert claim(store, QUEUE, "other") == []
        assert (paused_in(store), paused_in(store, "other")) == (2, 1)
        assert store.size(QUEUE) == 2
        assert state_of(store, "a") == "PENDING"
        resume(store)
        assert paused_in(store) == 0
        got = claim(store, QUEUE, "other")
        assert ids(got) == ["a", "c", "b"]
        # As if nothing had been: neither delivered again, nor an attempt more.
        assert {(item.lease.token, item.generation, item.crashes, item.suspect) for item in got} == {(1, 0, 0, False)}

    def test_many_paused_messages_are_passed_once(self, store: Store) -> None:
        publish(store, *[f"{number}" for number in range(5000)], mail("x"))
        pause(store)
        assert ids(claim(store, limit=2)) == ["x"]
        assert paused_in(store) == 5000
        resume(store)
        assert paused_in(store) == 0
        assert ids(claim(store, limit=3)) == ["0", "1", "2"]
        assert store.size(QUEUE) == 4997

    def test_what_is_sent_delayed_or_tried_again_meanwhile_is_held_when_it_is_due(
        self, harness: StoreHarness, store: Store
    ) -> None:
        publish(store, "runs")
        running = claim_one(store)
        pause(store)
        publish(store, "sent", task("later", run_at=store.now() + 5))
        again = task("runs", run_at=store.now() + 5)
        assert settle(store, running, Outcome.RETRY, retry=again).held
        assert claim(store) == []
        harness.pass_time(6)
        assert claim(store) == []
        assert paused_in(store) == 3
        resume(store)
        assert {(item.task_id, item.generation) for item in claim(store)} == {("runs", 1), ("sent", 0), ("later", 0)}

    def test_what_is_put_off_or_handed_back_is_held(self, store: Store) -> None:
        publish(store, "a", "b")
        first, second = claim(store)
        pause(store)
        assert settle(store, first, Outcome.SNOOZED, snooze_until=store.now() - 1).held
        store.release([second.lease])
        assert claim(store) == []
        assert paused_in(store) == 2

    def test_suspects_are_held_and_come_back_as_such(self, harness: StoreHarness, store: Store) -> None:
        publish(store, *[f"{number}" for number in range(3)])
        take_over(harness, started=claim(store))
        publish(store, mail("x"))
        pause(store)
        assert ids(claim(store)) == ["x"]
        assert paused_in(store) == 3
        resume(store)
        got = claim_one(store)
        assert (got.task_id, got.crashes, got.suspect) == ("0", 1, True)

    def test_limited_ones_take_no_slot_and_spend_no_rate(self, harness: StoreHarness, store: Store) -> None:
        bounds = (slots(2), rate(10, burst=2))
        publish(store, *[limited(f"{number}", *bounds) for number in range(50)])
        publish(store, *[of(OTHER, limited(f"mail{number}", *bounds)) for number in range(2)])
        pause(store)
        mails = claim(store)
        assert ids(mails) == ["mail0", "mail1"]
        assert store.taken()["charge\x1f"] == 2
        for item in mails:
            settle(store, item)
        assert claim(store) == []
        assert paused_in(store) == 50
        resume(store)
        harness.pass_time(21)
        # Back in their lane, of which the slots let two start.
        assert ids(claim(store)) == ["0", "1"]

    def test_a_limited_one_that_is_held_gives_its_slot_back(self, store: Store) -> None:
        publish(store, limited("a", slots(1)), of(OTHER, limited("x", slots(1))))
        running = claim_one(store)
        pause(store)
        assert store.set_aside(running.lease)
        assert ids(claim(store)) == ["x"]
        assert store.lanes(10) == []

    def test_parked_ones_are_held_when_their_key_is_free(self, store: Store) -> None:
        publish(store, task("holder", key=key()), task("waits", key=key(), awaited=True))
        holder = claim_one(store)
        pause(store)
        assert settle(store, holder, Outcome.FAILED, key=key()).held
        assert claim(store) == []
        assert paused_in(store) == 1
        resume(store)
        assert ids(claim(store)) == ["waits"]

    def test_what_a_worker_has_not_begun_is_set_aside(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        lease = claim_one(store).lease
        pause(store)
        assert store.set_aside(lease)
        assert not store.set_aside(lease)
        assert store.extend([lease], LEASE) == [lease]
        take_over(harness)
        assert claim(store) == []
        resume(store)
        assert ids(claim(store)) == ["a"]

    def test_others_keep_their_order_and_priorities(self, store: Store) -> None:
        publish(store, mail("low"), task("a", priority=9), mail("high", priority=5), mail("last"))
        pause(store)
        assert ids(claim(store)) == ["high", "low", "last"]
        publish(store, task("b", priority=5))
        resume(store)
        assert ids(claim(store)) == ["a", "b"]

    # -- what people do

    def test_a_pause_says_who_when_and_why(self, store: Store) -> None:
        before = store.now()
        assert store.pauses() == []
        pause(store, "queue", QUEUE)
        publish(store, "a", mail("x"), task("b", "other"))
        store.pause("task", TASK, "bob", "")
        claim(store, "other")
        queue, of_task = store.pauses()
        assert (queue.kind, queue.name, queue.who, queue.note, queue.waiting) == ("queue", QUEUE, "ann@host", "why", 2)
        assert (of_task.kind, of_task.name, of_task.who, of_task.waiting) == ("task", TASK, "bob", 1)
        assert before - 1 < queue.at < store.now() + 1
        assert store.paused() == {("queue", QUEUE), ("task", TASK)}

    def test_a_second_pause_changes_nothing_and_a_second_resume_neither(self, store: Store) -> None:
        pause(store)
        assert not store.pause("task", TASK, "bob", "again")
        assert store.pauses()[0].who == "ann@host"
        resume(store)
        assert not store.resume("task", TASK)
        assert not store.resume("queue", QUEUE)

    def test_a_resume_that_died_is_gone_on_with(self, harness: StoreHarness, store: Store) -> None:
        publish(store, *[f"{number}" for number in range(5)], *[mail(f"mail{number}") for number in range(2)])
        pause(store)
        pause(store, "task", OTHER)
        assert claim(store) == []
        dead = harness.open()
        dead.let_go = lambda: 0  # type: ignore[method-assign]  # it dies before it has let any go
        assert dead.resume("task", TASK)
        assert claim(store) == []
        # The next worker that looks, whoever it is.
        assert harness.open().let_go() == 5
        assert len(claim(store)) == 5
        assert paused_in(store) == 2

    def test_a_queue_and_a_task_of_it_are_paused_apart(self, store: Store) -> None:
        publish(store, "a", mail("x"))
        pause(store)
        pause(store, "queue", QUEUE)
        assert claim(store) == []
        resume(store)
        assert claim(store) == []
        resume(store, "queue", QUEUE)
        assert ids(claim(store)) == ["a", "x"]

    def test_purging_drops_what_is_set_aside(self, store: Store) -> None:
        publish(store, "a", mail("x"))
        pause(store)
        claim(store)
        assert store.purge(QUEUE) == 1
        assert state_of(store, "a") == "REVOKED"
        assert store.pauses()[0].waiting == 0
        resume(store)
        assert claim(store) == []

    def test_what_is_revoked_is_ended_in_spite_of_the_pause(self, store: Store) -> None:
        publish(store, *[f"{number}" for number in range(3)], limited("limited", slots(1)))
        pause(store)
        assert claim(store) == []
        assert sorted(store.revoke(["1", "limited"], 60)) == ["1", "limited"]
        got = claim(store)
        assert {(item.task_id, item.revoked) for item in got} == {("1", True), ("limited", True)}
        assert paused_in(store) == 2

    def test_what_was_revoked_before_it_was_sent_is_ended_in_spite_of_the_pause(self, store: Store) -> None:
        store.revoke(["ready", "limited"], 60)
        pause(store)
        publish(store, "ready", limited("limited", slots(1)), limited("other", slots(1)))
        got = claim(store)
        assert {(item.task_id, item.revoked) for item in got} == {("ready", True), ("limited", True)}
        # Its worker ends before it has ended the task.
        store.hand_back([item.lease for item in got])
        assert {item.task_id for item in claim(store)} == {"ready", "limited"}

    def test_what_is_revoked_among_others_of_the_task_is_ended(self, store: Store) -> None:
        publish(store, "a", "b", "c")
        store.revoke(["b"], 60)
        pause(store)
        assert [(item.task_id, item.revoked) for item in claim(store)] == [("b", True)]
        assert paused_in(store) == 2

    # -- beside a broker that is no store

    def test_a_broker_is_given_nothing_of_what_is_paused(self, store: Store) -> None:
        publish(store, "a", mail("x"), mail("y", queue="other"), limited("limited", slots(1)))
        pause(store)
        pause(store, "queue", "other")
        assert ids(store.take_for_relay(64, 10)) == ["x"]
        assert store.take_for_relay(64, 10) == []
        assert paused_in(store) == 2
        assert store.taken() == {}
        resume(store)
        resume(store, "queue", "other")
        assert sorted(map(str, ids(store.take_for_relay(64, 10)))) == ["a", "limited", "y"]

    def test_what_a_broker_delivers_of_a_paused_task_waits_in_the_ledger(self, store: Store) -> None:
        publish(store, "relayed")
        store.relayed([item.lease for item in store.take_for_relay(64, 10)], 100)
        pause(store)
        answers = self.adopt(store, [task("new"), task("relayed"), mail("x")])
        assert answers[:2] == [Adoption.DELAYED, Adoption.DELAYED]
        assert isinstance(answers[2], Delivery)
        assert paused_in(store) == 2
        # A copy of what is held.
        assert self.adopt(store, [task("new")]) == [Adoption.HELD]
        resume(store)
        assert sorted(map(str, ids(store.take_for_relay(64, 10)))) == ["new", "relayed"]

    def test_what_the_broker_was_given_of_a_paused_queue_is_not_given_again(
        self, harness: StoreHarness, store: Store
    ) -> None:
        publish(store, "a")
        store.relayed([item.lease for item in store.take_for_relay(64, 10)], 100)
        pause(store, "queue", QUEUE)
        harness.pass_time(101)
        assert store.take_for_relay(64, 10) == []
        resume(store, "queue", QUEUE)
        assert ids(store.take_for_relay(64, 10)) == ["a"]

    @staticmethod
    def adopt(store: Store, messages: Sequence[TaskMessage]) -> list[Delivery | Adoption]:
        return store.adopt(messages, owner="worker", lease=LEASE)

    # -- what waits

    def test_what_waits_is_found_wherever_it_waits(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "runs")
        running = claim_one(store)
        publish(store, task("delayed", run_at=store.now() + 100), limited("limited", slots(1)), "ready", "revoked")
        publish(store, mail("held"))
        pause(store, "task", OTHER)
        store.release([item.lease for item in claim(store)])
        store.revoke(["revoked"], 60)
        assert paused_in(store) == 1
        assert waiting(store) == ["delayed", "held", "limited", "ready"]
        assert waiting(store, task="shop.m*") == ["held"]
        assert waiting(store, task="*.charge", queue="cel*") == ["delayed", "limited", "ready"]
        assert waiting(store, queue="celer") == []
        harness.pass_time(10)
        publish(store, "young")
        assert "young" not in waiting(store, older_than=5)
        assert "ready" in waiting(store, older_than=5)
        assert running.task_id not in waiting(store)

    @pytest.mark.parametrize("bodies", [True, False])
    def test_bodies_are_read_where_they_are_asked_for(self, store: Store, bodies: bool) -> None:
        publish(store, task("text", body="text"), task("bytes", body=b"bytes"))
        found = {item.task_id: item.body for item in store.waiting(WaitingFilter(bodies=bodies))}
        assert found == ({"text": "text", "bytes": b"bytes"} if bodies else {"text": None, "bytes": None})

    def test_many_that_wait_are_all_found(self, store: Store) -> None:
        publish(store, *[f"{number}" for number in range(1300)])
        found = [message.task_id for message in store.waiting(WaitingFilter())]
        assert sorted(found) == sorted(f"{number}" for number in range(1300))
        for _ in range(3):
            run(store)
        assert len(waiting(store)) == 1297
