"""How many of a key were at the limited receiver at once, on books made by hand."""

from __future__ import annotations

from typing import Any

from tests.faults.limits import ORPHANS, over_limit


def visit(name: str, since: float, until: float | None, *, lane: int = 0, number: int = 0) -> list[dict[str, Any]]:
    """One visit of a task; the second of the same attempt has another number."""
    key = f"{name}/{number}"
    came = {"visit": key, "t": since, "lane": lane, "unit": f"limited-{name}", "id": f"id-{name}", "retries": 0}
    return [came] if until is None else [came, {"visit": key, "left": until}]


def kill(at: float) -> dict[str, Any]:
    return {"what": "kill", "start": at, "end": at}


#: Two of whom each stays for ten seconds.
TWO = [*visit("a", 10.0, 20.0), *visit("b", 10.5, 20.0)]


def test_as_many_as_there_may_be() -> None:
    assert over_limit(TWO, []) == []
    assert over_limit([*TWO, *visit("c", 11.0, 12.0, lane=1)], []) == []
    assert over_limit([*TWO, *visit("c", 20.0, 21.0)], []) == []


def test_one_too_many() -> None:
    assert over_limit([*TWO, *visit("c", 19.9, 21.0)], []) == ["limited-c/limited id-c: one of 3 at once of lane 0"]


def test_who_died_there_has_left_when_he_was_killed() -> None:
    again = visit("c", 30.0, 31.0, number=1)
    died = [*visit("a", 10.0, 20.0), *visit("c", 11.0, None), *again]
    assert over_limit([*died, *visit("b", 14.0, 15.0)], [kill(13.0)]) == []
    assert len(over_limit([*died, *visit("b", 12.0, 15.0)], [kill(13.0)])) == 1
    assert len(over_limit([*died, *visit("b", 14.0, 15.0)], [kill(5.0)])) == 1


def test_who_was_given_up_is_not_counted_from_the_fault_on() -> None:
    """A zombie's body goes on, while another runs in its slot and a third is the repeat of it."""
    zombie = [*visit("a", 10.0, 20.0), *visit("b", 14.0, 20.0), *visit("a", 15.0, 21.0, number=1)]
    stopped = {"what": "stopped", "start": 11.0, "end": 17.0}
    assert over_limit(zombie, [stopped]) == []
    assert len(over_limit(zombie, [])) == 1
    assert len(over_limit([*zombie, *visit("c", 15.5, 16.0)], [stopped])) == 1


def test_an_orphans_slot_outlives_its_worker() -> None:
    orphan = [*visit("a", 10.0, None), *visit("a", 15.0, 16.0, number=1)]
    others = [*visit("b", 10.0, 13.0), *visit("c", 11.0, 12.0)]
    assert over_limit([*orphan, *others], [kill(10.0 - ORPHANS / 2)]) == []
