# ruff: noqa: PLR2004  # expected figures are the point of a check
"""Lanes of limited messages: whose turn it is, and what people, a broker and a purge find in them."""

from __future__ import annotations

from collections import Counter

from celeriac.core.attempt import Outcome
from celeriac.core.limits import Rule, pack
from celeriac.core.message import Adoption, Delivery
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import (
    LEASE,
    QUEUE,
    Conformance,
    StoreHarness,
    claim,
    claim_one,
    ids,
    publish,
    settle,
    state_of,
    take_over,
    task,
)
from celeriac.testing.conformance.limits import limited, slots, turns


class LanesConformance(Conformance):
    """What waits for its limits."""

    # -- turns

    def test_one_with_many_keeps_nobody_waiting(self, store: Store) -> None:
        publish(store, *[limited(f"many{number}", turns("many")) for number in range(300)])
        claim(store, limit=10)
        publish(store, *[limited(f"few{number}", turns("few")) for number in range(3)])
        got = [claim_one(store).task_id for _ in range(8)]
        assert {f"few{number}" for number in range(3)} <= set(got)

    def test_each_has_its_turn_in_one_claim(self, store: Store) -> None:
        for value in "abc":
            publish(store, *[limited(f"{value}{number}", turns(value)) for number in range(20)])
        got = claim(store, limit=9)
        assert Counter(str(item.task_id)[0] for item in got) == {"a": 3, "b": 3, "c": 3}

    def test_a_lanes_messages_go_in_their_order(self, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(9)) for number in range(20)])
        assert ids(claim(store, limit=9)) == [f"{number}" for number in range(9)]

    def test_higher_priorities_go_first(self, store: Store) -> None:
        publish(store, *[limited(f"low{number}", turns("a")) for number in range(5)], "plain")
        publish(store, limited("high", turns("a"), priority=7))
        assert claim_one(store).task_id == "high"
        publish(store, task("higher", priority=9))
        assert claim_one(store).task_id == "higher"

    def test_limited_and_other_messages_of_a_queue_share_it(self, store: Store) -> None:
        publish(store, *[f"plain{number}" for number in range(50)])
        publish(store, *[limited(f"limited{number}", turns("a")) for number in range(50)])
        got = [str(item.task_id)[:5] for item in claim(store, limit=20)]
        assert Counter(got) == {"plain": 10, "limit": 10}

    # -- beside a broker that is no store

    def test_a_broker_is_given_what_may_start(self, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(2)) for number in range(4)], "plain")
        given = store.take_for_relay(64, 10)
        assert sorted(map(str, ids(given))) == ["0", "1", "plain"]
        store.relayed([item.lease for item in given], 100)
        assert store.take_for_relay(64, 10) == []
        [held] = store.adopt([limited("0", slots(2))], owner="worker", lease=LEASE)
        assert isinstance(held, Delivery)
        assert (held.task_id, held.limited) == ("0", True)
        assert store.take_for_relay(64, 10) == []
        settle(store, held)
        assert ids(store.take_for_relay(64, 10)) == ["2"]

    def test_what_the_broker_was_given_in_vain_keeps_its_slot(self, harness: StoreHarness, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(1)) for number in range(2)])
        store.relayed([item.lease for item in store.take_for_relay(64, 10)], 100)
        harness.pass_time(101)
        assert ids(store.take_for_relay(64, 10)) == ["0"]

    def test_a_limited_message_that_the_broker_delivers_waits_in_the_ledger(self, store: Store) -> None:
        [first, second] = store.adopt([limited("a", slots(1)), limited("b", slots(1))], owner="worker", lease=LEASE)
        assert (first, second) == (Adoption.DELAYED, Adoption.DELAYED)
        assert ids(store.take_for_relay(64, 10)) == ["a"]

    def test_a_suspect_is_given_to_the_broker_when_it_has_a_slot(self, harness: StoreHarness, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(1)) for number in range(3)])
        [given] = store.take_for_relay(64, 10)
        store.relayed([given.lease], 100)
        store.adopt([limited("0", slots(1))], owner="worker", lease=LEASE)
        take_over(harness)
        assert [(item.task_id, item.suspect) for item in store.take_for_relay(64, 10)] == [("0", True)]
        assert store.take_for_relay(64, 10) == []

    # -- changing one's mind

    def test_the_limits_that_are_declared_now_count(self, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(1)) for number in range(5)])
        store.rules = {"charge": Rule(slots=3)}
        assert len(claim(store)) == 3

    def test_what_came_without_limits_is_sent_to_its_lane(self, store: Store) -> None:
        publish(store, limited("a", slots(1)), task("b", priority=9))
        b = claim_one(store)
        assert b.task_id == "b"
        assert store.hold(b.lease, pack([slots(1)]))
        assert not store.hold(b.lease, pack([slots(1)]))
        got = claim_one(store)
        assert got.task_id == "b"
        assert claim(store) == []
        settle(store, got)
        assert ids(claim(store)) == ["a"]

    # -- looked at, purged, revoked

    def test_what_waits_for_its_limits_is_counted_as_such(self, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(1)) for number in range(3)])
        claim_one(store)
        [size] = store.sizes()
        assert (size.ready, size.claimed, size.extra["limited"]) == (0, 1, 2)
        assert store.size(QUEUE) == 2
        assert claim(store) == []
        [lane] = store.lanes(10)
        assert (lane.queue, lane.waiting, lane.blocked_on) == (QUEUE, 2, slots(1).bucket)
        assert store.taken().get(slots(1).bucket) == 1

    def test_a_purge_drops_what_waits_in_lanes(self, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(1)) for number in range(3)])
        got = claim_one(store)
        assert store.purge(QUEUE) == 2
        settle(store, got)
        publish(store, limited("next", slots(1)))
        assert ids(claim(store)) == ["next"]

    def test_what_is_revoked_ends_without_a_slot(self, store: Store) -> None:
        publish(store, limited("a", slots(1)), limited("b", slots(1)))
        claim_one(store)
        assert store.revoke(["b"], keep=60) == ["b"]
        got = claim_one(store)
        assert (got.task_id, got.revoked) == ("b", True)
        settle(store, got, Outcome.REVOKED)
        assert state_of(store, "b") == "REVOKED"

    def test_many_lanes_are_served_and_forgotten(self, store: Store) -> None:
        publish(store, *[limited(f"{number}", slots(1, f"{number}")) for number in range(200)])
        seen: set[str | None] = set()
        while got := claim(store, limit=32):
            seen.update(ids(got))
            for item in got:
                settle(store, item)
        assert len(seen) == 200
        assert store.lanes(10) == []
        assert store.taken() == {}
