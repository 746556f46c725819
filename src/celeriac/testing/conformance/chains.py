# expected figures are the point of a check
"""What a store keeps of long chains, and for how long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from celeriac.core.attempt import ChordPart, DeadLetterFilter, Outcome
from celeriac.core.chains import Chains, Kept
from celeriac.core.message import TaskMessage
from celeriac.errors import CeleriacError
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import (
    ME,
    Conformance,
    StoreHarness,
    claim_one,
    key,
    publish,
    run,
    settle,
    task,
)

ALL = DeadLetterFilter()
REST = Kept("c1", "application/json utf-8", ('{"task":"last"}', '{"task":"größe 🥬"}', '{"nul":"\\u0000"}'))


def first(task_id: str = "a", *kept: Kept, holder: str | None = None, **fields: Any) -> TaskMessage:
    """A message that brings the rest of its chain along."""
    kept = kept or (REST,)
    needs = tuple((one.id, holder or task_id) for one in kept)
    return task(task_id, chains=Chains(kept, needs), **fields)


def needing(task_id: str, chain_id: str = REST.id) -> TaskMessage:
    """A message that needs a chain which was kept before."""
    return task(task_id, chains=Chains((), ((chain_id, task_id),)))


class ChainsConformance(Conformance):
    """``Chains``."""

    def test_a_step_is_read_by_its_place_from_the_end(self, harness: StoreHarness, store: Store) -> None:
        publish(store, first())
        other = harness.open()
        assert [other.chain_step("c1", at) for at in range(3)] == [
            replaced(REST.steps[0]),
            replaced(REST.steps[1]),
            replaced(REST.steps[2]),
        ]
        assert other.chain_step("c1", 3) is None
        assert other.chain_step("another", 0) is None

    def test_the_rest_is_read_from_a_place_to_the_end(self, store: Store) -> None:
        publish(store, first())
        assert store.chain_rest("c1", 2) == REST
        assert store.chain_rest("c1", 0) == replaced(REST.steps[0])
        assert store.chain_rest("c1", 3) is None, "half of a rest is none"
        assert store.chain_rest("another", 0) is None

    def test_a_thousand_steps_and_more(self, store: Store) -> None:
        long = Kept("long", "json", tuple(f"step {number}" for number in range(2_500)))
        publish(store, first("a", long))
        assert store.chain_rest("long", 2_499) == long
        assert store.chain_step("long", 2_499) == Kept("long", "json", ("step 2499",))

    def test_it_is_kept_with_each_of_many_messages(self, store: Store) -> None:
        """Which a store may send in another way than one."""
        publish(store, *[first(f"t{n}", REST._replace(id=f"c{n}"), generation=0) for n in range(150)], task("plain"))
        assert store.chain_rest("c0", 2) == REST._replace(id="c0")
        assert store.chain_rest("c149", 2) == REST._replace(id="c149")

    def test_nothing_is_kept_of_what_was_not_sent(self, harness: StoreHarness, store: Store) -> None:
        with pytest.raises((CeleriacError, TypeError, ValueError)):
            publish(store, first(), harness.unstorable())
        assert store.chain_step("c1", 0) is None

    def test_it_is_kept_under_a_key_too(self, store: Store) -> None:
        publish(store, first(key=key()))
        assert store.chain_rest("c1", 2) == REST
        publish(store, first("b", REST._replace(id="c2"), key=key()))
        assert store.chain_step("c2", 0) is None, "the key was held: nothing was sent"

    def test_it_is_kept_in_the_settlement_that_sends_it(self, store: Store) -> None:
        publish(store, "before")
        delivery = claim_one(store)
        assert settle(store, delivery, follow_ups=[first(follow_up=True, awaited=True)]).held
        assert store.chain_rest("c1", 2) == REST
        assert not settle(store, delivery, follow_ups=[first("b", REST._replace(id="c2"))]).held
        assert store.chain_step("c2", 0) is None, "the lease was lost: nothing was written"

    def test_it_is_kept_with_the_body_of_a_chord(self, store: Store) -> None:
        store.set_chord_size("g", 1)
        store.add_chord_part(ChordPart("g", "a", 0, True, "1", "{}"))
        assert store.close_chord("g", succeeded=True, messages=[first("body")], records=[]).held
        assert store.chain_rest("c1", 2) == REST

    # -- how long

    def test_it_is_pruned_once_nobody_is_left_who_needs_it(self, harness: StoreHarness, store: Store) -> None:
        publish(store, first())
        run(store)
        _prune(store, before=1_000)
        assert store.chain_rest("c1", 2) == REST, "it is as young as that"
        harness.pass_time(2_000)
        _prune(store, before=1_000)
        assert store.chain_step("c1", 0) is None
        assert store.chains_needed_by("a") == []

    def test_it_stays_while_a_task_waits_or_runs_that_needs_it(self, harness: StoreHarness, store: Store) -> None:
        publish(store, first())
        harness.pass_time(10_000)
        _prune(store)
        assert store.chain_rest("c1", 2) == REST
        delivery = claim_one(store)
        _prune(store)
        assert store.chain_rest("c1", 2) == REST
        settle(store, delivery, follow_ups=[needing("b")])
        harness.pass_time(10_000)
        _prune(store)
        assert store.chain_rest("c1", 2) == REST, "the next step waits"
        run(store)
        harness.pass_time(10_000)
        _prune(store)
        assert store.chain_rest("c1", 2) is None

    def test_it_stays_while_a_dead_letter_could_go_on_with_it(self, harness: StoreHarness, store: Store) -> None:
        publish(store, first())
        run(store, outcome=Outcome.DEAD_LETTERED)
        harness.pass_time(10_000)
        _prune(store)
        assert store.chain_rest("c1", 2) == REST
        [letter] = store.dead_letters(ALL)
        store.redrive(letter, task("a", generation=1), ME)
        harness.pass_time(10_000)
        _prune(store)
        assert store.chain_rest("c1", 2) == REST, "it is on its way again"
        run(store)
        harness.pass_time(10_000)
        _prune(store)
        assert store.chain_rest("c1", 2) is None

    def test_it_goes_with_a_dead_letter_that_is_purged(self, harness: StoreHarness, store: Store) -> None:
        publish(store, first())
        run(store, outcome=Outcome.DEAD_LETTERED)
        harness.pass_time(10_000)
        _prune(store)
        [letter] = store.dead_letters(ALL)
        store.purge_dead_letters([letter.id], ME)
        harness.pass_time(300)  # what was spared need not be looked at in every round
        _prune(store)
        assert store.chain_step("c1", 0) is None

    def test_it_stays_while_a_chord_waits_whose_body_goes_on_with_it(self, harness: StoreHarness, store: Store) -> None:
        publish(store, first("member", holder="g"))
        store.set_chord_size("g", 2)
        run(store)
        harness.pass_time(10_000)
        _prune(store)
        assert store.chain_rest("c1", 2) == REST
        for member in ("a", "b"):
            store.add_chord_part(ChordPart("g", member, 0, True, "1", "{}"))
        store.close_chord("g", succeeded=True, messages=[needing("body")], records=[])
        harness.pass_time(10_000)
        _prune(store)
        _prune(store)
        assert store.chain_rest("c1", 2) == REST, "the body needs it itself"
        run(store)
        harness.pass_time(10_000)
        _prune(store)
        assert store.chain_step("c1", 0) is None

    def test_one_chain_that_is_needed_keeps_no_other(self, harness: StoreHarness, store: Store) -> None:
        publish(store, first("a"))
        run(store)
        publish(store, first("b", REST._replace(id="c2")))
        harness.pass_time(10_000)
        _prune(store)
        assert store.chain_step("c1", 0) is None
        assert store.chain_rest("c2", 2) == REST._replace(id="c2")

    def test_more_is_pruned_than_goes_at_once(self, harness: StoreHarness, store: Store) -> None:
        for number in range(3):
            publish(store, first(f"t{number}", Kept(f"c{number}", "json", tuple(map(str, range(900))))))
            run(store)
        harness.pass_time(10_000)
        _prune(store)
        assert [store.chain_step(f"c{number}", 0) for number in range(3)] == [None] * 3

    # -- elsewhere

    def test_a_task_tells_what_it_needs(self, store: Store) -> None:
        publish(store, first("a", REST, REST._replace(id="c2")), needing("b"))
        assert store.chains_needed_by("a") == [REST, REST._replace(id="c2")]
        assert store.chains_needed_by("b") == [REST]
        assert store.chains_needed_by("nobody") == []

    def test_an_imported_letter_brings_its_chains_along(self, harness: StoreHarness, store: Store) -> None:
        publish(store, first())
        run(store, outcome=Outcome.DEAD_LETTERED)
        [letter] = store.dead_letters(ALL)
        store.purge_dead_letters([letter.id], ME)
        harness.pass_time(10_000)
        _prune(store)
        assert store.chain_step("c1", 0) is None
        letter = replace(letter, generation=1, chains=Chains((REST,), (("c1", "a"),)))
        assert store.import_dead_letters([letter], ME) == 1
        assert store.chain_rest("c1", 2) == REST
        harness.pass_time(10_000)
        _prune(store)
        assert store.chain_rest("c1", 2) == REST
        assert store.import_dead_letters([letter], ME) == 0


def replaced(step: str) -> Kept:
    return REST._replace(steps=(step,))


def _prune(store: Store, before: float = 0.0) -> None:
    store.prune(store.now(), attempts_before=store.now() - before, dead_letters_before=None)
