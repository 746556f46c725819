# expected figures are the point of a check
"""What a store keeps of workflows."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from celeriac.core.attempt import ChordPart, DeadLetterFilter, Outcome, Settled, Settlement
from celeriac.core.message import WORKFLOW_HEADER, Delivery, TaskMessage
from celeriac.core.workflow import NONE_ENDED, Counted, Membership, Node, Workflow
from celeriac.core.workflow_members import Claimed
from celeriac.errors import StoreError
from celeriac.store.protocols import Store
from celeriac.testing.conformance.desk import again
from celeriac.testing.conformance.harness import (
    ME,
    Conformance,
    StoreHarness,
    claim,
    claim_one,
    ids,
    publish,
    record,
    settle,
    settlement,
    take_over,
    task,
)


def a_workflow(name: str = "w", *nodes: Node, **fields: object) -> Workflow:
    shape = list(nodes) or [Node(f"{name}-1", "shop.load"), Node(f"{name}-2", "shop.mail", [0])]
    return Workflow(f"id-{name}", f"{name} ü", shape, **fields)  # type: ignore[arg-type]


def send(store: Store, workflow: Workflow) -> None:
    publish(store, task(f"{workflow.id}-first", opens=workflow))


def member(task_id: str, part: Membership, says: str = "") -> TaskMessage:
    headers = {"id": task_id, WORKFLOW_HEADER: part.header(), "argsrepr": says}
    return task(task_id, envelope=json.dumps([headers, {}, "application/json", "utf-8"]))


def settle_part(store: Store, outcome: Outcome, body: str = "") -> Settled:
    """Settle what is claimed next as a member of ``group``."""
    taken = claim_one(store)
    succeeded, cancelled = outcome is Outcome.COMPLETED, outcome is Outcome.REVOKED
    part = ChordPart("group", str(taken.task_id), 0, succeeded, None, body, cancelled)
    return settle(store, taken, outcome, chord=[part])


def ended_at(taken: Delivery, began: float | None, ended: float | None) -> Settlement:
    """The end of a member of ``group`` that says when it began and when it ended."""
    known = replace(record(taken, "SUCCESS"), started_at=began, finished_at=ended)
    return settlement(taken, record=known, chord=[ChordPart("group", str(taken.task_id), 0, True, None, "")])


class WorkflowsConformance(Conformance):
    """Recorded with their first message; counted, cancelled, noted, forgotten."""

    def test_a_workflow_is_recorded_with_its_first_message(self, harness: StoreHarness, store: Store) -> None:
        sent = a_workflow(
            "w",
            Node("a", "shop.load", arguments="('ü', 3)"),
            Node("g", "x", [0], 30),
            on_failure="fail",
            parent="somebody",
        )
        before = store.now()
        send(store, sent)
        found = harness.open().workflow("id-w")
        assert found is not None
        assert (found.name, found.nodes, found.on_failure, found.parent) == ("w ü", sent.nodes, "fail", "somebody")
        assert (found.state, found.outcome, found.cancelled_at, found.cancelled_by) == ("running", None, None, None)
        assert before - 1 <= found.sent_at <= store.now() + 1
        assert store.workflow("unknown") is None

    def test_it_is_recorded_with_many_messages_too(self, store: Store) -> None:
        messages = [task(f"{number}", generation=0) for number in range(60)]
        messages[0].opens = a_workflow("w")
        store.publish(messages)
        assert store.workflow("id-w") is not None
        assert ids(claim(store)) == [message.task_id for message in messages]

    def test_what_is_not_accepted_is_not_recorded(self, harness: StoreHarness, store: Store) -> None:
        with pytest.raises(StoreError):
            store.publish([task("a", opens=a_workflow("w")), harness.unstorable()])
        assert store.workflow("id-w") is None

    def test_who_sends_it_again_records_nothing_anew(self, store: Store) -> None:
        send(store, a_workflow("w"))
        first = store.workflow("id-w")
        again = a_workflow("w")
        again.name = "another"
        send(store, again)
        assert store.workflow("id-w") == first

    def test_the_newest_come_first_and_by_pages(self, harness: StoreHarness, store: Store) -> None:
        for name in "abc":
            send(store, a_workflow(name))
            harness.pass_time(1)
        [newest, second] = store.workflows(2)
        assert [newest.id, second.id] == ["id-c", "id-b"]
        assert [found.id for found in store.workflows(2, before=second)] == ["id-a"]

    def test_it_is_found_by_any_of_its_nodes(self, store: Store) -> None:
        send(store, a_workflow("a"))
        send(store, a_workflow("b", Node("b-1", "x", arguments='("a-2", "b-2")'), Node("group-7", "y", [0], 40)))
        assert store.workflow_of("a-2") == "id-a"
        assert store.workflow_of("group-7") == "id-b"
        assert store.workflow_of("-2") is None
        assert store.workflow_of("b-2") is None, "an argument is no node"

    def test_it_is_found_by_any_of_its_tasks_that_waits_or_runs(self, store: Store) -> None:
        send(store, a_workflow("a", Node("first", "x"), Node("group", "y", [0], 40)))
        publish(store, member("one of many", Membership("id-a", folded="group"), says="id-b"), "alone")
        assert store.workflow_of("one of many") == "id-a"
        assert "one of many" in ids(claim(store))
        assert store.workflow_of("one of many") == "id-a"
        assert store.workflow_of("alone") is None
        assert store.workflow_of("first") == "id-a", "its message says nothing"

    def test_a_cancelled_one_says_by_whom_and_is_told_to_all(self, harness: StoreHarness, store: Store) -> None:
        send(store, a_workflow("a"))
        send(store, a_workflow("b"))
        assert store.cancelled_workflows() == frozenset()
        assert store.cancel_workflow("id-a", "me@host")
        assert not store.cancel_workflow("id-a", "another")
        assert not store.cancel_workflow("unknown", "me")
        assert harness.open().cancelled_workflows() == {"id-a"}
        found = store.workflow("id-a")
        assert found is not None
        assert found.cancelled_by == "me@host"
        assert found.cancelled_at == pytest.approx(store.now(), abs=5)
        harness.pass_time(100)
        assert store.cancel_workflow("id-b", "me@host")
        assert store.cancelled_workflows() == {"id-a", "id-b"}
        assert store.cancelled_workflows(store.now() - 50) == {"id-b"}

    def test_one_is_cancelled_in_the_settlement_that_says_so(self, harness: StoreHarness, store: Store) -> None:
        send(store, a_workflow("a"))
        held = claim_one(store)
        stale = settlement(held, Outcome.DEAD_LETTERED, cancels=("id-a", "load[1], which gave up"))
        take_over(harness)
        assert not store.settle([stale])[0].held
        assert store.cancelled_workflows() == frozenset(), "it was not his to say"
        again = claim_one(store)
        assert settle(store, again, Outcome.DEAD_LETTERED, cancels=("id-a", "load[1], which gave up")).held
        found = store.workflow("id-a")
        assert found is not None
        assert store.cancelled_workflows() == {"id-a"}
        assert found.cancelled_by == "load[1], which gave up"

    def test_those_that_go_on_are_looked_at_in_turn(self, harness: StoreHarness, store: Store) -> None:
        for name in "abc":
            send(store, a_workflow(name))
            harness.pass_time(1)
        assert [found.id for found in store.unfinished_workflows(2)] == ["id-a", "id-b"]
        store.note_workflow("id-a", "running", "[]")
        harness.pass_time(1)
        store.note_workflow("id-b", "blocked", "[[1]]")
        harness.pass_time(1)
        assert [found.id for found in store.unfinished_workflows(3)] == ["id-c", "id-a", "id-b"]
        store.note_workflow("id-c", "succeeded", "[[2]]")
        assert [found.id for found in store.unfinished_workflows(3)] == ["id-a", "id-b"]
        found = store.workflow("id-c")
        assert found is not None
        assert (found.state, found.outcome) == ("succeeded", "[[2]]")

    def test_those_that_stay_blocked_keep_nobody_from_being_looked_at(
        self, harness: StoreHarness, store: Store
    ) -> None:
        for name in ("blocked", "open"):
            send(store, a_workflow(name))
            store.note_workflow(f"id-{name}", "blocked" if name == "blocked" else "running", "[]")
            harness.pass_time(1)
        for turn in ("blocked", "open", "blocked"):
            [first] = store.unfinished_workflows(1)
            assert first.id == f"id-{turn}"
            store.note_workflow(first.id, first.state, "[]")
            harness.pass_time(1)

    def test_one_that_is_over_goes_when_its_end_is_old(self, harness: StoreHarness, store: Store) -> None:
        for name in ("over", "open", "late"):
            send(store, a_workflow(name))
        store.note_workflow("id-over", "succeeded", "[]")
        harness.pass_time(100)
        store.note_workflow("id-over", "succeeded", "[]")  # that it is over is no news
        store.note_workflow("id-late", "failed", "[]")
        store.prune(store.now(), attempts_before=store.now() - 50, dead_letters_before=None)
        assert [found.id for found in store.workflows(9)] == ["id-late", "id-open"]
        assert store.workflow_of("over-1") is None

    def test_those_that_were_sent_at_the_same_time_are_all_listed(self, store: Store) -> None:
        messages = [task(name, opens=a_workflow(name)) for name in "abcde"]
        store.publish(messages)
        found: list[Workflow] = []
        while page := store.workflows(2, before=found[-1] if found else None):
            found += page
        assert sorted(one.id for one in found) == [f"id-{name}" for name in "abcde"]

    def test_members_are_counted_as_they_end(self, store: Store) -> None:
        publish(store, "a", "b", "c", "d")
        for outcome in (Outcome.COMPLETED, Outcome.FAILED, Outcome.COMPLETED, Outcome.REVOKED):
            settle_part(store, outcome)
        assert store.counted(["group", "unknown"]) == {"group": Counted(2, 1, 1)}
        assert store.counted([]) == {}

    @pytest.mark.parametrize("reported", ["of the member", "of what follows it"])
    def test_dead_letters_of_members_are_counted(self, store: Store, reported: str) -> None:
        publish(store, "a", "b", "c")
        for outcome in (Outcome.DEAD_LETTERED, Outcome.FAILED, Outcome.DEAD_LETTERED):
            taken = claim_one(store)
            ends = str(taken.task_id) if reported == "of the member" else f"end of {taken.task_id}"
            settle(store, taken, outcome, chord=[ChordPart("group", ends, 0, False, None, "")])
        assert store.counted(["group"]) == {"group": Counted(0, 3, letters=2)}
        [first, second] = store.dead_letters(DeadLetterFilter())
        store.purge_dead_letters([first.id], ME)
        assert store.counted(["group"]) == {"group": Counted(0, 3, letters=1)}
        store.redrive(second, again(second), ME)
        assert store.counted(["group"]) == {"group": Counted(0, 2)}, "what was redriven has not ended"

    def test_a_member_that_was_redriven_has_not_ended_until_it_has_again(self, store: Store) -> None:
        publish(store, "a", "b")
        settle_part(store, Outcome.COMPLETED)
        for _ in range(2):
            settle_part(store, Outcome.DEAD_LETTERED)
            assert store.counted(["group"]) == {"group": Counted(1, 1, letters=1)}
            [letter] = store.dead_letters(DeadLetterFilter())
            store.redrive(letter, again(letter), ME)
            assert store.counted(["group"]) == {"group": Counted(1, 0)}
        settle_part(store, Outcome.COMPLETED)
        assert store.counted(["group"]) == {"group": Counted(2, 0)}

    def test_a_chain_that_was_redriven_has_not_ended_before_its_last_step(self, store: Store) -> None:
        publish(store, "first")
        failed = [ChordPart("group", "last", 0, False, None, "")]
        settle(store, claim_one(store), Outcome.DEAD_LETTERED, chord=failed)
        [letter] = store.dead_letters(DeadLetterFilter())
        store.redrive(letter, again(letter), ME)
        assert store.counted(["group"]).get("group", NONE_ENDED).ended == 0
        settle(store, claim_one(store))
        publish(store, "last")
        assert store.counted(["group"]).get("group", NONE_ENDED).ended == 0
        settle(store, claim_one(store), Outcome.DEAD_LETTERED, chord=failed)
        assert store.counted(["group"]) == {"group": Counted(0, 1, letters=1)}

    def test_those_with_messages_are_known(self, store: Store) -> None:
        for name, options in (("ready", {}), ("claimed", {"priority": 9}), ("late", {"run_at": store.now() + 1_000})):
            message = member(name, Membership(f"id-{name}"), says='"celeriac_workflow": ["no"]')
            publish(store, replace(message, **options))
        publish(store, "part of none")
        assert claim_one(store).task_id == "claimed"
        assert store.workflows_under_way() == {"id-ready", "id-claimed", "id-late"}
        store.purge("celery")
        assert store.workflows_under_way() == {"id-claimed"}

    def test_one_of_which_something_lies_in_an_outbox_goes_on(self, harness: StoreHarness, store: Store) -> None:
        for name in ("lost", "over", "going on"):
            send(store, a_workflow(name))
            assert store.workflow(f"id-{name}").kept_at is None  # type: ignore[union-attr]  # it is there
        store.note_workflow("id-lost", "lost", "[]")
        store.note_workflow("id-over", "succeeded", "[]")
        harness.pass_time(100)
        store.workflows_kept({"id-lost", "id-over", "unknown"})
        assert {one.id for one in store.unfinished_workflows(9)} == {"id-lost", "id-going on"}
        lost, over = store.workflow("id-lost"), store.workflow("id-over")
        assert lost is not None
        assert over is not None
        assert (lost.state, over.state) == ("running", "succeeded")
        assert lost.kept_at == over.kept_at == pytest.approx(store.now(), abs=10)
        store.prune(store.now(), attempts_before=store.now() - 50, dead_letters_before=None)
        assert {one.id for one in store.workflows(9)} == {"id-lost", "id-going on"}
        assert store.workflow("unknown") is None

    def test_its_dead_letters_are_found(self, harness: StoreHarness, store: Store) -> None:
        before = store.now()
        for name, whose in (("a", "id-w"), ("b", "id-v"), ("c", "id-w")):
            publish(store, member(name, Membership(whose), says="id-w"))
            settle(store, claim_one(store), Outcome.DEAD_LETTERED)
            harness.pass_time(10)
        letters = {letter.task_id: letter.id for letter in store.dead_letters(DeadLetterFilter())}
        assert store.letters_of_workflow("id-w", before - 1) == [letters["a"], letters["c"]]
        assert store.letters_of_workflow("id-w", before + 5) == [letters["c"]]
        assert store.letters_of_workflow("unknown", 0.0) == []

    def test_each_member_counts_as_what_it_last_came_to(self, store: Store) -> None:
        for outcome, counted in (
            (Outcome.REVOKED, Counted(0, 0, 1)),
            (Outcome.FAILED, Counted(0, 1)),
            (Outcome.REVOKED, Counted(0, 0, 1)),
            (Outcome.COMPLETED, Counted(1, 0)),
            (Outcome.FAILED, Counted(1, 0)),
        ):
            publish(store, "a")
            settle_part(store, outcome)
            assert store.counted(["group"]) == {"group": counted}

    def test_a_group_has_lasted_from_its_first_start_to_its_last_end(self, store: Store) -> None:
        assert store.times_of([]) == {}
        assert store.times_of(["group"]).get("group", (None, None)) == (None, None)
        lasted = dict.fromkeys(map(str, range(600)), (2.0, 3.0)) | {
            "7": (1.5, 2.0),
            "590": (2.5, 9.25),
            "591": (None, None),
        }
        store.publish([task(name) for name in lasted])
        store.settle([ended_at(one, *lasted[str(one.task_id)]) for one in claim(store, limit=600)])
        assert store.times_of(["group"]) == {"group": (1.5, 9.25)}

    def test_of_a_group_whose_results_are_forgotten_no_times_are_known(self, store: Store) -> None:
        publish(store, "a")
        store.settle([ended_at(claim_one(store), 1.0, 2.0)])
        store.forget("a")
        assert store.times_of(["group"]) == {"group": (None, None)}

    def test_a_member_that_was_cancelled_is_told_from_one_that_has_failed(self, store: Store) -> None:
        store.set_chord_size("group", 2)
        publish(store, "a", "b")
        assert settle_part(store, Outcome.REVOKED, body="").complete_chords == ()
        assert settle_part(store, Outcome.FAILED, body="the body").complete_chords == ("group",)
        body, parts = store.chord_parts("group")
        assert body == "the body", "what has none does not take its place"
        assert [(one.task_id, one.succeeded, one.cancelled) for one in parts] == [
            ("a", False, True),
            ("b", False, False),
        ]

    def test_who_has_which_of_its_tasks_is_known(self, store: Store) -> None:
        ours, folded = Membership("id-w"), Membership("id-w", folded="group")
        for name, part in (("a", ours), ("b", folded), ("c", folded), ("other", Membership("id-v")), ("late", ours)):
            publish(store, member(name, part))
        assert store.claimed_of_workflow("id-w") == []
        taken = claim(store, limit=4)
        assert store.start(taken[1].lease)
        found = sorted(store.claimed_of_workflow("id-w"))
        assert found == [Claimed("a", False, ours), Claimed("b", True, folded), Claimed("c", False, folded)]
        settle(store, taken[0])
        store.release([taken[1].lease])
        assert [one.task_id for one in store.claimed_of_workflow("id-w")] == ["c"]

    def test_a_group_that_nobody_joins_is_forgotten_after_its_workflow(
        self, harness: StoreHarness, store: Store
    ) -> None:
        send(store, a_workflow("w", Node("group", "x", [], 30)))
        taken = claim_one(store)
        settle(store, taken, chord=[ChordPart("group", str(taken.task_id), 0, True, None, "")])
        assert store.chords_waiting(-1) == []
        harness.pass_time(100)
        store.prune(store.now(), attempts_before=store.now() - 50, dead_letters_before=None)
        assert store.counted(["group"]) == {"group": Counted(1, 0)}
        store.note_workflow("id-w", "succeeded", "[]", over=["group"])
        harness.pass_time(100)
        store.prune(store.now(), attempts_before=store.now() - 50, dead_letters_before=None)
        assert store.counted(["group"]) == {}

    def test_a_chord_that_waits_for_its_body_is_not_taken_for_one(self, store: Store) -> None:
        store.set_chord_size("group", 2)
        publish(store, "a", "b")
        settle(store, claim_one(store), chord=[ChordPart("group", "a", 0, True, "1", "body")])
        send(store, a_workflow("w"))
        store.note_workflow("id-w", "cancelled", "[]", over=["group"])
        settled = settle(store, claim_one(store), chord=[ChordPart("group", "b", 1, True, "2", "body")])
        assert settled.complete_chords == ("group",)
        assert ids(claim(store)) == ["id-w-first"]
