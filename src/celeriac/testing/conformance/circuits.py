# expected figures are the point of a check
"""What a store keeps of circuit breakers, and of what was put off."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from celeriac.core.attempt import DeadLetterFilter, Outcome
from celeriac.core.message import Adoption
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import (
    Conformance,
    StoreHarness,
    claim,
    claim_one,
    ids,
    key,
    publish,
    run,
    settle,
    take_over,
    task,
)


class CircuitsConformance(Conformance):
    """States that many change, each from what it has read."""

    def test_nothing_is_known_at_first(self, store: Store) -> None:
        assert store.read_circuit("gateway") == (0, None)
        assert store.all_circuits() == {}
        assert not store.forget_circuit("gateway")

    def test_what_was_written_is_read_by_all(self, harness: StoreHarness, store: Store) -> None:
        text = '{"note":"no answer, ü 🥬"}'
        assert store.write_circuit("gateway", 0, text)
        version, found = harness.open().read_circuit("gateway")
        assert found == text
        assert version > 0
        assert harness.open().all_circuits() == {"gateway": text}

    def test_only_what_was_read_is_replaced(self, harness: StoreHarness, store: Store) -> None:
        assert store.write_circuit("gateway", 0, "first")
        version, _ = store.read_circuit("gateway")
        assert harness.open().write_circuit("gateway", version, "second")
        assert not store.write_circuit("gateway", version, "lost")
        assert store.read_circuit("gateway")[1] == "second"

    def test_two_cannot_both_be_the_first(self, harness: StoreHarness, store: Store) -> None:
        assert store.write_circuit("gateway", 0, "first")
        assert not harness.open().write_circuit("gateway", 0, "lost")
        assert store.read_circuit("gateway")[1] == "first"

    def test_each_name_is_a_circuit_of_its_own(self, store: Store) -> None:
        for name in ("gateway", "mail server", "größe 7"):
            assert store.write_circuit(name, 0, f"state of {name}")
        assert store.forget_circuit("mail server")
        assert store.all_circuits() == {name: f"state of {name}" for name in ("gateway", "größe 7")}

    def test_who_read_what_was_forgotten_writes_nothing(self, store: Store) -> None:
        assert store.write_circuit("gateway", 0, "old")
        version, _ = store.read_circuit("gateway")
        assert store.forget_circuit("gateway")
        assert not store.write_circuit("gateway", version, "stale")
        assert store.write_circuit("gateway", 0, "new")
        assert not store.write_circuit("gateway", version, "stale")
        assert store.read_circuit("gateway")[1] == "new"

    def test_no_change_is_lost_among_many(self, harness: StoreHarness, store: Store) -> None:
        others = [harness.open() for _ in range(3)]

        def add_one(one: Store) -> None:
            for _ in range(10):
                while True:
                    version, text = one.read_circuit("gateway")
                    if one.write_circuit("gateway", version, str(int(text or 0) + 1)):
                        break

        with ThreadPoolExecutor(len(others)) as pool:
            list(pool.map(add_one, others))
        assert store.read_circuit("gateway")[1] == "30"

    # -- put off

    def test_what_is_put_off_waits_and_counts_nothing(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        until = store.now() + 60
        run(store, outcome=Outcome.SNOOZED, snooze_until=until)
        assert claim(store) == []
        record = store.records(["a"])["a"]
        assert (record.state, record.closed, record.snoozes) == ("PENDING", False, 1)
        assert record.due_at == pytest.approx(until)
        assert store.attempts("a") == []
        harness.pass_time(61)
        [again] = claim(store)
        assert (again.task_id, again.generation, again.crashes, again.suspect) == ("a", 0, 0, False)
        record = store.records(["a"])["a"]
        assert (record.snoozes, record.due_at) == (1, None)

    def test_crashes_are_kept_when_it_is_put_off(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a")
        take_over(harness, started=[claim_one(store)])
        suspect = claim_one(store)
        assert suspect.crashes == 1
        assert settle(store, suspect, Outcome.SNOOZED, snooze_until=store.now() + 5).held
        harness.pass_time(6)
        [again] = claim(store)
        assert (again.crashes, again.suspect) == (1, True)

    def test_the_key_stays_taken_while_it_is_put_off(self, store: Store) -> None:
        publish(store, task("a", key=key()))
        run(store, outcome=Outcome.SNOOZED, snooze_until=store.now() + 60, key=key())
        [refused] = publish(store, task("b", key=key()))
        assert refused.duplicate_of == "a"

    def test_a_dead_letter_says_how_often_it_was_put_off(self, harness: StoreHarness, store: Store) -> None:
        publish(store, "a", task("never", "other"))
        run(store, "other", outcome=Outcome.DEAD_LETTERED)
        for _ in range(3):
            run(store, outcome=Outcome.SNOOZED, snooze_until=store.now() + 1)
            harness.pass_time(2)
        retried = claim_one(store)
        assert settle(store, retried, Outcome.RETRY, retry=task("a")).held
        run(store, outcome=Outcome.DEAD_LETTERED)
        letters = {letter.task_id: letter for letter in store.dead_letters(DeadLetterFilter())}
        assert {name: letter.snoozes for name, letter in letters.items()} == {"a": 3, "never": 0}

    def test_who_hands_back_puts_nothing_off(self, store: Store) -> None:
        publish(store, "a")
        store.release([claim_one(store).lease])
        settle(store, claim_one(store), Outcome.REQUEUED)
        assert store.records(["a"])["a"].snoozes == 0
        assert ids(claim(store)) == ["a"]

    def test_put_off_beside_another_broker_the_relay_gives_it_out(self, harness: StoreHarness, store: Store) -> None:
        [got] = store.adopt([task("a")], owner="worker", lease=30)
        assert not isinstance(got, Adoption)
        settle(store, got, Outcome.SNOOZED, snooze_until=store.now() + 60)
        assert store.take_for_relay(10, 30) == []
        [copy] = store.adopt([task("a")], owner="worker", lease=30)
        assert copy is Adoption.HELD
        harness.pass_time(61)
        assert ids(store.take_for_relay(10, 30)) == ["a"]
