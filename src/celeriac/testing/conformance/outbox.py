"""Beside a broker that is no store: what comes from there is adopted, and what goes there is relayed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from celeriac.core.attempt import DeadLetterFilter, Outcome
from celeriac.core.message import Adoption, Delivery, TaskMessage
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import (
    LEASE,
    ME,
    Conformance,
    StoreHarness,
    claim,
    claim_one,
    ids,
    key,
    publish,
    settle,
    state_of,
    take_over,
    task,
)

#: Seconds in which a message is given to the broker, and after which it is given again.
RELAY, AGAIN = 10.0, 100.0


def adopt(store: Store, message: TaskMessage | str, *, owner: str = "worker", **options: Any) -> Delivery | Adoption:
    """Adopt one message, or a task by its id."""
    wanted = task(message) if isinstance(message, str) else message
    [answer] = store.adopt([wanted], owner=owner, lease=LEASE, **options)
    return answer


def adopted(store: Store, message: TaskMessage | str, **options: Any) -> Delivery:
    """Adopt one message that must be free."""
    answer = adopt(store, message, **options)
    assert isinstance(answer, Delivery)
    return answer


def relay(store: Store, limit: int = 64) -> list[Delivery]:
    """Take what the broker is to be given, and say that it has it."""
    taken = store.take_for_relay(limit, RELAY)
    store.relayed([delivery.lease for delivery in taken], AGAIN)
    return taken


class OutboxConformance(Conformance):
    """Adoption, and the outbox."""

    # -- adopted

    def test_what_is_adopted_is_held_and_settles(self, store: Store) -> None:
        delivery = adopted(store, task("a", body=b"\x00bytes", priority=3))
        assert (delivery.task_id, delivery.body, delivery.priority) == ("a", b"\x00bytes", 3)
        assert (delivery.generation, delivery.crashes, delivery.suspect, delivery.settled) == (0, 0, False, False)
        assert claim(store) == []
        assert store.extend([delivery.lease], LEASE) == []
        assert settle(store, delivery).held
        assert (state_of(store, "a"), store.sizes()) == ("SUCCESS", [])

    def test_several_at_once(self, store: Store) -> None:
        held = adopted(store, "b")
        answers = store.adopt([task("a"), task("b"), task("c")], owner="other", lease=LEASE)
        assert [getattr(answer, "task_id", answer) for answer in answers] == ["a", Adoption.HELD, "c"]
        assert settle(store, held).held

    def test_a_copy_of_what_is_held_changes_nothing(self, store: Store) -> None:
        delivery = adopted(store, "a")
        assert adopt(store, "a", owner="other") is Adoption.HELD
        assert settle(store, delivery).held

    @pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.FAILED, Outcome.DEAD_LETTERED, Outcome.REVOKED])
    def test_a_copy_of_what_is_over_is_settled(self, store: Store, outcome: Outcome) -> None:
        assert settle(store, adopted(store, "a"), outcome).held
        assert adopt(store, "a") is Adoption.SETTLED
        assert (store.sizes(), relay(store)) == ([], [])

    def test_a_copy_of_what_waits_for_its_retry_changes_nothing(self, store: Store) -> None:
        delivery = adopted(store, "a")
        later = task("a", run_at=store.now() + 60)
        assert settle(store, delivery, Outcome.RETRY, retry=later).held
        assert adopt(store, "a") is Adoption.HELD
        assert store.size("celery") == 1

    def test_a_copy_of_what_waits_for_a_key_changes_nothing(self, store: Store) -> None:
        publish(store, task("holder", key=key()))
        parked = task("a", key=key(), awaited=True)
        publish(store, parked)
        assert adopt(store, parked) is Adoption.HELD

    def test_what_is_not_due_waits_in_the_ledger(self, harness: StoreHarness, store: Store) -> None:
        assert adopt(store, task("a", run_at=store.now() + 60)) is Adoption.DELAYED
        assert (store.size("celery"), relay(store)) == (1, [])
        assert store.next_due() is not None
        harness.pass_time(61)
        assert ids(relay(store)) == ["a"]

    def test_what_was_due_is_held_at_once(self, store: Store) -> None:
        assert adopted(store, task("a", run_at=store.now() - 1)).task_id == "a"

    def test_what_was_revoked_says_so(self, store: Store) -> None:
        store.revoke(["a", "b"], keep=60)
        publish(store, "b")
        assert adopted(store, "a").revoked
        assert adopted(store, "b").revoked

    def test_its_worker_vanishes(self, harness: StoreHarness, store: Store) -> None:
        """It is given to the broker once more, a suspect, and the run that was begun counts."""
        first = adopted(store, "a")
        take_over(harness, started=[first])
        [relayed] = relay(store)
        again = adopted(store, "a")
        assert (relayed.suspect, again.suspect, again.crashes) == (True, True, 1)
        assert not settle(store, first).held
        assert settle(store, again).held

    def test_a_suspect_whose_run_was_not_marked_is_one_still(self, harness: StoreHarness, store: Store) -> None:
        adopted(store, "a")
        take_over(harness)
        relay(store)
        again = adopted(store, "a")
        assert (again.suspect, again.crashes) == (True, 0)

    @pytest.mark.parametrize("relayed", [True, False])
    def test_its_last_chance_is_for_the_idle(self, store: Store, relayed: bool) -> None:
        crashes = 2
        for _ in range(crashes):
            store.release([adopted(store, "a").lease], crashed=True)
        if relayed:
            relay(store)
        assert adopt(store, "a", idle=False) is Adoption.ALONE
        assert adopt(store, "a", idle=False, last_chance=2) is Adoption.ALONE
        assert adopted(store, "a", idle=False, last_chance=3).crashes == crashes

    def test_what_is_handed_back_goes_to_the_broker(self, store: Store) -> None:
        delivery = adopted(store, "a")
        store.release([delivery.lease])
        assert ids(relay(store)) == ["a"]

    def test_a_key_that_came_with_it_is_taken_when_it_runs(self, store: Store) -> None:
        delivery = adopted(store, task("a", key=key()))
        assert store.take_key(key(), "a").task_id == "a"
        assert settle(store, delivery, key=key()).held
        [published] = publish(store, task("b", key=key()))
        assert published.duplicate_of == "a"

    def test_a_message_that_no_worker_can_take_becomes_a_dead_letter(self, store: Store) -> None:
        delivery = adopted(store, "a")
        store.reject(delivery.lease, "unknown-task", "NotRegistered", "shop.charge")
        assert store.count_dead_letters(DeadLetterFilter()) == 1
        assert adopt(store, "a") is Adoption.SETTLED

    def test_purged_and_delivered_after_all(self, store: Store) -> None:
        publish(store, "a")
        relay(store)
        assert store.purge("celery") == 1
        assert adopt(store, "a") is Adoption.SETTLED

    def test_a_copy_of_what_is_over_and_forgotten_is_settled(self, store: Store) -> None:
        assert settle(store, adopted(store, "a")).held
        store.forget("a", result_only=True)
        assert store.records(["a"])["a"].result is None
        assert adopt(store, "a") is Adoption.SETTLED

    # -- relayed

    def test_what_is_ready_is_relayed_once_and_adopted(self, store: Store) -> None:
        publish(store, "a", task("b", queue="other"))
        assert sorted(filter(None, ids(relay(store)))) == ["a", "b"]
        assert relay(store) == []
        delivery = adopted(store, task("a", body="the broker's copy"))
        assert delivery.body == task("a").body
        assert settle(store, delivery).held
        assert relay(store) == []

    def test_nobody_claims_what_the_broker_has(self, store: Store) -> None:
        publish(store, "a")
        relay(store)
        assert claim(store) == []
        assert store.reclaim() == []

    def test_it_may_be_adopted_before_the_relay_has_heard(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        [taken] = store.take_for_relay(64, RELAY)
        delivery = adopted(store, "a")
        store.relayed([taken.lease], AGAIN)
        assert (adopt(store, "a"), relay(store)) == (Adoption.HELD, [])
        assert store.extend([delivery.lease], AGAIN * 3) == []
        harness.pass_time(AGAIN + 1)
        assert relay(store) == []
        assert settle(store, delivery).held

    def test_to_say_so_late_prolongs_nobodys_lease(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        [taken] = store.take_for_relay(64, RELAY)
        adopted(store, "a")
        store.relayed([taken.lease], AGAIN)
        harness.pass_time(LEASE + 1)
        assert len(store.reclaim()) == 1

    def test_a_relay_that_vanishes_between_taking_and_telling(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        assert ids(store.take_for_relay(64, RELAY)) == ["a"]
        assert relay(store) == []
        harness.pass_time(RELAY + 1)
        assert ids(relay(store)) == ["a"]

    def test_what_nobody_adopts_is_relayed_again(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        relay(store)
        harness.pass_time(AGAIN - 1)
        assert relay(store) == []
        harness.pass_time(2)
        assert ids(relay(store)) == ["a"]

    def test_what_a_broker_has_lost_is_relayed_now(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        relay(store)
        harness.pass_time(50)
        publish(store, "young", task("b", queue="other"))
        relay(store)
        assert store.relay_again("celery", 30, AGAIN) == 1
        assert ids(relay(store)) == ["a"]

    def test_what_others_may_have_taken_is_relayed_less_and_less_often(
        self, harness: StoreHarness, store: Store
    ) -> None:
        publish(store, "a")
        store.relayed([item.lease for item in store.take_for_relay(64, RELAY)], 10_000)
        given = []
        for second in range(10, 1000, 10):
            harness.pass_time(10)
            if store.relay_again("celery", 30, 10_000):
                store.relayed([item.lease for item in store.take_for_relay(64, RELAY)], 10_000)
                given.append(second)
        # As long again as it took so far, each time.
        assert len(given) in range(4, 7), given
        assert all(later >= 2 * sooner - 10 for sooner, later in pairwise(given)), given

    def test_a_suspect_is_one_however_often_it_is_relayed(self, harness: StoreHarness, store: Store) -> None:
        adopted(store, "a")
        take_over(harness)
        for _ in range(2):
            [taken] = relay(store)
            assert taken.suspect
            harness.pass_time(AGAIN + 1)

    def test_no_more_than_asked_for(self, store: Store) -> None:
        publish(store, *(str(number) for number in range(5)))
        assert [len(relay(store, limit=2)) for _ in range(4)] == [2, 2, 1, 0]

    def test_it_counts_as_sent_and_not_as_waiting(self, store: Store) -> None:
        publish(store, "a", "b")
        relay(store, limit=1)
        [size] = store.sizes()
        assert (size.ready, size.claimed, size.extra) == (1, 0, {"relayed": 1})
        assert store.size("celery") == 1
        assert (state_of(store, "a"), state_of(store, "b")) == ("PENDING", "PENDING")

    def test_a_task_that_the_broker_has_is_live(self, store: Store) -> None:
        publish(store, "a")
        relay(store)
        assert publish(store, "a")[0].live
        store.revoke(["a"], keep=60)
        assert state_of(store, "a") == "REVOKED"

    def test_a_retry_goes_to_the_broker_when_it_is_due(self, harness: StoreHarness, store: Store) -> None:
        delivery = adopted(store, "a")
        assert settle(store, delivery, Outcome.RETRY, retry=task("a", run_at=store.now() + 60, body="again")).held
        assert relay(store) == []
        harness.pass_time(61)
        [taken] = relay(store)
        assert (taken.body, taken.generation) == ("again", 1)
        assert adopted(store, "a").generation == 1

    def test_a_key_is_published_once(self, store: Store) -> None:
        publish(store, task("a", key=key()))
        relay(store)
        [published] = publish(store, task("b", key=key()))
        assert published.duplicate_of == "a"
        assert settle(store, adopted(store, "a"), key=key()).held

    def test_what_a_settle_sends_goes_to_the_broker(self, store: Store) -> None:
        delivery = adopted(store, "a")
        assert settle(store, delivery, follow_ups=[task("next", follow_up=True)]).held
        assert ids(relay(store)) == ["next"]

    def test_a_redriven_dead_letter_goes_to_the_broker(self, store: Store) -> None:
        assert settle(store, adopted(store, "a"), Outcome.DEAD_LETTERED).held
        [letter] = store.dead_letters(DeadLetterFilter())
        store.redrive(letter, task("a"), ME)
        assert ids(relay(store)) == ["a"]
        again = adopted(store, "a")
        assert again.generation == 1
        assert settle(store, again).held

    def test_two_relays_share_the_work(self, harness: StoreHarness, store: Store) -> None:
        publish(store, *(str(number) for number in range(4)))
        other = harness.open()
        taken = ids(store.take_for_relay(2, RELAY)) + ids(other.take_for_relay(64, RELAY))
        assert sorted(filter(None, taken)) == ["0", "1", "2", "3"]

    def test_a_message_of_no_task_is_none_of_the_outbox(self, store: Store) -> None:
        publish(store, "a")
        assert claim_one(store).task_id == "a"
        assert relay(store) == []
