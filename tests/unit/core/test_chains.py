"""What stands for the rest of a chain, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac.core.chains import (
    SHORT,
    Step,
    needs,
    reference,
    shorten,
    shorten_body,
    standing_for,
    stands_for_rest,
    with_all,
    with_next,
)


def step(number: int, **options: Any) -> Step:
    return {"task": "add", "args": [number], "kwargs": {}, "options": {"task_id": f"id-{number}", **options}}


def chain(steps: int, **of_the_last: Any) -> list[Step]:
    """As in a message: the last step first."""
    return [step(steps - 1, **of_the_last), *(step(number) for number in range(steps - 2, -1, -1))]


def walk(short: list[Step], kept: list[Step]) -> list[Step]:
    """The steps in the order in which workers would find them."""
    found = []
    while short:
        if stands_for_rest(short[-1]):
            short = with_next(short, lambda _, at: kept[at])
        found.append(short.pop())
    return found


def test_a_short_chain_stays_as_it_is() -> None:
    assert shorten(chain(SHORT), "c") == (chain(SHORT), None)
    assert shorten([], "c") == ([], None)


def test_each_step_comes_once_and_in_order() -> None:
    long = chain(SHORT + 5, group_id="g", chord={"task": "body"}, group_index=3)
    short, kept = shorten(long, "c")
    assert kept is not None
    assert len(short) == 1
    assert walk(list(short), kept) == long[::-1]
    assert with_all(short, lambda _, at: kept[: at + 1]) == long


def test_what_stands_for_the_rest_ends_as_the_last_step_would() -> None:
    """For Celery's own code, when a step before fails."""
    body = {"task": "body"}
    (standing,), _ = shorten(chain(SHORT + 1, group_id="g", chord=body, group_index=3), "c")
    assert standing["options"] == {"task_id": f"id-{SHORT}", "group_id": "g", "chord": body, "group_index": 3}
    assert reference(standing) == ("c", SHORT)


def test_a_chord_taken_from_what_stands_for_the_rest_is_not_joined_by_the_last_step() -> None:
    (standing,), kept = shorten(chain(SHORT + 1, group_id="g", chord={"task": "body"}), "c")
    assert kept is not None
    alone = {**standing, "options": {"task_id": standing["options"]["task_id"]}}
    assert "chord" not in with_all([alone], lambda _, at: kept[: at + 1])[0]["options"]


def test_the_id_of_a_chord_at_the_end_is_its_bodys() -> None:
    body = {"task": "body", "options": {"task_id": "id-of-body"}}
    last = {"task": "celery.chord", "subtask_type": "chord", "kwargs": {"body": body}, "options": {}, "args": []}
    (standing,), _ = shorten([last, *chain(SHORT)], "c")
    assert standing["options"]["task_id"] == "id-of-body"


def test_what_was_given_on_the_way_is_given_to_all() -> None:
    short, kept = shorten(chain(SHORT + 2), "c")
    assert kept is not None
    given = {"link_error": [{"task": "told"}], "link": [{"task": "then"}], "stamped_headers": ["who"], "who": "me"}
    standing = {**short[0], "options": {**short[0]["options"], **given}}
    *others, last = walk([standing], kept)
    assert all(one["options"]["link_error"] == [{"task": "told"}] for one in (*others, last))
    assert all((one["options"]["stamped_headers"], one["options"]["who"]) == (["who"], "me") for one in (*others, last))
    assert last["options"]["link"] == [{"task": "then"}]
    assert not any("link" in one["options"] for one in others)
    assert [one["options"]["task_id"] for one in (*others, last)] == [f"id-{number}" for number in range(SHORT + 2)]


def test_a_rest_behind_a_long_replacement_stays() -> None:
    rest = standing_for("before", 7, {"task_id": "last"})
    short, kept = shorten([rest, *chain(SHORT + 1)], "c")
    assert kept is not None
    assert [reference(one) for one in short] == [("before", 7), ("c", SHORT)]


def test_who_needs_what() -> None:
    body = {"task": "sum", "options": {"chain": [standing_for("of-body", 3, {})]}, "kwargs": {}}
    inner = {
        "task": "celery.chain",
        "subtask_type": "chain",
        "kwargs": {"tasks": [step(0), standing_for("inner", 1, {})]},
    }
    last = step(1, chord={**inner, "options": {}}, group_id="g2")
    options = {"chain": [last, standing_for("mine", 2, {})], "chord": body, "group_id": "g1"}
    assert sorted(needs(options, "me")) == [("inner", "g2"), ("mine", "me"), ("of-body", "g1")]
    assert list(needs({}, "me")) == []


def test_a_body_keeps_what_follows_it() -> None:
    body: dict[str, Any] = {"task": "sum", "options": {"chain": chain(SHORT + 1)}, "kwargs": {}}
    shorter, kept = shorten_body(body, "c")
    assert kept is not None
    assert walk(list(shorter["options"]["chain"]), kept) == chain(SHORT + 1)[::-1]
    assert body["options"]["chain"] == chain(SHORT + 1), "what was given stays as it is"


def test_a_body_that_is_a_chain_keeps_its_first_step() -> None:
    tasks = chain(SHORT + 3)[::-1]
    body = {"task": "celery.chain", "subtask_type": "chain", "kwargs": {"tasks": tasks}, "options": {}}
    shorter, kept = shorten_body(body, "c")
    assert kept is not None
    first, standing = shorter["kwargs"]["tasks"]
    assert [first, *walk([standing], kept)] == tasks


@pytest.mark.parametrize("args", [None, [], ["c"], ["c", "far"], 7])
def test_what_names_no_rest_says_so(args: Any) -> None:
    with pytest.raises(ValueError, match="names no chain"):
        reference({"task": "celeriac.rest", "args": args})
