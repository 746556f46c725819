"""Members of workflows that end in unusual ways, under a kit: expired, left to Celery, months after the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group, signals, signature
from celery.exceptions import ChordError

from celeriac import Celery
from celeriac.core.message import WORKFLOW_HEADER
from celeriac.core.workflow_nodes import FOLDED_ABOVE
from celeriac.core.workflow_state import NodeState, State
from celeriac.testing import Kit
from celeriac.worker.maintenance import Maintenance
from celeriac.workflow.noting import Noting

MANY = FOLDED_ABOVE + 4
DAY = 86_400.0


@pytest.fixture
def healed(tmp_path: Path) -> Path:
    """Once it is there, `fail` does not any more."""
    return tmp_path / "healed"


@pytest.fixture
def kit(healed: Path) -> Iterator[Kit]:
    app = Celery("shop", broker="sqlite:///unused.db", set_as_current=False)

    def fail(given: Any) -> Any:
        if not healed.exists():
            raise ConnectionError("the warehouse does not answer")
        return given

    app.task(shared=False, name="load")(_load)
    app.task(shared=False, name="fail")(fail)
    app.task(shared=False, name="loose", durable=False)(_load)
    app.task(shared=False, name="fail loosely", durable=False)(fail)
    app.task(shared=False, name="loosely", durable=False, bind=True, max_retries=1)(_load_again)
    app.task(shared=False, name="instead", durable=False, bind=True)(_instead)
    app.task(shared=False, name="replaced", bind=True)(_replaced)
    app.task(shared=False, name="grow", bind=True)(_grow)
    app.task(shared=False, name="grow lazily", bind=True)(_grow_lazily)
    app.task(shared=False, name="grow loosely", bind=True, durable=False)(_grow)
    with Kit(app) as made:
        yield made


def _load(given: Any) -> Any:
    return given


def _load_again(task: Any, given: Any) -> Any:
    if not task.request.retries:
        raise task.retry(countdown=0)
    return given


def _instead(task: Any, given: Any) -> Any:
    return task.replace(task.app.tasks["load"].s(given))


def _replaced(task: Any, by: Any) -> Any:
    return task.replace(signature(by, app=task.app))


def _grow(task: Any, by: Any) -> int:
    task.add_to_chord(signature(by, app=task.app))
    return 1


def _grow_lazily(task: Any, by: Any) -> int:
    task.add_to_chord(signature(by, app=task.app), lazy=True).delay()
    return 1


def months_later(kit: Kit) -> None:
    """Whatever may be forgotten is."""
    for _ in range(3):
        kit.advance(60 * DAY)
        store = kit.app.store
        store.prune(store.now(), attempts_before=store.now() - DAY, dead_letters_before=None)


@pytest.mark.parametrize("joined", [True, False])
def test_many_that_expire_end_their_workflow(kit: Kit, joined: bool) -> None:
    load = kit.app.tasks["load"]
    members = [load.s(number).set(expires=10) for number in range(MANY)]
    sent = (chord(members, load.s()) if joined else group(members)).apply_async()
    kit.advance(20)
    kit.drain()
    found = kit.app.workflows.get(sent.workflow_id)
    assert found.ended
    assert (found.nodes[0].succeeded, found.nodes[0].failed, found.nodes[0].cancelled) == (0, 0, MANY)


@pytest.mark.parametrize("after", ["nothing", "a step"])
def test_a_cancelled_one_is_known_for_as_long_as_tasks_of_it_wait(kit: Kit, after: str) -> None:
    load = kit.app.tasks["load"]
    many = group(load.si(number).set(countdown=30 * DAY) for number in range(MANY))
    sent = (many if after == "nothing" else chain(load.s(1), many)).apply_async()
    kit.drain()
    kit.app.workflows.cancel(sent.workflow_id)
    store, noting = kit.app.store, Noting()
    for _ in range(20):
        noting.note(store)
        kit.advance(DAY)
        store.prune(store.now(), attempts_before=store.now() - DAY, dead_letters_before=None)
    assert {run.outcome for run in kit.drain(skip_time=True)} == {"revoked"}
    assert kit.app.workflows.get(sent.workflow_id).ended
    for _ in range(2):
        noting.note(store)
        kit.advance(2 * DAY)
        store.prune(store.now(), attempts_before=store.now() - DAY, dead_letters_before=None)
    assert store.workflow(sent.workflow_id) is None


def test_one_that_nothing_is_left_of_is_not_waited_for(kit: Kit) -> None:
    sent = group(kit.app.tasks["load"].s(number).set(countdown=30 * DAY) for number in range(MANY)).apply_async()
    kit.app.workflows.cancel(sent.workflow_id)
    kit.app.control.purge()
    store, noting = kit.app.store, Noting()
    for _ in range(3):
        kit.advance(DAY)
        noting.note(store)
    known = kit.app.workflows.get(sent.workflow_id)
    assert (known.state, store.unfinished_workflows(10)) == (State.CANCELLED, [])


def test_what_has_succeeded_stays_so_for_who_comes_too_late_to_cancel_it(kit: Kit) -> None:
    load = kit.app.tasks["load"]
    sent = chain(load.s(1), load.s()).delay()
    kit.drain()
    assert kit.app.workflows.cancel(sent.workflow_id).state is State.SUCCEEDED
    assert kit.app.workflows.get(sent.workflow_id).state is State.SUCCEEDED


def test_what_would_have_come_next_reads_so_and_a_chord_hears_of_it(kit: Kit) -> None:
    load = kit.app.tasks["load"]
    first = load.s(1).set(expires=10)
    steps = chain(first, load.s(), load.s()).delay()
    many = chain(first.clone(), *[load.s()] * MANY).delay()
    joined = chord([chain(first.clone(), load.s()), load.s(2)], load.s()).delay()
    kit.advance(20)
    kit.drain()
    assert [one.state for one in (steps, steps.parent, many, many.parent)] == ["REVOKED"] * 4
    assert isinstance(joined.result, ChordError)
    assert "expired" in str(joined.result)
    for sent in (steps, many, joined):
        assert kit.app.workflows.get(sent.workflow_id).state is State.CANCELLED


def test_results_that_have_expired_while_no_worker_was_there_say_how_it_has_ended(kit: Kit) -> None:
    load = kit.app.tasks["load"]
    sent = chain(load.s(1), load.s(), group(load.s(), load.s())).delay()
    kit.drain()
    kit.advance(3 * DAY)
    maintenance = Maintenance.__new__(Maintenance)
    maintenance._workflows = Noting()
    maintenance._round(kit.app, kit.app.store)
    assert kit.app.store.records([sent.id]) == {}
    assert kit.app.workflows.get(sent.workflow_id).state is State.SUCCEEDED


# -- redriven months later, when all that may be forgotten is


def test_a_header_with_groups_is_joined_though_results_have_expired(kit: Kit, healed: Path) -> None:
    load, fail = kit.app.tasks["load"], kit.app.tasks["fail"]
    sent = chord([fail.s(1), chain(load.s(2), group(load.s(), load.s()))], load.s()).delay()
    kit.drain()
    months_later(kit)
    healed.touch()
    kit.app.dead_letters.redrive(kit.dead_letters[0].id)
    kit.drain()
    assert sent.get() == [1, [2, 2]]


def test_a_chord_in_a_chord_goes_on_to_its_end(kit: Kit, healed: Path) -> None:
    load, fail = kit.app.tasks["load"], kit.app.tasks["fail"]
    inner = chain(chord([fail.s(1), load.s(2)], load.s()), load.s())
    sent = chord([chord([inner, load.s(3)], load.s()), load.s(4)], load.s()).delay()
    kit.drain()
    months_later(kit)
    healed.touch()
    kit.app.dead_letters.redrive(kit.dead_letters[0].id)
    kit.drain()
    assert sent.get() == [[[1, 2], 3], 4]


def test_nothing_is_left_of_a_group_in_a_header(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its members join the chord; Celery says of the group, too, how many it has."""
    load = kit.app.tasks["load"]
    joined: list[str] = []
    set_size = kit.app.store.set_chord_size

    def noted(group_id: str, size: int) -> bool:
        joined.append(group_id)
        return bool(set_size(group_id, size))

    monkeypatch.setattr(kit.app.store, "set_chord_size", noted)
    inner = chain(load.s(2), group(load.s(), load.s()))
    sent = chord([load.s(1), inner, chain(load.s(3), group(load.s()))], load.s()).delay()
    kit.drain()
    assert (sent.get(), set(joined)) == ([1, [2, 2], 3], {sent.parent.id})


# -- a step that is left to Celery


@pytest.mark.parametrize("loose", ["loose", "loosely", "instead"])
@pytest.mark.parametrize("joined", [True, False])
def test_what_follows_a_step_that_is_left_to_celery_is_a_part_still(
    kit: Kit, healed: Path, loose: str, joined: bool
) -> None:
    load, fail = kit.app.tasks["load"], kit.app.tasks["fail"]
    rest = [group(fail.s(), load.s()), load.s()] if joined else [fail.s(), load.s()]
    sent = kit.app.workflows.send(chain(load.s(1), kit.app.tasks[loose].s(), *rest))
    kit.drain()
    [known] = kit.app.workflows.list()
    assert (known.id, known.state) == (sent.workflow_id, State.BLOCKED)
    healed.touch()
    assert kit.app.workflows.resume(known.id).done == 1
    kit.drain()
    assert kit.app.workflows.get(known.id).state is State.SUCCEEDED
    assert sent.get() == ([1, 1] if joined else 1)


def test_it_is_cancelled_with_the_others(kit: Kit) -> None:
    load = kit.app.tasks["load"]
    sent = chain(load.s(1), kit.app.tasks["loose"].s(), load.s(), load.s()).delay()
    kit.run_one()
    kit.run_one()
    kit.app.workflows.cancel(sent.workflow_id)
    assert [run.outcome for run in kit.drain()] == ["revoked"]


@pytest.mark.parametrize("waits", [True, False])
def test_it_does_not_begin_once_its_workflow_is_cancelled(kit: Kit, waits: bool) -> None:
    load, loose = kit.app.tasks["load"], kit.app.tasks["loose"]
    members = [loose.si(number) for number in range(MANY)]
    sent = chain(load.s(1), loose.s(), load.s()).delay() if waits else group(members).delay()
    kit.run_one()
    kit.app.store.cancel_workflow(sent.workflow_id, "somebody")
    assert {run.outcome for run in kit.drain()} == {"revoked"}
    assert {kit.app.AsyncResult(run.id).state for run in kit.runs[1:]} == {"REVOKED"}
    found = kit.app.workflows.get(sent.workflow_id)
    assert (found.state, found.ended, found.done) == (State.CANCELLED, True, 1)


@pytest.mark.parametrize("chained", [True, False])
def test_many_of_it_are_counted(kit: Kit, chained: bool) -> None:
    load, loose, failing = (kit.app.tasks[name] for name in ("load", "loose", "fail loosely"))
    members = [chain(loose.s(number), load.s()) if chained else loose.s(number) for number in range(MANY)]
    last = chain(failing.s(1), loose.s()) if chained else failing.s(1)
    sent = group([*members, last]).delay()
    kit.drain()
    found = kit.app.workflows.get(sent.workflow_id)
    assert (found.state, found.ended) == (State.FAILED, True)
    assert (found.nodes[0].succeeded, found.nodes[0].failed) == (MANY, 1)


def test_what_its_body_sends_is_none_also_where_it_calls_its_base(kit: Kit) -> None:
    class Base(kit.app.Task):  # type: ignore[misc, name-defined]  # Celery has no types
        abstract = True
        durable = False

        def run(self, given: Any) -> Any:
            return given

    @kit.app.task(shared=False, name="derived", base=Base, bind=True)
    def derived(self: Any, given: Any) -> Any:
        Base.run(self, given)
        kit.app.tasks["load"].delay("alone")
        return given

    chain(derived.s(1), kit.app.tasks["load"].s()).delay()
    kit.drain()
    parts = [(item.args, WORKFLOW_HEADER in item.headers) for item in kit.published()]
    assert parts == [([1], True), (["alone"], False), ([1], True)]


# -- who joins a chord while it runs


@pytest.mark.parametrize(
    ("grows", "chained"), [("grow", False), ("grow", True), ("grow lazily", False), ("grow loosely", True)]
)
def test_who_joins_a_chord_is_a_part_of_its_workflow(kit: Kit, healed: Path, grows: str, chained: bool) -> None:
    load, fail = kit.app.tasks["load"], kit.app.tasks["fail"]
    by = chain(load.s(7), fail.s()) if chained else fail.s(7)
    sent = chord([kit.app.tasks[grows].s(dict(by)), load.s(2)], load.s()).delay()
    kit.drain()
    [known] = kit.app.workflows.list()
    assert (known.id, known.state, known.ended) == (sent.workflow_id, State.BLOCKED, True)
    assert [one.state for one in known.nodes][-1] is NodeState.BLOCKED
    healed.touch()
    assert kit.app.workflows.resume(known.id).done == 1
    kit.drain()
    assert sorted(sent.get()) == [1, 2, 7]
    assert kit.app.workflows.get(known.id).state is State.SUCCEEDED


def test_one_whose_replacement_has_given_up_is_blocked_too(kit: Kit, healed: Path) -> None:
    load, fail = kit.app.tasks["load"], kit.app.tasks["fail"]
    by = group(load.s(1), fail.s(2))
    sent = chain(kit.app.tasks["replaced"].s(dict(by)), load.s()).delay()
    kit.drain()
    assert kit.app.workflows.get(sent.workflow_id).state is State.BLOCKED
    healed.touch()
    kit.app.workflows.resume(sent.workflow_id)
    kit.drain()
    assert (kit.app.workflows.get(sent.workflow_id).state, sent.get()) == (State.SUCCEEDED, [1, 2])


def test_it_is_cancelled_with_the_chord(kit: Kit) -> None:
    load = kit.app.tasks["load"]
    sent = chord([kit.app.tasks["grow"].s(dict(load.s(7))), load.s(2)], load.s()).delay()
    kit.run_one()
    kit.app.workflows.cancel(sent.workflow_id)
    assert [run.outcome for run in kit.drain()] == ["revoked", "revoked"]


# -- what is sent while it is sent


@pytest.mark.parametrize("kind", ["group", "chord", "in a chain"])
def test_what_a_generator_of_members_publishes_is_no_part_of_them(kit: Kit, kind: str) -> None:
    load = kit.app.tasks["load"]

    def members() -> Iterator[Any]:
        for number in range(3):
            load.delay(f"prepared {number}")
            chain(load.s("another's"), load.s()).delay()
            yield load.s(number) if kind != "in a chain" else load.si(number)

    canvases = {
        "group": lambda: group(members()),
        "chord": lambda: chord(members(), load.s()),
        "in a chain": lambda: chain(load.s(0), group(members()), load.s()),
    }
    sent = canvases[kind]().apply_async()
    kit.drain()
    known = kit.app.workflows.get(sent.workflow_id)
    assert (known.state, known.size) == (State.SUCCEEDED, {"group": 3, "chord": 4, "in a chain": 5}[kind])
    assert [one.size for one in kit.app.workflows.list() if one.id != known.id] == [2, 2, 2]
    named = kit.app.workflows.send(canvases[kind](), name="named")
    assert kit.app.workflows.get(named.workflow_id).size == known.size


def test_what_a_task_class_sends_along_is_no_part_of_a_canvas(kit: Kit) -> None:
    load = kit.app.tasks["load"]

    class Audited(kit.app.Task):  # type: ignore[misc, name-defined]  # Celery has no types
        abstract = True

        def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            load.delay("audit")
            return super().apply_async(args, kwargs, **options)

    @kit.app.task(shared=False, name="audited", base=Audited)
    def audited(given: Any) -> Any:
        return given

    for canvas, size in ((chain(audited.s(1), load.s()), 2), (group(audited.s(1), audited.s(2)), 2)):
        sent = canvas.delay()
        kit.drain()
        known = kit.app.workflows.get(sent.workflow_id)
        assert (known.state, known.size) == (State.SUCCEEDED, size)
    assert not any(WORKFLOW_HEADER in item.headers for item in kit.published(load, args=("audit",)))


@pytest.fixture
def telling(kit: Kit) -> Iterator[None]:
    """Whoever publishes a task of one's own tells so, by a task and by a canvas."""
    load = kit.app.tasks["load"]

    def tell(sender: str, **_: Any) -> None:
        if sender != "load":
            load.delay("audit")
            chain(load.si("audit"), load.si("audit")).delay()

    for signal in (signals.before_task_publish, signals.after_task_publish):
        signal.connect(tell)
    yield
    for signal in (signals.before_task_publish, signals.after_task_publish):
        signal.disconnect(tell)


@pytest.mark.usefixtures("telling")
@pytest.mark.parametrize("first", ["step", "loosely stepped"])
def test_what_is_sent_beside_a_follow_up_is_no_part_of_its_workflow(kit: Kit, first: str) -> None:
    """By a signal's receiver, and by a task's class; what is linked is one."""
    load = kit.app.tasks["load"]

    class Audited(kit.app.Task):  # type: ignore[misc, name-defined]  # Celery has no types
        abstract = True

        def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            load.delay("audit")
            return super().apply_async(args, kwargs, **options)

    for name, durable in (("step", True), ("loosely stepped", False), ("end", True), ("linked", True)):
        kit.app.task(shared=False, name=name, base=Audited, durable=durable)(_load)
    step, end, linked = (kit.app.tasks[name] for name in (first, "end", "linked"))
    led = step.s(1)
    led.link(linked.s())
    sent = chain(led, group(step.s(), end.s()), end.s()).delay()
    kit.drain()
    assert sent.get() == [1, 1]
    found = kit.app.workflows.get(sent.workflow_id)
    assert (found.state, found.size) == (State.SUCCEEDED, 4)
    parts = [item for item in kit.published() if item.headers.get(WORKFLOW_HEADER, [None])[0] == sent.workflow_id]
    assert sorted(item.task for item in parts) == sorted([first, first, "end", "end", "linked"])
    assert {one.size for one in kit.app.workflows.list() if one.id != sent.workflow_id} == {2}


@pytest.mark.parametrize("kind", ["plain", "async", "left to Celery"])
def test_a_canvas_that_a_body_sends_names_the_task(kit: Kit, kind: str) -> None:
    load = kit.app.tasks["load"]

    async def sends_async() -> None:
        chain(load.s(1), load.s()).delay()

    def sends() -> None:
        chain(load.s(1), load.s()).delay()

    body = sends_async if kind == "async" else sends
    sent = kit.app.task(shared=False, name="sends", durable=kind != "left to Celery")(body).delay()
    kit.drain()
    assert [one.workflow.parent for one in kit.app.workflows.list()] == [sent.id]
    chain(load.s(1), load.s()).delay()
    assert kit.app.workflows.list(newest=1)[0].workflow.parent is None
