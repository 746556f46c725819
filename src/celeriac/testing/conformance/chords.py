"""Chords: a join is complete when every member has contributed, and its body is sent once."""

from __future__ import annotations

import pytest

from celeriac.core.attempt import ChordPart, Record
from celeriac.core.message import Join
from celeriac.errors import StoreError
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import (
    Conformance,
    StoreHarness,
    claim,
    claim_one,
    ids,
    part,
    publish,
    record,
    settle,
    settlement,
    state_of,
    task,
)


class ChordConformance(Conformance):
    """``Chords``."""

    # -- complete

    def test_the_last_member_completes_it(self, store: Store) -> None:
        assert not store.set_chord_size("g", 2)
        assert not store.add_chord_part(part("g", "a", 0))
        assert store.add_chord_part(part("g", "b", 1))

    def test_members_may_come_before_the_size_is_known(self, store: Store) -> None:
        assert not store.add_chord_part(part("g", "a"))
        assert not store.add_chord_part(part("g", "b", 1))
        assert store.set_chord_size("g", 2)

    @pytest.mark.parametrize("beside", [[], ["b", "c"]], ids=["alone", "among others"])
    def test_what_it_is_joined_by_is_written_with_the_message_that_brings_it(
        self, store: Store, beside: list[str]
    ) -> None:
        joins = (Join("g", size=2), Join("g", tree="tree"), Join("h", tree=b"\x00tree", expires_at=store.now() + 60))
        message = task("a", joins=joins)
        store.publish([message, *map(task, beside)])
        assert store.knows_chord("g")
        assert not store.knows_chord("h")
        assert (store.get_group("g"), store.get_group("h")) == ("tree", b"\x00tree")
        assert not store.add_chord_part(part("g", "a"))
        assert store.add_chord_part(part("g", "b", 1))
        # A second copy, which comes while its task waits, brings nothing.
        store.publish([task("a", joins=(Join("g", size=3), Join("late", size=1)))])
        assert not store.knows_chord("late")

    def test_members_complete_it_with_their_settlement(self, store: Store) -> None:
        store.set_chord_size("g", 2)
        publish(store, "a", "b")
        first, second = claim(store)
        assert settle(store, first, chord=[part("g", "a")]).complete_chords == ()
        assert settle(store, second, chord=[part("g", "b", 1), part("h", "b")]).complete_chords == ("g",)

    def test_members_that_settle_together_complete_each_chord_once(self, harness: StoreHarness, store: Store) -> None:
        store.set_chord_size("g", 2)
        store.set_chord_size("h", 3)
        publish(store, "a", "b", "c", "d")
        held = claim(store)
        store.release([held[3].lease])
        parts = [[part("h", "a")], [part("g", "b"), part("h", "b", 1)], [part("g", "c", 1)], [part("h", "d", 2)]]
        pairs = zip(held, parts, strict=True)
        found = store.settle([settlement(item, record=record(item), chord=chord) for item, chord in pairs])
        assert [(answer.held, answer.complete_chords) for answer in found] == [
            (True, ()),
            (True, ()),
            (True, ("g",)),
            (False, ()),
        ]
        assert [item.task_id for item in store.chord_parts("g")[1]] == ["b", "c"]
        assert settle(store, claim_one(store), chord=[part("h", "d", 2)]).complete_chords == ("h",)

    def test_of_bodies_that_come_together_the_first_is_kept(self, store: Store) -> None:
        store.set_chord_size("g", 3)
        publish(store, "a", "b", "c")
        bodies = ["the body", "another", "a third"]
        chord = [
            settlement(item, record=record(item), chord=[ChordPart("g", item.task_id or "", place, True, "1", body)])
            for place, (item, body) in enumerate(zip(claim(store), bodies, strict=True))
        ]
        assert [answer.complete_chords for answer in store.settle(chord)] == [(), (), ("g",)]
        assert store.chord_parts("g")[0] == "the body"

    def test_a_stale_settlement_contributes_nothing(self, harness: StoreHarness, store: Store) -> None:
        store.set_chord_size("g", 1)
        publish(store, "a")
        held = claim_one(store)
        store.release([held.lease])
        assert settle(store, held, chord=[part("g", "a")]).complete_chords == ()
        assert store.chord_parts("g") == (None, [])

    def test_a_member_counts_once(self, store: Store) -> None:
        store.set_chord_size("g", 2)
        for _ in range(3):
            assert not store.add_chord_part(part("g", "a"))
        assert store.add_chord_part(part("g", "b", 1))

    def test_results_are_in_the_order_of_the_header(self, store: Store) -> None:
        store.set_chord_size("g", 3)
        for position, name in ((2, "c"), (0, "b"), (1, "a")):
            store.add_chord_part(part("g", name, position, result=f"{position}"))
        body, parts = store.chord_parts("g")
        assert body == "the body"
        assert [(found.task_id, found.position, found.result) for found in parts] == [
            ("b", 0, "0"),
            ("a", 1, "1"),
            ("c", 2, "2"),
        ]

    def test_a_header_may_grow(self, store: Store) -> None:
        store.set_chord_size("g", 1)
        store.grow_chord("g", 1)
        assert not store.add_chord_part(part("g", "a"))
        assert store.add_chord_part(part("g", "b", 1))

    def test_it_may_grow_before_its_size_is_known(self, store: Store) -> None:
        """A quick member replaces itself while the header is still being sent."""
        store.grow_chord("g", 1)
        assert not store.add_chord_part(part("g", "a"))
        assert not store.set_chord_size("g", 1)
        assert store.add_chord_part(part("g", "b", 1))

    # -- succeeded, failed, both

    def test_a_later_success_counts_for_an_earlier_failure(self, store: Store) -> None:
        store.set_chord_size("g", 2)
        store.add_chord_part(part("g", "a", succeeded=False, result="error"))
        assert not store.add_chord_part(part("g", "a", result="1"))
        assert store.add_chord_part(part("g", "b", 1, result="2"))
        assert [(found.succeeded, found.result) for found in store.chord_parts("g")[1]] == [(True, "1"), (True, "2")]

    def test_a_later_failure_does_not_undo_a_success(self, store: Store) -> None:
        store.set_chord_size("g", 2)
        store.add_chord_part(part("g", "a", result="1"))
        store.add_chord_part(part("g", "a", succeeded=False, result="error"))
        assert [(found.succeeded, found.result) for found in store.chord_parts("g")[1]] == [(True, "1")]

    def test_a_failed_chord_opens_again_when_its_member_succeeds(self, store: Store) -> None:
        store.set_chord_size("g", 1)
        assert store.add_chord_part(part("g", "a", succeeded=False))
        assert _close(store, succeeded=False)
        assert store.add_chord_part(part("g", "a"))
        assert _close(store)
        assert ids(claim(store)) == ["body"]

    def test_a_failed_chord_fails_anew_with_a_member_that_does(self, store: Store) -> None:
        """Its error callbacks are called for each generation of a member that gives up, and for no success."""
        store.set_chord_size("g", 2)
        store.add_chord_part(part("g", "a", succeeded=False))
        assert store.add_chord_part(part("g", "b", 1, succeeded=False))
        assert _close(store, succeeded=False)
        assert store.add_chord_part(part("g", "a", succeeded=False, result="again"))
        assert [found.result for found in store.chord_parts("g")[1]][:1] == ["again"]
        assert _close(store, succeeded=False)
        assert not store.add_chord_part(part("g", "a"))
        assert not store.add_chord_part(part("g", "a", succeeded=False)), "it had succeeded before"
        assert not _close(store)
        assert store.add_chord_part(part("g", "b", 1))
        assert _close(store)
        assert ids(claim(store)) == ["body"]

    def test_a_sent_chord_never_opens_again(self, store: Store) -> None:
        store.set_chord_size("g", 1)
        store.add_chord_part(part("g", "a", succeeded=False))
        assert _close(store)
        assert not store.add_chord_part(part("g", "a"))
        assert not store.set_chord_size("g", 1)
        assert not _close(store)

    # -- closed

    def test_it_is_closed_once(self, harness: StoreHarness, store: Store) -> None:
        store.set_chord_size("g", 1)
        store.add_chord_part(part("g", "a"))
        assert [_close(other) for other in (store, harness.open())] == [True, False]
        assert ids(claim(store)) == ["body"]
        assert state_of(store, "tail") == "FAILURE"
        assert store.chord_parts("g") == (None, [])

    def test_an_incomplete_or_unknown_one_is_not_closed(self, store: Store) -> None:
        store.set_chord_size("g", 2)
        store.add_chord_part(part("g", "a"))
        assert not _close(store)
        assert not _close(store, "unheard-of")
        assert claim(store) == []

    def test_closing_is_whole_or_nothing(self, harness: StoreHarness, store: Store) -> None:
        store.set_chord_size("g", 1)
        store.add_chord_part(part("g", "a"))
        with pytest.raises(StoreError):
            store.close_chord(
                "g",
                succeeded=True,
                messages=[task("body"), harness.unstorable()],
                records=[Record("tail", 0, "FAILURE", closed=True)],
            )
        assert (claim(store), state_of(store, "tail")) == ([], None)
        assert _close(store)
        assert ids(claim(store)) == ["body"]

    def test_the_chord_round_it_is_told_as_it_closes(self, store: Store) -> None:
        for group_id in ("inner", "outer"):
            store.set_chord_size(group_id, 1)
        store.add_chord_part(part("inner", "a", succeeded=False))
        told = [part("outer", "inner body", succeeded=False), part("incomplete", "b")]
        closed = [store.close_chord("inner", succeeded=False, messages=[], records=[], parts=told) for _ in range(2)]
        assert [(one.held, one.complete_chords) for one in closed] == [(True, ("outer",)), (False, ())]
        assert [found.task_id for found in store.chord_parts("outer")[1]] == ["inner body"]

    def test_who_saw_a_failure_that_was_put_right_since_closes_nothing(self, store: Store) -> None:
        """A worker that has stalled between its look and its word, while somebody has redriven the member."""
        store.set_chord_size("g", 1)
        assert store.add_chord_part(part("g", "a", succeeded=False))
        assert store.add_chord_part(part("g", "a"))
        _close(store, succeeded=False)
        assert state_of(store, "tail") is None
        _close(store)
        assert ids(claim(store)) == ["body"]

    # -- left behind by someone who died in between

    def test_complete_chords_that_wait_are_found(self, harness: StoreHarness, store: Store) -> None:
        store.set_chord_size("g", 1)
        store.add_chord_part(part("g", "a"))
        store.set_chord_size("incomplete", 2)
        store.add_chord_part(part("incomplete", "a"))
        assert store.chords_waiting(10.0) == []
        harness.pass_time(11)
        assert store.chords_waiting(10.0) == ["g"]
        _close(store)
        assert store.chords_waiting(0.0) == []

    def test_what_is_over_is_pruned_and_what_is_not_is_kept(self, harness: StoreHarness, store: Store) -> None:
        for group_id in ("sent", "open"):
            store.set_chord_size(group_id, 1)
            store.add_chord_part(part(group_id, "a"))
        _close(store, "sent")
        harness.pass_time(1_000)
        assert store.prune(store.now(), attempts_before=store.now() - 1, dead_letters_before=None) > 0
        assert store.chords_waiting(0.0) == ["open"]
        assert not store.set_chord_size("sent", 1), "its members are forgotten too"

    def test_the_groups_of_a_header_stay_as_long_as_its_chord_waits(self, harness: StoreHarness, store: Store) -> None:
        """It is joined by them, however long its members take or wait for a redrive; results expire sooner."""
        for group_id in ("g", "failed", "unheard-of"):
            store.save_group(group_id, f"{group_id}'s", store.now() + 10)
        store.set_chord_size("g", 1)
        store.set_chord_size("failed", 1)
        store.add_chord_part(part("failed", "b", succeeded=False))
        _close(store, "failed", succeeded=False)
        harness.pass_time(1_000)
        _prune(store)
        assert [store.get_group(one) for one in ("g", "failed", "unheard-of")] == ["g's", "failed's", None]
        store.add_chord_part(part("g", "a"))
        _close(store)
        harness.pass_time(4_000)
        _prune(store)
        assert [store.get_group(one) for one in ("g", "failed")] == [None, "failed's"]


def _prune(store: Store) -> None:
    store.prune(store.now(), attempts_before=store.now() - 1_000_000, dead_letters_before=None)


def _close(store: Store, group_id: str = "g", *, succeeded: bool = True) -> bool:
    messages = [task("body")] if succeeded else []
    records = [Record("tail", 0, "FAILURE", closed=True)]
    return store.close_chord(group_id, succeeded=succeeded, messages=messages, records=records).held
