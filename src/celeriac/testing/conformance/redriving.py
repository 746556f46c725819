"""Many dead letters sent again in one transaction: each as if it were alone."""

from __future__ import annotations

from dataclasses import replace

from celeriac.core.attempt import DeadLetter, DeadLetterFilter, Failure, Outcome
from celeriac.core.desk import By, Redrive, Verb
from celeriac.core.message import TaskMessage
from celeriac.errors import DeadLetterError, RedriveRefused, RedriveSuperseded
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import ME, Conformance, claim, claim_one, ids, key, publish, run, task

LIMITS = '[["a limit","",1,null,1]]'


class RedrivingConformance(Conformance):
    """What one has or is refused for is no other's."""

    def test_many_are_redriven_together(self, store: Store) -> None:
        names = [f"{number:03}" for number in range(120)]
        publish(store, *names)
        for _ in names:
            run(store, outcome=Outcome.DEAD_LETTERED, failure=Failure("exhausted", "builtins.OSError", "refused"))
        letters = list(store.dead_letters(DeadLetterFilter()))
        assert store.redrive_all([_redrive(letter) for letter in letters]) == [None] * len(names)
        assert _left(store) == []
        assert [(found.task_id, found.generation) for found in claim(store, limit=200)] == [(name, 1) for name in names]
        log = [(act.task_id, act.letter_id, act.who) for act in store.actions()]
        assert log == [(letter.task_id, letter.id, ME.who) for letter in letters]
        assert store.redrive_all([]) == []

    def test_of_many_each_is_refused_by_itself(self, store: Store) -> None:
        a, b, c, d, e = (_bury(store, name, keyed=name == "c") for name in "abcde")
        publish(store, task("holder", key=key()), task("d", body="sent anew"))
        store.purge_dead_letters([b.id], ME)
        errors = store.redrive_all([_redrive(a), _redrive(b), _redrive(c, key=key()), _redrive(d), _redrive(e)])
        kinds = [type(None), DeadLetterError, RedriveRefused, RedriveSuperseded, type(None)]
        assert [type(error) for error in errors] == kinds
        assert _left(store) == [c.id, d.id]
        assert [act.task_id for act in store.actions() if act.verb is Verb.REDRIVEN] == ["a", "e"]
        bodies = {found.task_id: found.body for found in claim(store)}
        assert sorted(map(str, bodies)) == ["a", "d", "e", "holder"]
        assert bodies["d"] == "sent anew"

    def test_of_one_task_s_letters_one_is_redriven(self, store: Store) -> None:
        first, other, second = _bury(store, "a"), _bury(store, "b"), _bury(store, "a")
        errors = store.redrive_all([_redrive(letter) for letter in (first, other, second, first)])
        kinds = [type(None), type(None), RedriveSuperseded, DeadLetterError]
        assert [type(error) for error in errors] == kinds
        assert _left(store) == [second.id]
        assert sorted((str(found.task_id), found.generation) for found in claim(store)) == [("a", 2), ("b", 1)]

    def test_of_those_with_one_key_the_first_is_redriven(self, store: Store) -> None:
        first, second, third = (_bury(store, name, keyed=True) for name in "bac")
        errors = store.redrive_all([_redrive(first, key=key()), _redrive(second, key=key()), _redrive(third)])
        assert errors[0] is None
        assert isinstance(errors[1], RedriveRefused)
        assert errors[2] is None, "it has no key any more"
        assert (errors[1].holder_id, _left(store)) == ("b", [second.id])
        assert publish(store, task("d", key=key()))[0].duplicate_of == "b"

    def test_what_was_redriven_lets_its_key_go_when_nothing_settles_it(self, store: Store) -> None:
        letter = _bury(store, "a", keyed=True)
        assert store.redrive_all([_redrive(letter, key=key())]) == [None]
        store.ack([claim_one(store).lease])
        assert publish(store, task("b", key=key()))[0].duplicate_of is None

    def test_each_of_many_is_redriven_as_it_is(self, store: Store) -> None:
        """Snoozes, priorities, lanes, times and what is said are each letter's own."""
        letters = []
        for name, snoozes in (("a", 0), ("b", 1), ("c", 2), ("d", 1)):
            publish(store, task(name, limits=LIMITS if name in "ab" else None))
            for _ in range(snoozes):
                run(store, outcome=Outcome.SNOOZED, snooze_until=store.now() - 1)
            letters.append(_bury(store, name, publish_it=False))
        a, b, c, d = letters
        anna, bert, again = By("anna", "a typo"), By("bert", None), By("anna", "another")
        redrives = [
            _redrive(a, anna, limits=LIMITS),
            _redrive(b, bert, limits=LIMITS),
            _redrive(c, anna, priority=7),
            _redrive(d, again, run_at=store.now() + 60),
        ]
        assert store.redrive_all(redrives) == [None] * 4
        assert [store.records([name])[name].snoozes for name in "abcd"] == [0, 1, 2, 1]
        said = {act.task_id: By(act.who, act.note) for act in store.actions()}
        assert [said[name] for name in "abcd"] == [anna, bert, anna, again]
        assert ids(claim(store)) == ["c", "a"], "b waits in its lane, and d until it is due"


def _bury(store: Store, task_id: str, *, keyed: bool = False, publish_it: bool = True) -> DeadLetter:
    mine = key() if keyed else None
    if publish_it:
        publish(store, task(task_id, key=mine))
    run(store, outcome=Outcome.DEAD_LETTERED, key=mine, failure=Failure("exhausted", "builtins.OSError", "refused"))
    return list(store.dead_letters(DeadLetterFilter()))[-1]


def _redrive(letter: DeadLetter, by: By = ME, **fields: object) -> Redrive:
    message = TaskMessage(letter.queue, letter.envelope, letter.body, letter.task_id, letter.name, letter.priority)
    return Redrive(letter, replace(message, **fields), by)  # type: ignore[arg-type]  # fields of the message


def _left(store: Store) -> list[int]:
    return [letter.id for letter in store.dead_letters(DeadLetterFilter())]
