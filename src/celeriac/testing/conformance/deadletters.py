# ruff: noqa: PLR2004  # expected figures are the point of a check
"""Dead letters: what gave up is kept whole, found again, sent again or dropped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celeriac.core.attempt import DeadLetter, DeadLetterFilter, Failure, Outcome
from celeriac.core.message import TaskMessage
from celeriac.errors import DeadLetterError, RedriveRefused
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import (
    ME,
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
    task,
)

ALL = DeadLetterFilter()


class DeadLetterConformance(Conformance):
    """Written by a settlement; looked at, redriven and purged by people."""

    # -- written

    def test_it_holds_all_that_was_sent_and_all_that_happened(self, store: Store) -> None:
        publish(store, task("a", "payments", body=b"\x00body", envelope='["envelope"]', priority=6))
        run(store, "payments", outcome=Outcome.RETRY, retry=task("a", "payments", body=b"\x00body", envelope='["2"]'))
        why = Failure("exhausted", "builtins.OSError", "refused", "Traceback …")
        run(store, "payments", outcome=Outcome.DEAD_LETTERED, failure=why, worker="w1")
        [letter] = store.dead_letters(ALL)
        assert (letter.task_id, letter.generation, letter.name, letter.queue) == ("a", 1, "shop.charge", "payments")
        assert (letter.body, letter.envelope, letter.worker) == (b"\x00body", '["2"]', "w1")
        assert (letter.reason, letter.error_type, letter.error) == ("exhausted", "builtins.OSError", "refused")
        assert letter.traceback == "Traceback …"
        assert letter.failed_at == pytest.approx(store.now(), abs=5)
        assert [attempt.outcome for attempt in letter.attempts] == ["retry", "dead-lettered"]
        assert state_of(store, "a") == "FAILURE"

    def test_the_task_s_own_word_makes_none(self, store: Store) -> None:
        for outcome in (Outcome.FAILED, Outcome.IGNORED, Outcome.REVOKED, Outcome.COMPLETED):
            publish(store, f"{outcome.value}")
            run(store, outcome=outcome)
        assert list(store.dead_letters(ALL)) == []

    def test_what_no_worker_can_take_is_one(self, store: Store) -> None:
        publish(store, task("a", priority=3))
        store.reject(claim_one(store).lease, "unknown-task", "NotRegistered", "shop.charge")
        [letter] = store.dead_letters(ALL)
        assert (letter.task_id, letter.reason, letter.error_type, letter.priority) == (
            "a",
            "unknown-task",
            "NotRegistered",
            3,
        )
        assert (state_of(store, "a"), store.sizes()) == ("FAILURE", [])

    # -- found

    def test_filters_choose_by_every_condition(self, harness: StoreHarness, store: Store) -> None:
        _bury(store, "old", "payments", error="Refused by bank")
        harness.pass_time(100)
        _bury(store, "new", "mail", error="timeout")
        _bury(store, "newest", "payments-eu", error="timeout")
        assert _found(store, ALL) == ["old", "new", "newest"]
        assert _found(store, DeadLetterFilter(queue="payments")) == ["old"]
        assert _found(store, DeadLetterFilter(queue="payments*")) == ["old", "newest"]
        assert _found(store, DeadLetterFilter(error="REFUSED")) == ["old"]
        assert _found(store, DeadLetterFilter(error="oserror: time")) == ["new", "newest"]
        assert _found(store, DeadLetterFilter(older_than=50)) == ["old"]
        assert _found(store, DeadLetterFilter(newer_than=50)) == ["new", "newest"]
        assert _found(store, DeadLetterFilter(newer_than=50, queue="mail")) == ["new"]
        assert _found(store, DeadLetterFilter(task="shop.*")) == ["old", "new", "newest"]
        assert _found(store, DeadLetterFilter(task="shop")) == []

    def test_ids_choose_themselves(self, store: Store) -> None:
        for name in ("a", "b", "c"):
            _bury(store, name)
        a, _, c = store.dead_letters(ALL)
        assert _found(store, DeadLetterFilter(ids=(c.id, a.id))) == ["a", "c"]
        assert _found(store, DeadLetterFilter(ids=(999_999,))) == []

    def test_many_are_read_page_by_page(self, store: Store) -> None:
        for number in range(25):
            _bury(store, f"{number}")
        assert [letter.task_id for letter in store.dead_letters(ALL, batch=10)] == [f"{n}" for n in range(25)]

    def test_the_newest_are_asked_for_by_their_number(self, store: Store) -> None:
        for number in range(7):
            publish(store, task(f"{number}", "odd" if number % 2 else QUEUE))
            run(store, "odd" if number % 2 else QUEUE, outcome=Outcome.DEAD_LETTERED)
        assert [letter.task_id for letter in store.dead_letters(ALL, newest=3, batch=2)] == ["4", "5", "6"]
        odd = DeadLetterFilter(queue="odd")
        assert [letter.task_id for letter in store.dead_letters(odd, newest=2)] == ["3", "5"]
        assert [letter.task_id for letter in store.dead_letters(odd, newest=99)] == ["1", "3", "5"]
        assert list(store.dead_letters(DeadLetterFilter(queue="none"), newest=5)) == []

    def test_letters_may_be_dropped_while_they_are_read(self, store: Store) -> None:
        for number in range(7):
            _bury(store, f"{number}")
        seen = []
        for letter in store.dead_letters(ALL, batch=2):
            seen.append(letter.task_id)
            store.purge_dead_letters([letter.id], ME)
        assert (seen, store.count_dead_letters(ALL)) == ([f"{n}" for n in range(7)], 0)

    # -- sent again

    def test_a_redrive_is_one_generation_higher(self, store: Store) -> None:
        letter = _bury(store, "a", "payments")
        store.redrive(letter, _again(letter), ME)
        assert store.count_dead_letters(ALL) == 0
        again = claim_one(store, "payments")
        assert (again.generation, again.body, again.settled) == (1, letter.body, False)
        assert settle(store, again).held
        assert (state_of(store, "a"), [found.generation for found in store.attempts("a")]) == ("SUCCESS", [0])

    @pytest.mark.parametrize("limits", [None, '[["a limit","",1,null,1]]'])
    def test_a_redrive_keeps_the_count_of_snoozes(self, store: Store, limits: str | None) -> None:
        publish(store, task("a", limits=limits))
        for _ in range(2):
            run(store, outcome=Outcome.SNOOZED, snooze_until=store.now() - 1)
        letter = _bury(store, "a", publish_it=False)
        store.redrive(letter, _again(letter, limits=limits), ME)
        assert store.records(["a"])["a"].snoozes == 2
        run(store, outcome=Outcome.SNOOZED, snooze_until=store.now() - 1)
        run(store, outcome=Outcome.DEAD_LETTERED)
        [again] = store.dead_letters(ALL)
        assert again.snoozes == 3

    def test_what_was_redriven_waits_again(self, store: Store) -> None:
        letter = _bury(store, "a")
        store.redrive(letter, _again(letter), ME)
        assert state_of(store, "a") == "PENDING"

    @pytest.mark.parametrize("forgotten", ["forgotten", "known"])
    def test_a_redrive_is_never_taken_for_a_duplicate(self, store: Store, forgotten: str) -> None:
        publish(store, "a")
        run(store, outcome=Outcome.RETRY, retry=task("a"))
        letter = _bury(store, "a", publish_it=False)
        if forgotten == "forgotten":
            store.forget("a")
        store.redrive(letter, _again(letter), ME)
        again = claim_one(store)
        assert (again.generation, again.settled) == (2, False)

    def test_a_redrive_outnumbers_every_later_end(self, store: Store) -> None:
        letter = _bury(store, "a")
        for _ in range(2):
            publish(store, "a")
            run(store, outcome=Outcome.FAILED)
        store.redrive(letter, _again(letter, generation=letter.generation + 1), ME)
        again = claim_one(store)
        assert (again.generation, again.settled) == (3, False)

    def test_a_letter_whose_task_waits_again_is_kept(self, store: Store) -> None:
        letter = _bury(store, "a")
        publish(store, task("a", body="sent anew"))
        with pytest.raises(DeadLetterError, match="a"):
            store.redrive(letter, _again(letter), ME)
        assert store.count_dead_letters(ALL) == 1
        assert [found.body for found in claim(store)] == ["sent anew"]

    def test_a_letter_is_redriven_once(self, store: Store) -> None:
        letter = _bury(store, "a")
        store.redrive(letter, _again(letter), ME)
        run(store)
        with pytest.raises(DeadLetterError, match=str(letter.id)):
            store.redrive(letter, _again(letter), ME)
        assert claim(store) == []

    def test_a_redrive_takes_the_key_again(self, store: Store) -> None:
        letter = _bury(store, "a", keyed=True)
        store.redrive(letter, _again(letter, key=key()), ME)
        assert publish(store, task("b", key=key()))[0].duplicate_of == "a"

    @pytest.mark.parametrize("done", [False, True])
    def test_a_redrive_is_refused_while_another_holds_the_key(
        self, harness: StoreHarness, store: Store, *, done: bool
    ) -> None:
        letter = _bury(store, "a", keyed=True)
        publish(store, task("b", key=key()))
        if done:
            run(store, key=key())
        with pytest.raises(RedriveRefused) as caught:
            store.redrive(letter, _again(letter, key=key()), ME)
        assert (caught.value.task_id, caught.value.holder_id) == ("a", "b")
        assert _found(store, ALL) == ["a"]
        if done:
            harness.pass_time(61)
            store.redrive(letter, _again(letter, key=key()), ME)
            assert ids(claim(store)) == ["a"]

    # -- dropped

    def test_purge_drops_the_named_ones(self, store: Store) -> None:
        for name in ("a", "b", "c"):
            _bury(store, name)
        a, _, c = store.dead_letters(ALL)
        assert store.purge_dead_letters([a.id, c.id, 999_999], ME) == 2
        assert _found(store, ALL) == ["b"]
        assert store.purge_dead_letters([], ME) == 0

    def test_a_purge_leaves_the_key_to_whoever_has_it(self, store: Store) -> None:
        letter = _bury(store, "a", keyed=True)
        publish(store, task("b", key=key()))
        store.purge_dead_letters([letter.id], ME)
        assert publish(store, task("c", key=key()))[0].duplicate_of == "b"

    def test_history_is_kept_as_long_as_the_letter(self, harness: StoreHarness, store: Store) -> None:
        letter = _bury(store, "a")
        publish(store, "b")
        run(store, outcome=Outcome.FAILED)
        harness.pass_time(10_000)
        _prune(store)
        assert (len(store.attempts("a")), store.attempts("b")) == (1, [])
        store.purge_dead_letters([letter.id], ME)
        harness.pass_time(300)  # what was spared need not be looked at in every round
        _prune(store)
        assert store.attempts("a") == []

    def test_old_letters_are_dropped_only_when_asked(self, harness: StoreHarness, store: Store) -> None:
        _bury(store, "old")
        harness.pass_time(1_000)
        _bury(store, "new")
        _prune(store)
        assert _found(store, ALL) == ["old", "new"]
        store.prune(store.now(), attempts_before=0.0, dead_letters_before=store.now() - 500)
        assert _found(store, ALL) == ["new"]


def _bury(
    store: Store,
    task_id: str,
    queue: str = QUEUE,
    *,
    error: str = "refused",
    keyed: bool = False,
    publish_it: bool = True,
) -> DeadLetter:
    mine = key() if keyed else None
    if publish_it:
        publish(store, task(task_id, queue, key=mine))
    run(store, queue, outcome=Outcome.DEAD_LETTERED, key=mine, failure=Failure("exhausted", "builtins.OSError", error))
    return list(store.dead_letters(ALL))[-1]


def _again(letter: DeadLetter, **fields: object) -> TaskMessage:
    message = TaskMessage(letter.queue, letter.envelope, letter.body, letter.task_id, letter.name, letter.priority)
    return replace(message, **fields)  # type: ignore[arg-type]  # fields of the message


def _found(store: Store, chosen: DeadLetterFilter) -> list[str]:
    found = [letter.task_id for letter in store.dead_letters(chosen)]
    assert store.count_dead_letters(chosen) == len(found)
    return found


def _prune(store: Store) -> None:
    store.prune(store.now(), attempts_before=store.now(), dead_letters_before=None)
