# expected figures are the point of a check
"""Idempotency keys: held while their task waits or runs, and for their time after it succeeded."""

from __future__ import annotations

import pytest

from celeriac.core.attempt import Outcome
from celeriac.core.message import Delivery, IdempotencyKey, KeyHolder
from celeriac.errors import IdempotencyConflict
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import (
    QUEUE,
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

FREEING = (Outcome.FAILED, Outcome.DEAD_LETTERED, Outcome.IGNORED, Outcome.REVOKED)


class KeyConformance(Conformance):
    """Keys at publish, at execution, at settle."""

    # -- at publish

    def test_a_held_key_sends_nothing_and_names_the_holder(self, harness: StoreHarness, store: Store) -> None:
        assert _publish(store, "a") is None
        assert _publish(store, "b") == "a"
        held = claim_one(store)
        assert _publish(harness.open(), "c") == "a"
        assert settle(store, held, key=key()).held
        assert _publish(store, "d") == "a"
        assert store.sizes() == []

    def test_keys_are_told_apart_by_value_and_by_task(self, store: Store) -> None:
        for name, mine in (("a", key("1")), ("b", key("2")), ("c", key("1", task="shop.refund"))):
            assert _publish(store, name, mine) is None
        assert ids(claim(store)) == ["a", "b", "c"]

    def test_other_arguments_under_a_held_key_are_a_conflict(self, store: Store) -> None:
        publish(store, task("a", key=key()))
        with pytest.raises(IdempotencyConflict) as caught:
            publish(store, "innocent", task("b", key=key(digest="d2")))
        assert (caught.value.task, caught.value.key, caught.value.holder_id) == ("shop.charge", "order:7", "a")
        assert ids(claim(store)) == ["a"]

    def test_the_conflict_stays_after_success(self, harness: StoreHarness, store: Store) -> None:
        publish(store, task("a", key=key()))
        run(store, key=key())
        with pytest.raises(IdempotencyConflict):
            publish(store, task("b", key=key(digest="d2")))
        harness.pass_time(61)
        assert _publish(store, "b", key(digest="d2")) is None

    def test_a_success_holds_for_its_time_to_live(self, harness: StoreHarness, store: Store) -> None:
        publish(store, task("a", key=key(ttl=100)))
        harness.pass_time(1_000)  # counted from the success, however long it waited
        run(store, key=key(ttl=100))
        harness.pass_time(98)
        assert _publish(store, "b") == "a"
        harness.pass_time(3)
        assert _publish(store, "c") is None
        assert _publish(store, "d") == "c"

    def test_settled_work_is_not_done_again_under_its_own_id(self, store: Store) -> None:
        publish(store, task("a", key=key()))
        run(store, key=key())
        assert _publish(store, "a") == "a"
        assert claim(store) == []

    def test_a_follow_up_of_the_holder_itself_goes_on(self, store: Store) -> None:
        """``retry(throw=False)``: the task completes, and its retry follows."""
        publish(store, task("a", key=key()))
        run(store, key=key(), follow_ups=[task("a", key=key(), follow_up=True, awaited=True)])
        assert _publish(store, "b") == "a"
        run(store, key=key())
        assert _publish(store, "c") == "a"

    def test_a_refused_second_key_is_not_kept(self, store: Store) -> None:
        publish(store, task("a", key=key("1")))
        _publish(store, "a", key("2"))  # dropped: the task is waiting already
        assert _publish(store, "b", key("2")) is None

    # -- freed

    @pytest.mark.parametrize("outcome", FREEING)
    def test_every_end_but_success_frees_it(self, store: Store, outcome: Outcome) -> None:
        publish(store, task("a", key=key()))
        run(store, outcome=outcome, key=key())
        assert _publish(store, "b", key(digest="d2")) is None

    @pytest.mark.parametrize(
        "outcome", [Outcome.RETRY, Outcome.SNOOZED, Outcome.REQUEUED, Outcome.REPLACED, Outcome.DUPLICATE]
    )
    def test_whoever_is_not_done_keeps_it(self, store: Store, outcome: Outcome) -> None:
        publish(store, task("a", key=key()))
        retry = task("a", run_at=store.now() + 5) if outcome is Outcome.RETRY else None
        follow_ups = [task("a", follow_up=True)] if outcome is Outcome.REPLACED else []
        if outcome is Outcome.DUPLICATE:
            run(store, key=key())
            publish(store, task("a", generation=0, follow_up=True))
        run(store, outcome=outcome, key=key(), retry=retry, follow_ups=follow_ups)
        assert _publish(store, "b") == "a"

    def test_a_lost_worker_does_not_free_it(self, harness: StoreHarness, store: Store) -> None:
        publish(store, task("a", key=key()))
        take_over(harness, started=[claim_one(store)])
        assert _publish(store, "b") == "a"

    def test_a_replacement_holds_it_to_its_own_end(self, harness: StoreHarness, store: Store) -> None:
        """The id lives on in another task, which has no key of its own."""
        for outcome, holder in ((Outcome.FAILED, None), (Outcome.COMPLETED, "a")):
            publish(store, task("a", key=key()))
            run(store, outcome=Outcome.REPLACED, key=key(), follow_ups=[task("a", follow_up=True)])
            run(store, outcome=outcome)
            assert _publish(store, "b", key(digest="d1")) == holder
            store.purge(QUEUE)
        harness.pass_time(61)
        assert _publish(store, "c") is None

    def test_purging_the_queue_frees_it(self, store: Store) -> None:
        publish(store, task("a", key=key()))
        store.purge(QUEUE)
        assert _publish(store, "b") is None

    def test_a_revoked_holder_that_waits_holds_nothing(self, harness: StoreHarness, store: Store) -> None:
        """It never runs, also when no worker is up to say so: a second publish must not vanish behind it."""
        later = store.now() + 1000
        publish(store, task("a", key=key(), run_at=later))
        store.revoke(["a"], keep=60)
        assert _publish(store, "b", key(digest="d2")) is None
        assert _publish(store, "c", key(digest="d2")) == "b"
        revoked, other = claim(store)
        assert (revoked.task_id, revoked.revoked, other.task_id, other.revoked) == ("a", True, "b", False)
        settle(store, revoked, Outcome.REVOKED)
        assert _publish(harness.open(), "d", key(digest="d2")) == "b"

    def test_a_revoked_holder_that_may_run_keeps_it(self, store: Store) -> None:
        publish(store, task("a", key=key()))
        claim_one(store)
        store.revoke(["a"], keep=60)
        assert _publish(store, "b") == "a"

    def test_an_expired_holder_that_waits_holds_nothing(self, harness: StoreHarness, store: Store) -> None:
        publish(store, task("a", key=key(), expires_at=store.now() + 5))
        assert _publish(store, "b") == "a"
        harness.pass_time(6)
        assert _publish(store, "c") is None

    def test_refusing_the_message_frees_it(self, store: Store) -> None:
        publish(store, task("a", key=key()))
        store.reject(claim_one(store).lease, "unknown-task", "NotRegistered", "shop.charge")
        assert _publish(store, "b") is None

    def test_an_acknowledgement_without_settlement_frees_it(self, store: Store) -> None:
        publish(store, task("a", key=key()))
        store.ack([claim_one(store).lease])
        assert _publish(store, "b") is None

    # -- awaited: an alias of the holder

    def test_an_awaited_message_waits_for_the_holder(self, store: Store) -> None:
        publish(store, task("a", key=key()))
        assert _publish(store, "alias", awaited=True) is None
        held = claim_one(store)
        assert (claim(store), store.size(QUEUE), state_of(store, "alias")) == ([], 1, "PENDING")
        settle(store, held, key=key())
        assert ids(claim(store)) == ["alias"]

    @pytest.mark.parametrize("outcome", FREEING)
    def test_it_is_let_go_by_failure_too(self, store: Store, outcome: Outcome) -> None:
        publish(store, task("a", key=key()), task("alias", key=key(), awaited=True))
        run(store, outcome=outcome, key=key())
        assert ids(claim(store)) == ["alias"]
        assert store.take_key(key(), "alias") == KeyHolder("alias", "d1", done=False)

    def test_it_is_ready_at_once_when_the_holder_is_done(self, store: Store) -> None:
        publish(store, task("a", key=key()))
        run(store, key=key())
        assert _publish(store, "alias", awaited=True) is None
        assert ids(claim(store)) == ["alias"]
        assert store.take_key(key(), "alias") == KeyHolder("a", "d1", done=True)

    def test_it_is_let_go_by_a_purge_of_the_holder(self, store: Store) -> None:
        publish(store, task("a", "other", key=key()), task("alias", key=key(), awaited=True))
        store.purge("other")
        assert ids(claim(store)) == ["alias"]

    def test_it_keeps_its_own_time(self, harness: StoreHarness, store: Store) -> None:
        publish(store, task("a", "other", key=key()))
        publish(store, task("alias", key=key(), awaited=True, run_at=store.now() + 60))
        run(store, "other", key=key())
        assert claim(store) == []
        harness.pass_time(61)
        assert ids(claim(store)) == ["alias"]

    def test_an_awaited_conflict_is_a_conflict(self, store: Store) -> None:
        publish(store, task("a", key=key()))
        with pytest.raises(IdempotencyConflict):
            _publish(store, "b", key(digest="d2"), awaited=True)

    def test_a_conflict_of_a_follow_up_is_its_own(self, store: Store) -> None:
        publish(store, task("a", "held", key=key()), "first")
        late = task("second", key=key(digest="d2"), follow_up=True, awaited=True)
        run(store, follow_ups=[late, task("third", follow_up=True)])
        assert state_of(store, "first") == "SUCCESS"
        assert ids(claim(store)) == ["second", "third"]
        assert store.take_key(key(digest="d2"), "second") == KeyHolder("a", "d1", done=False)

    # -- at execution

    def test_a_free_key_is_taken_once(self, harness: StoreHarness, store: Store) -> None:
        publish(store, task("a", key=key()), task("b", key=key(), awaited=True))
        run(store, outcome=Outcome.FAILED, key=key())
        mine = KeyHolder("b", "d1", done=False)
        assert [other.take_key(key(), name) for other in (store, harness.open()) for name in "bc"] == [mine] * 4

    def test_a_zombie_takes_no_key(self, store: Store) -> None:
        """It would hold it for ever, since nothing of its will settle."""
        publish(store, task("a", key=key()))
        run(store, outcome=Outcome.FAILED, key=key())
        assert store.take_key(key(), "a") == KeyHolder("a", "d1", done=False)
        assert _publish(store, "b") is None

    def test_a_message_parks_until_the_key_is_free(self, store: Store) -> None:
        late = _second_of_two_that_were_let_go(store)
        assert store.park(late.lease) is True
        assert (claim(store, "late"), store.size("late"), state_of(store, "late")) == ([], 1, "PENDING")
        assert not settle(store, late).held
        run(store, key=key())
        again = claim_one(store, "late")
        assert (again.task_id, again.generation, again.crashes, again.suspect) == ("late", 0, 0, False)

    def test_parking_is_refused_when_the_holder_has_ended(self, store: Store) -> None:
        late = _second_of_two_that_were_let_go(store)
        run(store, key=key())
        assert store.park(late.lease) is False
        assert settle(store, late).held

    def test_nobody_parks_on_his_own_key(self, store: Store) -> None:
        publish(store, task("a", key=key()))
        assert store.park(claim_one(store).lease) is False

    def test_a_message_without_key_does_not_park(self, store: Store) -> None:
        publish(store, "a")
        assert store.park(claim_one(store).lease) is False


def _publish(store: Store, task_id: str, mine: IdempotencyKey | None = None, *, awaited: bool = False) -> str | None:
    """Publish under a key; returns whose it is, if not this task's."""
    [answer] = publish(store, task(task_id, key=mine or key(), awaited=awaited))
    assert answer.task_id == task_id
    return answer.duplicate_of


def _second_of_two_that_were_let_go(store: Store) -> Delivery:
    """Two wait for a key whose holder fails; one takes it, the other finds it taken."""
    publish(store, task("first", "failing", key=key()))
    publish(store, task("quick", key=key(), awaited=True), task("late", "late", key=key(), awaited=True))
    run(store, "failing", outcome=Outcome.FAILED, key=key())
    late = claim_one(store, "late")
    assert store.take_key(key(), "quick").task_id == "quick"
    assert store.take_key(key(), "late").task_id == "quick"
    return late
