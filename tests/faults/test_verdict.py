"""The verdict, column by column, on books made by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from celeriac.core.attempt import AttemptRecord, DeadLetter, Record
from tests.faults.load import KINDS
from tests.faults.verdict import Books, judge

LETTER: dict[str, Any] = {
    "id": 1,
    "generation": 0,
    "name": "any",
    "queue": "celery",
    "error_type": "Error",
    "error": "said so",
    "traceback": None,
    "worker": None,
    "failed_at": 20.0,
    "envelope": "",
    "body": "",
}


def books(unit: str, **changed: Any) -> Books:
    """One unit that was accepted and went well."""
    kind = KINDS[unit.partition("-")[0]]
    steps = [step for step in (*kind.effects, *(["plain"] if kind.plain else [])) if step != "after"]
    ids = [(step, f"id-{step}") for step in steps or ["poison"]]
    generation = 3 if kind.generation is None else kind.generation
    found = {
        "published": [{"what": "accepted", "unit": unit, "ids": ids}],
        "ran": [_ran(unit, step, 10.0 + retries, retries) for step, _ in ids for retries in range(generation + 1)],
        "claimed": [{"t": 9.0, "pid": 1, "ids": [task_id for _, task_id in ids]}],
        "injected": [],
        "plain": Counter({(unit, "plain"): 1} if kind.plain else {}),
        "effects": Counter((unit, step) for step in kind.effects),
        "records": {task_id: _record(task_id, generation=generation) for _, task_id in ids},
        "letters": {},
    }
    return Books(**{**found, **changed})


def _ran(unit: str, step: str, moment: float, retries: int = 0) -> dict[str, Any]:
    return {"unit": unit, "step": step, "id": f"id-{step}", "retries": retries, "t": moment, "pid": 1, "worker": "w"}


def _record(task_id: str, state: str = "SUCCESS", *, closed: bool = True, generation: int = 0) -> Record:
    return Record(task_id, generation, state, closed, finished_at=20.0)


def _letter(task_id: str, reason: str, crashes: int = 0) -> dict[str, DeadLetter]:
    crashed = [AttemptRecord(task_id, 0, 1.0, 2.0, "w", "crashed", None, None, None) for _ in range(crashes)]
    return {task_id: DeadLetter(task_id=task_id, reason=reason, attempts=crashed, **LETTER)}


def _red(found: Books, *, excuses: bool = True) -> set[str]:
    return {column for column, entries in judge(found, excuses=excuses).zeros.items() if entries}


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if not kind.buried])
def test_what_went_well_is_good(kind: str) -> None:
    verdict = judge(books(f"{kind}-1"), excuses=False)
    assert verdict.good, verdict.zeros
    assert verdict.accepted >= 1


def test_what_the_ledger_does_not_know_is_lost() -> None:
    assert _red(books("plain-1", records={})) == {"lost"}


def test_an_end_without_its_effect_is_a_loss() -> None:
    assert _red(books("paid-1", effects=Counter())) == {"lost"}


def test_a_callback_that_never_came_is_lost() -> None:
    assert _red(books("linked-1", effects=Counter({("linked-1", "paid"): 1}))) == {"lost"}


@pytest.mark.parametrize("state", ["PENDING", "STARTED", "RETRY"])
def test_what_has_no_end_never_ended(state: str) -> None:
    found = books("paid-1", records={"id-paid": _record("id-paid", state, closed=state == "RETRY")}, effects=Counter())
    assert _red(found) == {"never ended"}


def test_two_effects_are_one_too_many_whether_accepted_or_not() -> None:
    twice = Counter({("paid-1", "paid"): 2})
    assert _red(books("paid-1", effects=twice)) == {"effects > 1"}
    unknown = [{"what": "unknown", "unit": "paid-1", "error": "no answer"}]
    assert _red(books("paid-1", effects=twice, published=unknown)) == {"effects > 1"}


@pytest.mark.parametrize("settled", [0, 2])
def test_a_chord_has_one_body(settled: int) -> None:
    found = books("chord-1")
    found.effects["chord-1", "after"] = settled
    assert "chord bodies ≠ 1" in _red(found)


def test_a_body_that_saw_other_members_is_none() -> None:
    found = books("chord-1")
    del found.effects["chord-1", "joined"]
    found.effects["chord-1", "joined-of-others"] = 1
    assert _red(found) == {"lost", "chord bodies ≠ 1"}


def test_an_innocent_that_is_buried() -> None:
    failed = {"id-plain": _record("id-plain", "FAILURE")}
    assert "innocents buried" in _red(books("plain-1", records=failed, letters=_letter("id-plain", "poison", 3)))


@pytest.mark.parametrize(("reason", "crashes", "red"), [("poison", 3, set()), ("poison", 2, {"innocents buried"})])
def test_poison_is_buried_at_the_third_crash(reason: str, crashes: int, red: set[str]) -> None:
    failed = {"id-poison": _record("id-poison", "FAILURE")}
    assert _red(books("poison-1", records=failed, letters=_letter("id-poison", reason, crashes))) == red


def test_poison_that_is_not_buried() -> None:
    assert _red(books("poison-1", records={"id-poison": _record("id-poison", "STARTED", closed=False)})) == {
        "never ended"
    }
    assert _red(books("poison-1")) == {"never ended"}


def test_a_second_run_needs_a_fault_between_the_two() -> None:
    ran = [_ran("plain-1", "plain", 10.0), _ran("plain-1", "plain", 12.0)]
    between, before = ([{"what": "kill", "start": at, "end": at}] for at in (11.0, 9.0))
    assert _red(books("plain-1", ran=ran, injected=between)) == set()
    assert _red(books("plain-1", ran=ran, injected=before)) == {"unexplained repeats"}
    assert _red(books("plain-1", ran=ran, injected=between), excuses=False) == {"unexplained repeats"}


def test_a_killed_workers_pool_may_begin_what_it_was_given() -> None:
    ran = [_ran("plain-1", "plain", 10.0), _ran("plain-1", "plain", 15.0)]
    assert _red(books("plain-1", ran=ran, injected=[{"what": "kill", "start": 9.8, "end": 9.8}])) == set()


def test_each_repeat_needs_a_fault_of_its_own() -> None:
    ran = [_ran("plain-1", "plain", moment) for moment in (10.0, 12.0, 14.0)]
    once = [{"what": "kill", "start": 11.0, "end": 11.0}]
    verdict = judge(books("plain-1", ran=ran, injected=once), excuses=True)
    assert (verdict.repeated, len(verdict.unexplained)) == (2, 1)


def test_a_fault_that_lasts_explains_one_repeat_too() -> None:
    ran = [_ran("plain-1", "plain", moment) for moment in (10.0, 12.0, 14.0)]
    lasting = {"what": "stopped", "start": 9.0, "end": 15.0}
    assert len(judge(books("plain-1", ran=ran, injected=[lasting]), excuses=True).unexplained) == 1
    assert judge(books("plain-1", ran=ran, injected=[lasting, lasting]), excuses=True).good


def test_a_retry_is_no_repeat() -> None:
    ran = [_ran("flaky-1", "flaky", 10.0 + retries, retries) for retries in range(3)]
    assert judge(books("flaky-1", ran=ran), excuses=False).good


def test_what_was_settled_twice_has_a_generation_too_many() -> None:
    found = books("paid-1", records={"id-paid": _record("id-paid", generation=1)})
    assert _red(found) == {"unexplained repeats"}


def test_recovery_is_from_the_first_fault_that_hit_a_task_to_its_end() -> None:
    faults = [{"what": "kill", "start": at, "end": at} for at in (8.0, 15.0, 16.0)]
    assert judge(books("plain-1", injected=faults), excuses=True).recovery == 5.0
    assert judge(books("plain-1", injected=faults[:1]), excuses=True).recovery is None


# -- put off


def test_a_run_that_put_itself_off_has_no_repeat() -> None:
    ran = [_ran("snoozed-1", "snoozed", moment) for moment in (10.0, 12.0, 14.0)]
    put_off = [{"t": moment, "id": "id-snoozed"} for moment in (10.5, 12.5)]
    verdict = judge(books("snoozed-1", ran=ran, put_off=put_off), excuses=False)
    assert (verdict.good, verdict.repeated, verdict.took_part["snoozes"]) == (True, 0, 2)
    assert _red(books("snoozed-1", ran=ran, put_off=put_off[:1])) == {"unexplained repeats"}


def test_an_attempt_that_never_ran_was_none() -> None:
    ran = [_ran("called-1", "called", 10.0 + retries, retries) for retries in (0, 1, 3)]
    assert _red(books("called-1", ran=ran)) == {"unexplained repeats"}


def test_what_goes_on_meanwhile_is_counted_and_excuses_nothing() -> None:
    meanwhile = [{"what": what, "start": 9.0, "end": 13.0} for what in ("paused", "paused", "opened", "stood still")]
    ran = [_ran("plain-1", "plain", moment) for moment in (10.0, 12.0)]
    verdict = judge(books("plain-1", ran=ran, meanwhile=meanwhile), excuses=True)
    assert verdict.took_part == {"pauses": 2, "openings": 1, "snoozes": 0}
    assert len(verdict.unexplained) == 1
