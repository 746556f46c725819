"""Many members that are one node, wherever in a canvas they stand: what is recorded of them is what is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group

from celeriac import Celery
from celeriac.core.workflow_nodes import FOLDED_ABOVE
from celeriac.core.workflow_state import NodeState, State
from celeriac.testing import Kit

MANY = FOLDED_ABOVE + 3


@pytest.fixture
def healed(tmp_path: Path) -> Path:
    """Once it is there, the last member does not fail any more."""
    return tmp_path / "healed"


@pytest.fixture
def kit(healed: Path) -> Iterator[Kit]:
    app = Celery("shop", broker="sqlite:///unused.db", set_as_current=False)

    def load(number: Any = None) -> Any:
        if number == "bad" and not healed.exists():
            raise ConnectionError("the warehouse does not answer")
        return number

    app.task(shared=False, name="load")(load)
    app.task(shared=False, name="loose", durable=False)(load)
    with Kit(app) as made:
        yield made


Make = Callable[[Any], Any]
#: In each `load` stands where `many` does, so many times as are one node.
PLACES: dict[str, Callable[[Any, Any], Any]] = {
    "a group's member, behind a chord, and followed": lambda load, many: group(
        chain(chord([load.si(1)], load.s()), many, load.si(2))
    ),
    "a group's member, behind a chord": lambda load, many: group(chain(chord([load.si(1)], load.s()), many)),
    "a group's member, followed": lambda load, many: group(chain(load.si(1), many, load.si(2))),
    "a group's member, last": lambda load, many: group(chain(load.si(1), many), load.si(2)),
    "a chain's step": lambda load, many: chain(load.si(1), chord([load.si(1)], load.s()), many, load.si(2)),
    "a chord's member, followed": lambda load, many: chord(
        [chain(load.si(1), many, load.si(2)), load.si(4)], load.si(3)
    ),
    "a chord's member, last": lambda load, many: chord([chain(load.si(1), many), load.si(4)], load.si(3)),
    "a chord's body": lambda load, many: chord([load.si(4)], many),
    "in a chord's body": lambda load, many: chord([load.si(4)], chain(load.si(1), many, load.si(2))),
    "a chord's body, followed": lambda load, many: chain(chord([load.si(4)], many), load.si(2)),
    "a header in a body": lambda load, many: chord([load.si(4)], chord(many, load.si(2))),
    "a header in a header": lambda load, many: chord([chord(many, load.si(2)), load.si(1)], load.si(3)),
    "twice": lambda load, many: group(chain(load.si(1), many, load.si(2)), chain(load.si(1), many, load.si(2))),
}
MEMBERS: dict[str, Make] = {"tasks": lambda load: load.si(0), "chains": lambda load: chain(load.si(0), load.si(1))}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Callable[[Any, Any], Any]:
    return PLACES[request.param]


@pytest.mark.parametrize("members", MEMBERS)
@pytest.mark.parametrize("task", ["load", "loose"])
def test_they_are_counted_to_the_end(kit: Kit, place: Callable[[Any, Any], Any], members: str, task: str) -> None:
    load = kit.app.tasks["load"]
    many = group(MEMBERS[members](kit.app.tasks[task]) for _ in range(MANY))
    sent = place(load, many).apply_async()
    kit.drain()
    found = kit.app.workflows.get(sent.workflow_id)
    assert found.state is State.SUCCEEDED
    assert {one.state for one in found.nodes} == {NodeState.SUCCEEDED}
    assert {one.succeeded for one in found.nodes if one.node.size > 1} == {MANY}


@pytest.mark.parametrize("members", MEMBERS)
def test_one_that_gives_up_blocks_it_until_it_is_redriven(
    kit: Kit, healed: Path, place: Callable[[Any, Any], Any], members: str
) -> None:
    load = kit.app.tasks["load"]
    many = [MEMBERS[members](load) for _ in range(MANY - 1)]
    bad = load.si("bad") if members == "tasks" else chain(load.si("bad"), load.si(1))
    sent = place(load, group([*many, bad])).apply_async()
    kit.drain()
    found = kit.app.workflows.get(sent.workflow_id)
    assert found.state is State.BLOCKED
    assert {one.failed for one in found.nodes if one.node.size > 1} == {1}
    healed.touch()
    kit.app.workflows.resume(sent.workflow_id)
    kit.drain()
    assert kit.app.workflows.get(sent.workflow_id).state is State.SUCCEEDED


def test_who_sends_a_chord_twice_under_the_same_ids_has_two(kit: Kit) -> None:
    """Ids that somebody has chosen, as for what runs every night, say nothing of the chord."""
    load = kit.app.tasks["load"]

    def canvas() -> Any:
        return group(chain(load.si(1), group(load.si(n).set(task_id=f"shop {n}") for n in range(2)), load.s()))

    first = canvas().apply_async()
    kit.drain()
    second = canvas().apply_async()
    kit.drain()
    assert first.results[0].parent.id != second.results[0].parent.id
    assert second.results[0].get() == [0, 1]
