# ruff: noqa: PLR2004  # expected figures are the point of a check
"""The ledger beside settlements: what is known of every task, revocation, groups, pruning."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac.core.attempt import Outcome, Record, Settlement
from celeriac.core.desk import By, Verb
from celeriac.core.message import Delivery
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import (
    QUEUE,
    Conformance,
    StoreHarness,
    claim,
    claim_one,
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

#: More than any store deletes in one transaction.
MANY = 2_100
WEEK = 7 * 86_400.0


class LedgerConformance(Conformance):
    """``Ledger`` without ``settle``."""

    # -- known

    def test_an_unheard_of_task_has_no_record(self, store: Store) -> None:
        assert store.records(["unheard-of"]) == {}
        assert store.records([]) == {}
        assert store.attempts("unheard-of") == []

    def test_a_task_is_known_from_its_publish_on(self, store: Store) -> None:
        publish(store, "a", task("later", run_at=store.now() + 60))
        known = store.records(["a", "later", "unheard-of"])
        assert {name: (found.state, found.closed) for name, found in known.items()} == {
            "a": ("PENDING", False),
            "later": ("PENDING", False),
        }
        assert (known["a"].name, known["a"].queue) == ("shop.charge", QUEUE)

    def test_a_started_task_says_where_and_since_when(self, store: Store) -> None:
        publish(store, "a")
        held = claim_one(store, owner="w1")
        assert state_of(store, "a") == "PENDING"
        assert store.start(held.lease)
        found = store.records(["a"])["a"]
        assert (found.state, found.closed, found.worker) == ("STARTED", False, "w1")
        assert found.started_at == pytest.approx(store.now(), abs=5)

    def test_a_lost_run_is_started_no_more(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        take_over(harness, started=[claim_one(store)])
        assert state_of(store, "a") == "PENDING"

    def test_a_retry_shows_until_the_next_run_starts(self, store: Store) -> None:
        publish(store, "a")
        run(store, outcome=Outcome.RETRY, retry=task("a"))
        assert state_of(store, "a") == "RETRY"
        held = claim_one(store)
        assert state_of(store, "a") == "RETRY"
        store.start(held.lease)
        assert state_of(store, "a") == "STARTED"

    @pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.FAILED, Outcome.REVOKED, Outcome.IGNORED])
    def test_what_was_sent_again_waits_again(self, store: Store, outcome: Outcome) -> None:
        publish(store, "a")
        run(store, outcome=outcome)
        publish(store, "a")
        assert state_of(store, "a") == "PENDING"
        assert store.start(claim_one(store).lease)
        assert state_of(store, "a") == "STARTED"

    def test_many_are_asked_for_at_once(self, store: Store) -> None:
        publish(store, *[f"{number}" for number in range(MANY)])
        done = claim(store, limit=MANY // 2)
        store.settle([_success(found) for found in done])
        states = [found.state for found in store.records([f"{number}" for number in range(MANY)]).values()]
        assert (states.count("SUCCESS"), states.count("PENDING")) == (MANY // 2, MANY - MANY // 2)

    # -- states that belong to no settlement

    def test_a_state_of_the_task_s_own_shows_while_it_runs(self, store: Store) -> None:
        publish(store, "a")
        held = claim_one(store)
        store.store(Record("a", 0, "PROGRESS", closed=False, result='{"done": 3}'))
        assert (state_of(store, "a"), store.records(["a"])["a"].result) == ("PROGRESS", '{"done": 3}')
        assert settle(store, held).held
        assert state_of(store, "a") == "SUCCESS"

    def test_it_belongs_to_the_generation_that_runs(self, store: Store) -> None:
        publish(store, "a")
        run(store, outcome=Outcome.RETRY, retry=task("a"))
        held = claim_one(store)
        store.store(Record("a", 0, "PROGRESS", closed=False))
        assert store.records(["a"])["a"].generation == 1
        assert settle(store, held).held
        assert state_of(store, "a") == "SUCCESS"

    def test_a_result_may_be_set_by_hand(self, store: Store) -> None:
        store.store(Record("by-hand", 0, "SUCCESS", closed=True, result="1"))
        assert store.records(["by-hand"])["by-hand"].result == "1"

    def test_forget_spares_what_is_not_over(self, store: Store) -> None:
        publish(store, "a")
        store.store(Record("a", 0, "PROGRESS", closed=False))
        store.forget("a")
        assert state_of(store, "a") == "PROGRESS"

    # -- revoked

    def test_a_revoked_task_is_marked_at_its_claim(self, store: Store) -> None:
        publish(store, "a", "b")
        store.revoke(["a"], keep=60.0)
        assert {found.task_id: found.revoked for found in claim(store)} == {"a": True, "b": False}

    def test_a_revoke_says_who_did_it_where_that_is_known(self, store: Store) -> None:
        publish(store, "a", "b", "c")
        store.revoke(["a", "b"], 60.0, By("ada@web1", "2 tasks that waited"))
        store.revoke(["c"], 60.0)
        [line] = store.actions()
        assert (line.verb, line.who, line.note) == (Verb.REVOKED, "ada@web1", "2 tasks that waited")
        assert (line.task_id, line.letter_id) == (None, None)

    def test_a_revoke_needs_no_task_yet_and_no_process(self, harness: StoreHarness) -> None:
        first = harness.open()
        first.revoke(["a", "b"], keep=WEEK)
        first.close()
        again = harness.open()
        publish(again, "a")
        assert claim_one(again).revoked

    def test_a_delayed_one_is_ended_now(self, store: Store) -> None:
        publish(store, task("later", run_at=store.now() + 60), "other")
        assert store.revoke(["later"], keep=60.0) == ["later"]
        assert [(found.task_id, found.revoked) for found in claim(store)] == [("later", True), ("other", False)]

    def test_a_parked_one_is_ended_now(self, store: Store) -> None:
        publish(store, task("a", "held", key=key()), task("alias", key=key(), awaited=True))
        assert store.revoke(["alias"], keep=60.0) == ["alias"]
        assert claim_one(store).revoked

    def test_it_shows_before_a_worker_comes(self, store: Store) -> None:
        publish(store, task("later", run_at=store.now() + 60))
        store.revoke(["later"], keep=60.0)
        assert state_of(store, "later") == "REVOKED"

    def test_who_runs_already_is_not_shown_as_ended(self, store: Store) -> None:
        publish(store, "a")
        held = claim_one(store)
        store.start(held.lease)
        store.revoke(["a"], keep=60.0)
        assert state_of(store, "a") == "STARTED"
        assert settle(store, held).held
        assert state_of(store, "a") == "SUCCESS"

    def test_a_retry_of_a_revoked_task_is_marked(self, store: Store) -> None:
        publish(store, "a")
        held = claim_one(store)
        store.revoke(["a"], keep=60.0)
        settle(store, held, Outcome.RETRY, retry=task("a"))
        assert claim_one(store).revoked

    def test_it_is_forgotten_after_its_time(self, harness: StoreHarness, store: Store) -> None:
        store.revoke(["a", "b"], keep=60.0)
        store.revoke(["b"], keep=600.0)
        harness.pass_time(61)
        _prune(store)
        publish(store, "a", "b")
        assert [found.revoked for found in claim(store)] == [False, True]

    # -- groups

    def test_groups_are_saved_changed_and_deleted(self, store: Store) -> None:
        assert store.get_group("g") is None
        store.save_group("g", "first", None)
        store.save_group("g", b"\x00second", store.now() + 60)
        assert store.get_group("g") == b"\x00second"
        store.delete_group("g")
        store.delete_group("g")
        assert store.get_group("g") is None

    # -- pruned

    def test_what_has_expired_is_pruned_and_nothing_else(self, harness: StoreHarness, store: Store) -> None:
        now = store.now()
        for name, expires_at in (("old", now + 10), ("new", now + 1_000), ("kept", None)):
            publish(store, name)
            held = claim_one(store)
            settle(store, held, record=record(held, expires_at=expires_at))
            store.save_group(name, "[]", expires_at)
        harness.pass_time(100)
        assert _prune(store) == 2
        assert sorted(store.records(["old", "new", "kept"])) == ["kept", "new"]
        assert [store.get_group(name) for name in ("old", "new", "kept")] == [None, "[]", "[]"]
        assert _prune(store) == 0

    def test_history_is_pruned_by_its_age(self, harness: StoreHarness, store: Store) -> None:
        for name in ("old", "new"):
            publish(store, name)
            run(store, outcome=Outcome.FAILED)
            harness.pass_time(100)
        store.prune(store.now(), attempts_before=store.now() - 150, dead_letters_before=None)
        assert [len(store.attempts(name)) for name in ("old", "new")] == [0, 1]

    def test_the_pruned_are_not_run_again(self, harness: StoreHarness, store: Store) -> None:
        """A record outlives its own message's redelivery, since the message ended with it."""
        publish(store, "a")
        held = claim_one(store)
        settle(store, held, record=record(held, expires_at=store.now() + 1))
        harness.pass_time(100)
        _prune(store)
        assert (claim(store), store.sizes()) == ([], [])
        assert not settle(store, held).held

    def test_expired_keys_are_pruned_and_held_ones_kept(self, harness: StoreHarness, store: Store) -> None:
        publish(store, task("done", key=key("1")), task("waiting", "other", key=key("2")))
        run(store, key=key("1"))
        harness.pass_time(61)
        assert _prune(store) == 1
        assert publish(store, task("b", key=key("2")))[0].duplicate_of == "waiting"

    def test_pruning_has_no_limit(self, harness: StoreHarness, store: Store) -> None:
        publish(store, *[f"{number}" for number in range(MANY)])
        store.settle([_success(found, expires_at=store.now() + 1) for found in claim(store, limit=MANY)])
        store.revoke([f"{number}" for number in range(MANY)], keep=1.0)
        harness.pass_time(10)
        assert _prune(store) == 2 * MANY


def _success(found: Delivery, **fields: Any) -> Settlement:
    return settlement(found, record=record(found, **fields))


def _prune(store: Store) -> int:
    return store.prune(store.now(), attempts_before=store.now(), dead_letters_before=None)
