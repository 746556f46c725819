# expected figures are the point of a check
"""The dead-letter desk: acknowledged, grouped, imported, logged; and chords that wait for a redrive."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celeriac.core.attempt import DeadLetter, DeadLetterFilter, Failure, Outcome
from celeriac.core.desk import By, Verb
from celeriac.core.fingerprints import fingerprint
from celeriac.core.message import TaskMessage
from celeriac.errors import DeadLetterError
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import (
    ME,
    Conformance,
    StoreHarness,
    claim_one,
    part,
    publish,
    run,
    settle,
    task,
)

ALL = DeadLetterFilter()
OPEN = DeadLetterFilter(acknowledged=False)
ANNA = By("anna@laptop", "the bank was down")
BERT = By("bert@laptop")


def bury(
    store: Store, task_id: str, error: str = "refused", *, kind: str = "builtins.OSError", **fields: object
) -> DeadLetter:
    """A task that gave up with this error."""
    publish(store, task(task_id))
    run(store, outcome=Outcome.DEAD_LETTERED, failure=Failure("permanent", kind, error), **fields)
    return list(store.dead_letters(ALL))[-1]


def again(letter: DeadLetter) -> TaskMessage:
    """Its message, to be sent again."""
    return TaskMessage(letter.queue, letter.envelope, letter.body, letter.task_id, letter.name, letter.priority)


def found(store: Store, chosen: DeadLetterFilter) -> list[str]:
    """The task ids of those that match."""
    letters = [letter.task_id for letter in store.dead_letters(chosen)]
    assert store.count_dead_letters(chosen) == len(letters)
    return letters


class DeskConformance(Conformance):
    """What people do with dead letters, and that it is written down."""

    # -- acknowledged

    def test_an_acknowledged_one_says_by_whom_and_why(self, store: Store) -> None:
        a, b = bury(store, "a"), bury(store, "b")
        assert store.acknowledge_dead_letters([a.id, 999_999], ANNA) == 1
        assert (found(store, OPEN), found(store, DeadLetterFilter(acknowledged=True)), found(store, ALL)) == (
            ["b"],
            ["a"],
            ["a", "b"],
        )
        known, other = store.dead_letters(ALL)
        assert (known.acked_by, known.note) == ("anna@laptop", "the bank was down")
        assert known.acked_at == pytest.approx(store.now(), abs=5)
        assert (other.id, other.acked_at, other.acked_by, other.note) == (b.id, None, None, None)

    def test_an_acknowledged_one_can_be_opened_again(self, store: Store) -> None:
        letter = bury(store, "a")
        store.acknowledge_dead_letters([letter.id], ANNA)
        assert store.reopen_dead_letters([letter.id, 999_999], BERT) == 1
        assert store.reopen_dead_letters([letter.id], BERT) == 0
        [letter] = store.dead_letters(OPEN)
        assert (letter.acked_at, letter.acked_by, letter.note) == (None, None, None)

    def test_what_was_said_before_stays_unless_there_is_something_else_to_say(self, store: Store) -> None:
        letter = bury(store, "a")
        store.acknowledge_dead_letters([letter.id], ANNA)
        assert store.acknowledge_dead_letters([letter.id], By("carla")) == 1
        [known] = store.dead_letters(ALL)
        assert (known.acked_by, known.note) == ("anna@laptop", "the bank was down")
        store.acknowledge_dead_letters([letter.id], By("carla", "a new contract"))
        [known] = store.dead_letters(ALL)
        assert (known.acked_by, known.note) == ("carla", "a new contract")
        assert [(action.who, action.note) for action in store.actions("a")] == [
            ("anna@laptop", "the bank was down"),
            ("carla", None),
            ("carla", "a new contract"),
        ]

    def test_the_newest_of_those_that_are_open(self, store: Store) -> None:
        letters = [bury(store, f"{number}") for number in range(4)]
        store.acknowledge_dead_letters([letters[3].id, letters[1].id], ANNA)
        assert [letter.task_id for letter in store.dead_letters(OPEN, newest=1)] == ["2"]

    # -- grouped

    def test_errors_of_one_kind_are_a_group(self, harness: StoreHarness, store: Store) -> None:
        bury(store, "a", "no order 1")
        harness.pass_time(100)
        bury(store, "b", "no order 22")
        lone = bury(store, "c", "no customer")
        newest = bury(store, "d", "no order 333")
        bury(store, "e", "no order 333", kind="builtins.KeyError")
        orders, *others = store.error_groups(ALL)
        assert (orders.fingerprint, orders.count, orders.tasks, orders.task) == (
            fingerprint("builtins.OSError", "no order 4"),
            3,
            1,
            "shop.charge",
        )
        assert (orders.newest_id, orders.error_type, orders.error) == (newest.id, "builtins.OSError", "no order 333")
        assert orders.last_at - orders.first_at == pytest.approx(100, abs=10)
        assert [group.count for group in others] == [1, 1]
        assert found(store, DeadLetterFilter(fingerprint=orders.fingerprint)) == ["a", "b", "d"]
        assert found(store, DeadLetterFilter(fingerprint=lone.fingerprint)) == ["c"]

    def test_groups_are_of_what_matches(self, harness: StoreHarness, store: Store) -> None:
        old = bury(store, "a", "no order 1")
        harness.pass_time(100)
        bury(store, "b", "no order 2")
        bury(store, "c", "no order 3")
        store.acknowledge_dead_letters([old.id], ANNA)
        assert [group.count for group in store.error_groups(OPEN)] == [2]
        assert [group.count for group in store.error_groups(DeadLetterFilter(older_than=50))] == [1]
        assert store.error_groups(DeadLetterFilter(error="else")) == []

    def test_what_no_worker_can_take_has_a_fingerprint_too(self, store: Store) -> None:
        publish(store, "a")
        store.reject(claim_one(store).lease, "unknown-task", "NotRegistered", "shop.charge 7")
        assert found(store, DeadLetterFilter(fingerprint=fingerprint("NotRegistered", "shop.charge 8"))) == ["a"]

    # -- found

    def test_the_letters_of_a_task(self, store: Store) -> None:
        first = bury(store, "a")
        other = bury(store, "b")
        second = bury(store, "a")
        assert store.dead_letters_of(["a", "b", "c"]) == {"a": [first.id, second.id], "b": [other.id]}
        assert store.dead_letters_of([]) == {}

    # -- brought back

    def test_an_import_brings_back_all_that_was_exported(self, harness: StoreHarness, store: Store) -> None:
        publish(store, task("a", body=b"\x00body", envelope='["envelope"]', priority=6))
        run(store, outcome=Outcome.RETRY, retry=task("a", body=b"\x00body", envelope='["2"]'))
        run(store, outcome=Outcome.SNOOZED, snooze_until=store.now() - 1)
        run(store, outcome=Outcome.DEAD_LETTERED, worker="w1")
        [letter] = store.dead_letters(ALL)
        assert letter.snoozes == 1
        store.acknowledge_dead_letters([letter.id], ANNA)
        [letter] = store.dead_letters(ALL)
        store.purge_dead_letters([letter.id], ME)
        harness.pass_time(1_000)
        store.prune(store.now(), attempts_before=store.now(), dead_letters_before=None)
        assert store.import_dead_letters([letter], BERT) == 1
        [back] = store.dead_letters(ALL)
        assert replace(back, id=letter.id) == letter

    def test_an_import_is_idempotent(self, store: Store) -> None:
        letters = [bury(store, "a"), bury(store, "b")]
        assert store.import_dead_letters(letters, ME) == 0
        store.purge_dead_letters([letters[0].id], ME)
        assert [store.import_dead_letters(letters, ME) for _ in range(3)] == [1, 0, 0]
        assert sorted(found(store, ALL)) == ["a", "b"]
        assert [len(store.attempts(letter.task_id)) for letter in letters] == [1, 1]
        assert store.import_dead_letters([], ME) == 0

    def test_one_export_may_name_a_letter_twice(self, store: Store) -> None:
        letter = bury(store, "a")
        store.purge_dead_letters([letter.id], ME)
        assert store.import_dead_letters([letter, letter], ME) == 1

    @pytest.mark.parametrize("fate", ["waits", "succeeded", "failed again"])
    def test_what_was_sent_again_since_is_not_imported(self, store: Store, fate: str) -> None:
        letter = bury(store, "a")
        store.redrive(letter, again(letter), ME)
        if fate == "succeeded":
            run(store)
        elif fate == "failed again":
            run(store, outcome=Outcome.DEAD_LETTERED)
        before = found(store, ALL)
        assert store.import_dead_letters([letter], ME) == 0
        assert found(store, ALL) == before

    def test_an_imported_one_is_redriven_as_any_other(self, harness: StoreHarness, store: Store) -> None:
        letter = bury(store, "a")
        store.purge_dead_letters([letter.id], ME)
        store.import_dead_letters([replace(letter, id=letter.id + 1_000)], ME)
        [back] = store.dead_letters(ALL)
        assert back.fingerprint == letter.fingerprint
        store.redrive(back, again(back), ME)
        assert claim_one(store).generation == 1
        bury(store, "b")  # its number is no one's that was imported
        assert len(found(store, ALL)) == 1

    # -- written down

    def test_everything_that_is_done_is_in_the_log(self, harness: StoreHarness, store: Store) -> None:
        a, b = bury(store, "a"), bury(store, "b")
        store.acknowledge_dead_letters([a.id, b.id], ANNA)
        store.reopen_dead_letters([a.id], BERT)
        harness.pass_time(60)
        store.redrive(a, again(a), BERT)
        store.purge_dead_letters([b.id], ANNA)
        store.import_dead_letters([b], BERT)
        store.record_action(Verb.EXPORTED, By("anna@laptop", "2 dead letters"))
        log = store.actions()
        assert [(entry.who, entry.verb.value, entry.task_id) for entry in log] == [
            ("anna@laptop", "acknowledged", "a"),
            ("anna@laptop", "acknowledged", "b"),
            ("bert@laptop", "reopened", "a"),
            ("bert@laptop", "redriven", "a"),
            ("anna@laptop", "purged", "b"),
            ("bert@laptop", "imported", "b"),
            ("anna@laptop", "exported", None),
        ]
        assert [entry.note for entry in log] == [ANNA.note, ANNA.note, None, None, ANNA.note, None, "2 dead letters"]
        assert [entry.letter_id for entry in log[:5]] == [a.id, b.id, a.id, a.id, b.id]
        assert log[-1].at - log[0].at == pytest.approx(60, abs=10)

    def test_the_log_of_one_task_and_the_newest_lines(self, store: Store) -> None:
        a, b = bury(store, "a"), bury(store, "b")
        for letter in (a, b, a):
            store.acknowledge_dead_letters([letter.id], ME)
        assert [entry.task_id for entry in store.actions("a")] == ["a", "a"]
        assert [entry.task_id for entry in store.actions(newest=2)] == ["b", "a"]
        assert len(store.actions("a", newest=1)) == 1
        assert store.actions("c") == []

    def test_what_is_refused_is_not_in_the_log(self, store: Store) -> None:
        letter = bury(store, "a")
        publish(store, "a")
        with pytest.raises(DeadLetterError):
            store.redrive(letter, again(letter), ME)
        assert store.actions() == []

    def test_the_log_is_kept_as_long_as_history(self, harness: StoreHarness, store: Store) -> None:
        bury(store, "a")
        store.acknowledge_dead_letters([letter.id for letter in store.dead_letters(ALL)], ANNA)
        harness.pass_time(1_000)
        store.record_action(Verb.EXPORTED, ME)
        store.prune(store.now(), attempts_before=store.now() - 500, dead_letters_before=None)
        assert [entry.verb for entry in store.actions()] == [Verb.EXPORTED]
        assert store.actions("a") == []
        [letter] = store.dead_letters(ALL)
        assert letter.note == ANNA.note, "what is said of a letter stays with it"

    # -- chords

    @pytest.mark.parametrize("reported", ["of the member", "of what follows it"])
    def test_a_chord_waits_as_long_as_a_member_can_be_redriven(
        self, harness: StoreHarness, store: Store, reported: str
    ) -> None:
        """A member may be a chain, whose first step fails for the last."""
        member = "a" if reported == "of the member" else "the last step"
        store.set_chord_size("g", 2)
        publish(store, "b")
        run(store, chord=[part("g", "b", 1)])
        letter = bury(store, "a", chord=[part("g", member, succeeded=False)])
        store.close_chord("g", succeeded=False, messages=[], records=[])
        harness.pass_time(10_000)
        self._prune_all(store)
        store.redrive(letter, again(letter), ME)
        self._prune_all(store)  # not in the moment between the letter's end and the task's either
        settled = settle(store, claim_one(store), chord=[part("g", member, result="5")])
        assert settled.complete_chords == ("g",)
        assert [(one.task_id, one.result) for one in store.chord_parts("g")[1]] == [(member, "5"), ("b", "1")]

    def test_so_do_the_chords_round_it(self, harness: StoreHarness, store: Store) -> None:
        for group_id, size in (("inner", 1), ("outer", 2), ("outermost", 1)):
            store.set_chord_size(group_id, size)
        store.add_chord_part(part("outer", "b", 1))
        letter = bury(store, "a", chord=[part("inner", "a", succeeded=False)])
        for group_id, outer in (("inner", "outer"), ("outer", "outermost")):
            store.hold_chords_with(group_id, [outer])
            store.add_chord_part(part(outer, f"{group_id}-body", succeeded=False))
            store.close_chord(group_id, succeeded=False, messages=[], records=[])
        store.close_chord("outermost", succeeded=False, messages=[], records=[])
        for _ in range(2):
            harness.pass_time(10_000)
            self._prune_all(store)
        assert all(map(store.knows_chord, ("inner", "outer", "outermost")))
        store.redrive(letter, again(letter), ME)
        self._prune_all(store)
        assert store.add_chord_part(part("inner", "a"))
        assert store.add_chord_part(part("outer", "inner-body"))
        assert store.add_chord_part(part("outermost", "outer-body"))
        for group_id in ("inner", "outer", "outermost"):
            store.close_chord(group_id, succeeded=True, messages=[], records=[])
        harness.pass_time(10_000)
        self._prune_all(store)
        assert not any(map(store.knows_chord, ("inner", "outer", "outermost")))

    def test_a_chord_is_known_while_its_body_can_be_sent(self, store: Store) -> None:
        assert not store.knows_chord("g")
        store.add_chord_part(part("g", "a", succeeded=False))
        assert not store.knows_chord("g"), "a member alone does not say how many there are"
        store.set_chord_size("g", 1)
        assert store.knows_chord("g")
        store.close_chord("g", succeeded=False, messages=[], records=[])
        assert store.knows_chord("g"), "it opens again when the member succeeds"

    def test_a_chord_whose_members_are_purged_goes(self, harness: StoreHarness, store: Store) -> None:
        store.set_chord_size("g", 1)
        letter = bury(store, "a", chord=[part("g", "a", succeeded=False)])
        store.close_chord("g", succeeded=False, messages=[], records=[])
        harness.pass_time(10_000)
        self._prune_all(store)
        store.purge_dead_letters([letter.id], ME)
        harness.pass_time(300)  # what was spared need not be looked at in every round
        self._prune_all(store)
        publish(store, "a")
        assert run_member(store) == ()

    @staticmethod
    def _prune_all(store: Store) -> None:
        store.prune(store.now(), attempts_before=store.now() - 100, dead_letters_before=None)


def run_member(store: Store) -> tuple[str, ...]:
    """The chords that are complete with this member: of one that is not known, none."""
    return settle(store, claim_one(store), chord=[part("g", "a")]).complete_chords
