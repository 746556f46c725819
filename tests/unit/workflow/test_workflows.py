"""Workflows of real tasks, run under a kit: what they read, and what of them goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import chain, chord, group, signature

from celeriac import Celery, WorkflowBlocked, WorkflowFailed
from celeriac.core.attempt import DeadLetterFilter
from celeriac.core.message import WORKFLOW_HEADER
from celeriac.core.workflow_members import is_part_of
from celeriac.core.workflow_nodes import FOLDED_ABOVE
from celeriac.core.workflow_state import NodeState, State
from celeriac.errors import SettingsError
from celeriac.results.blocked import LeftBehind
from celeriac.store.sqlite.database import STATEMENTS
from celeriac.testing import Kit
from celeriac.workflow import noting, room, status
from celeriac.workflow.labels import labels
from celeriac.workflow.room import UnknownWorkflow, WorkflowCancelled
from celeriac.workflow.svg import said

MANY = FOLDED_ABOVE + 4


@pytest.fixture
def kit() -> Iterator[Kit]:
    app = Celery("shop", broker="sqlite:///unused.db", set_as_current=False)
    app.task(shared=False, name="load")(_load)
    app.task(shared=False, name="fail")(_fail)
    app.task(shared=False, name="declared", throws=(ConnectionError,))(_fail)
    app.task(shared=False, name="replaced", bind=True)(_replaced)
    app.task(shared=False, name="replaced by", bind=True)(_replaced_by)
    app.task(shared=False, name="needs")(_needs)
    app.task(shared=False, name="later", bind=True)(_later)
    app.task(shared=False, name="tell")(_tell)
    app.task(shared=False, name="cancel", bind=True)(_cancel)
    app.task(shared=False, name="instead", bind=True)(_instead)
    app.task(shared=False, name="grow", bind=True)(_grow)
    with Kit(app) as made:
        yield made


def _load(*given: Any) -> int:
    return 1


def _fail(*given: Any) -> None:
    raise ConnectionError("the warehouse does not answer")


def _cancel(task: Any, *given: Any) -> None:
    workflow_id, *_ = task.request.get(WORKFLOW_HEADER)
    task.app.workflows.cancel(workflow_id)


def _needs(*given: Any) -> int:
    if os.environ.get("WAREHOUSE") == "away":
        raise ConnectionError("the warehouse does not answer")
    return 1


def _later(task: Any) -> None:
    raise task.retry(countdown=10 * noting.QUIET)


def _tell(failed: Any) -> None: ...


def _instead(task: Any) -> None:
    load = task.app.tasks["load"]
    raise task.replace(chain(load.s(), load.s()))


def _replaced(task: Any) -> None:
    raise task.replace(chain(task.app.tasks["fail"].s(), task.app.tasks["load"].s()))


def _replaced_by(task: Any, by: Any) -> None:
    raise task.replace(signature(by, app=task.app))


def _grow(task: Any) -> None:
    task.add_to_chord(task.app.tasks["load"].s())


def steps(kit: Kit, *names: str) -> list[Any]:
    return [kit.app.tasks[name].s() for name in names]


@pytest.mark.parametrize("on_failure", ["block", "fail", "continue"])
@pytest.mark.parametrize("joined", [True, False])
def test_error_callbacks_run_whatever_becomes_of_the_rest(kit: Kit, on_failure: Any, joined: bool) -> None:
    failing, load = steps(kit, "fail", "load")
    tell = kit.app.tasks["tell"].s()
    canvas = chord([failing, load], load.on_error(tell)) if joined else chain(failing.on_error(tell), load)
    kit.app.workflows.send(canvas, on_failure=on_failure)
    told = [run.outcome for run in kit.drain() if run.task == "tell"]
    assert told == ([] if joined and on_failure == "continue" else ["completed"])


@pytest.mark.parametrize("nested", [False, True])
def test_error_callbacks_run_once_for_each_generation_of_a_member_that_gives_up(kit: Kit, nested: bool) -> None:
    failing, load = steps(kit, "fail", "load")
    told = kit.app.tasks["load"].s().on_error(kit.app.tasks["tell"].s())
    inner = chord([failing, load], load if nested else told)
    sent = (chord([inner, load], told) if nested else inner).apply_async()
    assert [run.task for run in kit.drain()].count("tell") == 1
    for _ in range(2):
        kit.app.workflows.resume(sent.workflow_id)
        assert sorted(run.task for run in kit.drain()) == ["fail", "tell"]
    assert kit.app.workflows.get(sent.workflow_id).state is State.BLOCKED


@pytest.mark.parametrize(("on_failure", "error"), [("block", WorkflowBlocked), ("fail", WorkflowFailed)])
@pytest.mark.parametrize("shape", ["chain", "chord", "chord of chains", "chord in a chord"])
def test_what_comes_after_says_whether_a_redrive_lets_it_go_on(
    kit: Kit, shape: str, on_failure: Any, error: type[Exception]
) -> None:
    failing, load = steps(kit, "fail", "load")
    canvas = {
        "chain": chain(failing, load),
        "chord": chord([load, failing], load),
        "chord of chains": chord([load, chain(failing, load)], load),
        "chord in a chord": chord([load, chord([load, failing], load)], load),
    }[shape]
    sent = kit.app.workflows.send(canvas, on_failure=on_failure)
    kit.drain()
    with pytest.raises(error, match=r"fail\[[-0-9a-f]+\] gave up \(.*the warehouse does not answer.*\)") as raised:
        kit.app.AsyncResult(sent.id).get(timeout=0)
    assert ("redrive" in str(raised.value)) == (on_failure == "block")
    assert isinstance(raised.value, LeftBehind)
    assert raised.value.task == "fail"


@pytest.mark.parametrize("joined", [True, False])
def test_of_many_those_that_run_are_stopped_and_the_others_do_not_begin(
    kit: Kit, joined: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoked: list[Any] = []
    monkeypatch.setattr(kit.app.control, "revoke", lambda ids, **how: revoked.append((ids, how["terminate"])))
    members = steps(kit, "load", "cancel", *["load"] * MANY)
    sent = (chord(members, kit.app.tasks["load"].s()) if joined else group(members)).apply_async()
    runs = kit.drain()
    assert [run.outcome for run in runs[:2]] == ["completed"] * 2
    assert {run.outcome for run in runs[2:]} == {"revoked"}
    assert revoked == [([runs[1].id], True)]
    found = kit.app.workflows.get(sent.workflow_id)
    many = found.nodes[0]
    assert (found.state, many.state, many.succeeded, many.failed, many.cancelled) == (
        State.CANCELLED,
        NodeState.CANCELLED,
        2,
        0,
        MANY,
    )
    assert said(many) == f"2 ✓  {MANY} ⊘, 0 ms"


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("many", [True, False])
def test_a_failure_that_is_declared_blocks_nothing(kit: Kit, joined: bool, many: bool) -> None:
    members = steps(kit, "declared", *["load"] * (MANY if many else 2))
    sent = (chord(members, kit.app.tasks["load"].s()) if joined else group(members)).apply_async()
    kit.drain()
    assert kit.app.workflows.get(sent.workflow_id).state is State.FAILED
    members[0] = kit.app.tasks["fail"].s()
    sent = (chord(members, kit.app.tasks["load"].s()) if joined else group(members)).apply_async()
    kit.drain()
    assert kit.app.workflows.get(sent.workflow_id).state is State.BLOCKED
    kit.app.dead_letters.purge(*[letter.id for letter in kit.dead_letters])
    assert kit.app.workflows.get(sent.workflow_id).state is State.FAILED


def test_its_dead_letters_are_those_of_all_its_tasks_and_no_others(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    [failing] = steps(kit, "fail")
    sent = group(*steps(kit, *["fail"] * MANY, "replaced")).apply_async()
    kit.app.tasks["fail"].delay(sent.workflow_id)
    chain(failing, failing).apply_async()
    kit.drain()
    asked: list[DeadLetterFilter] = []
    read = kit.app.store.dead_letters

    def listen(chosen: DeadLetterFilter, **how: Any) -> Any:
        asked.append(chosen)
        return read(chosen, **how)

    monkeypatch.setattr(kit.app.store, "dead_letters", listen)
    found = kit.app.workflows.dead_letters(sent.workflow_id)
    assert len(found) == MANY + 1
    assert [len(chosen.ids) for chosen in asked] == [MANY + 1], "no others are read"
    assert all(is_part_of(letter.envelope, str(sent.workflow_id)) for letter in found)
    assert [letter.id for letter in found] == sorted(letter.id for letter in found)
    assert kit.app.workflows.resume(sent.workflow_id).done == MANY + 1


def test_a_name_may_be_that_of_any_file(kit: Kit) -> None:
    sent = kit.app.workflows.send(group(*steps(kit, "load", "load")), name="load \udce9t\udce9.csv")
    assert kit.app.workflows.get(sent.workflow_id).name == "load \\udce9t\\udce9.csv"


def test_two_who_resume_at_once_redrive_each_once(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE", "away")
    sent = group(*steps(kit, *["needs"] * 3)).apply_async()
    kit.drain()
    monkeypatch.delenv("WAREHOUSE")
    found = status.letters_of

    def slowly(*asked: Any) -> Any:
        ids = found(*asked)
        kit.app.dead_letters.redrive(ids[1])  # somebody else's hand
        return ids

    monkeypatch.setattr(room, "letters_of", slowly)
    assert kit.app.workflows.resume(sent.workflow_id).done == 2
    assert [run.outcome for run in kit.drain()] == ["completed"] * 3
    assert kit.app.workflows.get(sent.workflow_id).state is State.SUCCEEDED


def test_what_has_a_message_or_a_dead_letter_is_found_without_reading_shapes(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = group(*steps(kit, "fail", *["load"] * MANY)).apply_async()
    monkeypatch.setitem(STATEMENTS, "workflows.find", "SELECT no_such_column")
    waits = sent.results[-1].id
    assert kit.app.workflows.get(waits).id == sent.workflow_id
    kit.drain()
    [letter] = kit.dead_letters
    assert kit.app.workflows.get(letter.task_id).id == sent.workflow_id


@pytest.mark.parametrize("ended", [True, False])
def test_its_result_is_what_it_has_come_to_without_a_member(kit: Kit, ended: bool) -> None:
    load, failing = kit.app.tasks["load"], kit.app.tasks["fail"]
    canvas = chain(load.s(), group(failing.s(), load.s()), load.s(), load.s())
    sent = kit.app.workflows.send(canvas, on_failure="continue")
    if ended:
        kit.drain()
    assert sent.get() == 1
    held_up = kit.app.workflows.send(chain(failing.s(), load.s()), on_failure="continue")
    with pytest.raises(WorkflowBlocked):
        held_up.get()


def test_its_result_is_what_it_has_come_to_once_its_dead_letter_was_redriven(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE", "away")
    sent = chain(*steps(kit, "needs", "load")).delay()
    with pytest.raises(ConnectionError):
        sent.parent.get()
    monkeypatch.delenv("WAREHOUSE")
    kit.app.workflows.resume(sent)
    kit.drain()
    assert sent.parent.state == "FAILURE", "what was read stays as it was"
    assert sent.get() == 1


@pytest.mark.parametrize("joined", [True, False])
def test_many_of_which_one_was_redriven_go_on(kit: Kit, joined: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE", "away")
    members = steps(kit, "needs", *["load"] * MANY)
    sent = (chord(members, kit.app.tasks["load"].s()) if joined else group(members)).apply_async()
    assert kit.app.workflows.wait(sent).state is State.BLOCKED
    monkeypatch.delenv("WAREHOUSE")
    kit.app.workflows.resume(sent)
    found = kit.app.workflows.get(sent)
    assert (found.state, found.nodes[0].state, found.ended) == (State.RUNNING, NodeState.RUNNING, False)
    noting.Noting().note(kit.app.store)
    assert kit.app.store.workflow(found.id).state == "running", "it is not noted as failed for good"
    assert kit.app.workflows.wait(sent).state is State.SUCCEEDED


def test_a_dead_letter_of_one_of_many_leads_to_its_workflow(kit: Kit) -> None:
    sent = group(*steps(kit, "fail", *["load"] * MANY)).apply_async()
    kit.app.tasks["fail"].delay()
    kit.drain()
    [letter, alone] = kit.dead_letters
    assert kit.app.workflows.get(letter.task_id).id == sent.workflow_id
    with pytest.raises(UnknownWorkflow):
        kit.app.workflows.get(alone.task_id)


@pytest.mark.parametrize("joined", [True, False])
def test_what_replaces_one_of_many_is_counted_in_its_stead(kit: Kit, joined: bool) -> None:
    members = steps(kit, *["instead"] * MANY)
    canvas = chord(members, kit.app.tasks["load"].s()) if joined else group(members)
    sent = canvas.apply_async()
    kit.drain()
    found = kit.app.workflows.get(sent.workflow_id)
    assert (found.state, found.done, found.size) == (State.SUCCEEDED, MANY + joined, MANY + joined)


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("breaks", ["", "header", "body"])
@pytest.mark.parametrize("inner", [2, MANY])
def test_so_is_a_chord(kit: Kit, inner: int, breaks: str, joined: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    load, needs, replaces = (kit.app.tasks[name] for name in ("load", "needs", "replaced by"))
    header = [needs.si() if breaks == "header" else load.si(), *(load.si() for _ in range(inner - 1))]
    instead = replaces.si(chord(header, chain(needs.si() if breaks == "body" else load.si(), load.si())))
    members = [instead, *(load.si() for _ in range(MANY))]
    monkeypatch.setenv("WAREHOUSE", "away")
    sent = (chord(members, load.s()) if joined else group(members)).apply_async()
    kit.drain()
    found = kit.app.workflows.get(sent.workflow_id)
    assert found.state is (State.BLOCKED if breaks else State.SUCCEEDED)
    assert (found.nodes[0].succeeded, found.nodes[0].failed) == (MANY + (not breaks), bool(breaks))
    assert found.nodes[0].dead_letter is bool(breaks)
    monkeypatch.delenv("WAREHOUSE")
    kit.app.workflows.resume(sent.workflow_id)
    kit.drain()
    found = kit.app.workflows.get(sent.workflow_id)
    assert (found.state, found.done, found.size) == (State.SUCCEEDED, MANY + 1 + joined, MANY + 1 + joined)


def chains(kit: Kit, *names: str) -> list[Any]:
    return [chain(*steps(kit, name, "load")) for name in names]


@pytest.mark.parametrize("breaks", ["needs → load", "load → needs"])
@pytest.mark.parametrize("joined", [True, False])
def test_many_chains_are_counted_as_each_comes_to_its_end(
    kit: Kit, joined: bool, breaks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE", "away")
    members = [chain(*steps(kit, *breaks.split(" → "))), *chains(kit, *["load"] * MANY)]
    sent = (chord(members, kit.app.tasks["load"].s()) if joined else group(members)).apply_async()
    kit.drain()
    found = kit.app.workflows.get(sent.workflow_id)
    assert [(one.node.task, one.node.size) for one in found.nodes[:1]] == [(f"{breaks}, load → load", MANY + 1)]
    assert (len(found.nodes), found.state) == (1 + joined, State.BLOCKED)
    assert (found.nodes[0].succeeded, found.nodes[0].failed) == (MANY, 1)
    monkeypatch.delenv("WAREHOUSE")
    assert kit.app.workflows.resume(sent.workflow_id).done == 1
    assert len(kit.drain()) == 1 + breaks.startswith("needs") + joined
    found = kit.app.workflows.get(sent.workflow_id)
    assert (found.state, found.done, found.size) == (State.SUCCEEDED, MANY + 1 + joined, MANY + 1 + joined)


@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("joined", [True, False])
def test_chains_of_a_cancelled_workflow_come_to_their_end(kit: Kit, joined: bool, many: bool) -> None:
    count = MANY if many else 2
    members = chains(kit, *["load"] * count)
    sent = (chord(members, kit.app.tasks["load"].s()) if joined else group(members)).apply_async()
    kit.run_one()
    ends = sent.parent.results if joined else sent.results
    kit.app.store.cancel_workflow(sent.workflow_id, "somebody")
    kit.drain()
    assert {kit.app.AsyncResult(end.id).state for end in ends} == {"REVOKED"}
    found = kit.app.workflows.get(sent.workflow_id)
    assert found.state is State.CANCELLED
    assert sum(one.cancelled for one in found.nodes) >= count
    assert found.ended
    if joined:
        assert kit.app.AsyncResult(sent.id).state == "FAILURE", "nobody waits for it in vain"


def test_a_chain_in_the_place_of_one_of_many_counts_where_it_breaks(kit: Kit) -> None:
    sent = group(*steps(kit, *["load"] * MANY, "replaced")).apply_async()
    kit.drain()
    [many] = kit.app.workflows.get(sent.workflow_id).nodes
    assert (many.succeeded, many.failed, many.dead_letter) == (MANY, 1, True)


def test_a_chord_that_grows_has_not_done_more_than_there_is(kit: Kit) -> None:
    sent = chord(steps(kit, *["grow"] * MANY), kit.app.tasks["load"].s()).apply_async()
    kit.drain()
    found = kit.app.workflows.get(sent.workflow_id)
    assert (found.state, found.done, found.size) == (State.SUCCEEDED, 2 * MANY + 1, 2 * MANY + 1)


def test_a_callback_that_is_linked_holds_nothing_up(kit: Kit) -> None:
    first, second, linked = steps(kit, "load", "load", "load")
    first.link(linked)
    sent = chain(first, second).apply_async()
    assert len(kit.drain()) == 3
    assert kit.app.workflows.get(sent.workflow_id).state is State.SUCCEEDED


def test_what_is_recorded_has_an_id_and_nothing_else_has(kit: Kit) -> None:
    [load] = steps(kit, "load")
    assert group([load]).apply_async().workflow_id is None
    assert load.apply_async().workflow_id is None
    sent = chain(load, load).apply_async()
    assert kit.app.workflows.get(sent.workflow_id).id == sent.workflow_id


@pytest.mark.parametrize("on_failure", ["block", "fail", "continue"])
@pytest.mark.parametrize("made", ["task", "chain", "group", "linked", "named", "map"])
def test_a_single_task_that_is_sent_as_a_workflow_is_one(kit: Kit, made: str, on_failure: Any) -> None:
    failing = kit.app.tasks["fail"].s(1)
    canvas = {
        "task": failing,
        "chain": chain(failing),
        "group": group([failing]),
        "linked": failing.on_error(kit.app.tasks["tell"].s()),
        "named": failing.clone().set(task_id="my-own"),
        "map": kit.app.tasks["fail"].map([1, 2]),
    }[made]
    sent = kit.app.workflows.send(canvas, name="nightly", on_failure=on_failure)
    begun = kit.app.workflows.get(sent.workflow_id)
    assert (begun.name, begun.workflow.on_failure, begun.size, begun.state) == ("nightly", on_failure, 1, "running")
    assert made != "named" or sent.id == "my-own"
    kit.drain()
    found = kit.app.workflows.get(sent)
    assert found.state is (State.FAILED if on_failure == "fail" else State.BLOCKED)
    assert [one.state for one in found.nodes] == [NodeState.FAILED]
    if on_failure == "fail":
        with pytest.raises(WorkflowCancelled):
            kit.app.workflows.resume(sent.workflow_id)
    else:
        assert kit.app.workflows.resume(sent.workflow_id).done == 1


def test_a_single_task_whose_key_another_one_holds_ends_with_that_ones_result(kit: Kit) -> None:
    taken: list[str] = []

    def take(day: str) -> str:
        taken.append(day)
        return day

    once = kit.app.task(shared=False, name="once", idempotency_key="{day}")(take)
    first, again = (kit.app.workflows.send(once.s("monday"), name=name) for name in ("first", "again"))
    assert kit.app.workflows.get(again).name == "again"
    kit.drain()
    assert taken == ["monday"]
    for sent in (first, again):
        assert sent.get(timeout=0) == "monday"
        assert kit.app.workflows.get(sent).state is State.SUCCEEDED


def test_a_canvas_that_runs_at_once_is_no_workflow(kit: Kit) -> None:
    kit.app.conf.task_always_eager = True
    sent = kit.app.workflows.send(kit.app.tasks["load"].s(), name="nightly")
    assert (sent.workflow_id, sent.get()) == (None, 1)
    assert kit.app.workflows.list() == []


def test_without_a_ledger_none_is_sent_as_if_it_were_kept() -> None:
    app = Celery("plain", broker="memory://", set_as_current=False)
    app.task(shared=False, name="load")(_load)
    load = app.tasks["load"]
    with pytest.raises(SettingsError, match="ledger"):
        app.workflows.send(chain(load.s(), load.s()), on_failure="fail")


def test_many_that_are_blocked_keep_no_other_from_being_noted(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noting, "AT_ONCE", 2)
    monkeypatch.setattr(noting, "LONGEST", 0.0)
    for _ in range(3):
        chain(*steps(kit, "fail", "load")).apply_async()
    kit.drain()
    sent = chain(*steps(kit, "load", "load")).apply_async()
    for _ in range(8):
        kit.advance(30)
        noting.Noting().note(kit.app.store)
        kit.run_one()
    assert kit.app.store.workflow(sent.workflow_id).state == "succeeded"


def test_all_are_looked_at_in_one_round_where_there_is_time(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noting, "AT_ONCE", 2)
    sent = [chain(*steps(kit, "load", "load")).apply_async() for _ in range(5)]
    kit.drain()
    noting.Noting().note(kit.app.store)
    assert {kit.app.store.workflow(one.workflow_id).state for one in sent} == {"succeeded"}


def test_a_body_that_is_still_to_come_is_not_closed_with_its_workflow(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As when a worker looks at a workflow whose members are still being sent.
    sent = chord(steps(kit, "fail", *["load"] * MANY), kit.app.tasks["load"].s()).apply_async()
    kit.run_one()
    closed: list[str] = []
    store, note_workflow = kit.app.store, kit.app.store.note_workflow

    def note(*given: Any, over: list[str]) -> None:
        closed.extend(over)
        note_workflow(*given, over=over)

    monkeypatch.setattr(store, "note_workflow", note)
    noting.Noting().note(store)
    assert kit.app.workflows.get(sent.workflow_id).state is State.BLOCKED
    assert closed == []
    alone = group(steps(kit, "fail", *["load"] * MANY)).apply_async()
    kit.drain()
    noting.Noting().note(store)
    assert closed == [alone.id]


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_dead_letter_of_a_cancelled_one_stays_where_it_is(kit: Kit, by_hand: bool) -> None:
    failing, load = steps(kit, "fail", "load")
    sent = kit.app.workflows.send(chain(failing, load), on_failure="block" if by_hand else "fail")
    other = chain(failing, load).apply_async()
    kit.drain()
    if by_hand:
        kit.app.workflows.cancel(sent.workflow_id)
    done = kit.app.dead_letters.redrive(*[letter.id for letter in kit.dead_letters])
    [refusal] = done.refused
    assert done.done == 1
    assert f"its workflow {sent.workflow_id} was cancelled" in str(refusal.error)
    assert {letter.id for letter in kit.dead_letters} == {refusal.letter.id}
    assert kit.app.workflows.get(other.workflow_id).state is State.RUNNING


@pytest.mark.parametrize("led", [True, False])
@pytest.mark.parametrize("member", ["one", "chain", "chord", "group"])
@pytest.mark.parametrize("first", ["load", "fail"])
def test_a_body_of_one_member_is_known_for_one(kit: Kit, first: str, member: str, led: bool) -> None:
    """With "continue" a body runs without a member that failed, and a step of a chain does not."""
    failing, load = (kit.app.tasks[name].si() for name in (first, "load"))
    members = {
        "one": failing,
        "chain": chain(failing, load),
        "chord": chord([failing], load),
        "group": group(failing),
    }
    joined = chord([members[member]], chain(load, load))
    sent = kit.app.workflows.send(chain(load, joined) if led else joined, on_failure="continue")
    kit.drain()
    found = kit.app.workflows.get(sent.workflow_id)
    assert (found.state, found.ended) == (State.SUCCEEDED, True)
    assert [one.state for one in found.nodes[-2:]] == [NodeState.SUCCEEDED] * 2
    assert [one.node.joins for one in found.nodes[-2:]] == [True, False]


def test_a_group_of_one_within_a_chain_is_a_step(kit: Kit) -> None:
    failing, load = (kit.app.tasks[name].si() for name in ("fail", "load"))
    sent = kit.app.workflows.send(chain(load, group([failing]), load), on_failure="continue")
    kit.drain()
    found = kit.app.workflows.get(sent.workflow_id)
    assert (found.state, [one.node.joins for one in found.nodes]) == (State.BLOCKED, [False] * 3)


@pytest.mark.parametrize("shape", ["chain", "chord"])
def test_what_was_purged_is_cancelled(kit: Kit, shape: str) -> None:
    load = kit.app.tasks["load"].s()
    sent = {"chain": chain(load, load), "chord": chord([load, load], load)}[shape].apply_async()
    kit.run_one()
    kit.app.control.purge()
    assert kit.app.workflows.get(sent.workflow_id).state is State.CANCELLED


@pytest.mark.parametrize("shape", ["chain", "chord", "many"])
def test_a_workflow_of_which_nothing_is_left_comes_to_an_end(kit: Kit, shape: str) -> None:
    load = kit.app.tasks["load"].s()
    canvas = {"chain": chain(load, load), "chord": chord([load, load], load), "many": group([load] * MANY)}[shape]
    sent, store, workflows = canvas.apply_async(), kit.app.store, noting.Noting()
    kit.run_one()
    if shape == "many":
        kit.app.control.purge()
    else:  # as where who sent it has died before the others
        store.ack([one.lease for one in store.claim(["celery"], 99, owner="somebody", lease=30.0)])
    workflows.note(store)
    assert kit.app.workflows.get(sent.workflow_id).state is State.RUNNING
    kit.advance(noting.QUIET + 1)
    workflows.note(store)
    found = kit.app.workflows.get(sent.workflow_id)
    assert (found.state, found.ended, found.done) == (State.LOST, True, 1)
    assert kit.app.workflows.wait(sent.workflow_id, 0.0).state is State.LOST
    kit.advance(100)
    workflows.note(store)
    store.prune(store.now(), attempts_before=store.now() - 50, dead_letters_before=None)
    assert kit.app.workflows.list() == []


@pytest.mark.parametrize("waits", ["for its turn", "for its time", "for a pause", "to be tried again"])
def test_what_waits_for_long_is_not_lost(kit: Kit, waits: str) -> None:
    load = kit.app.tasks["load"].s()
    if waits == "for a pause":
        kit.app.pauses.pause(task="load")
    first = {"for its time": load.set(countdown=10 * noting.QUIET), "to be tried again": kit.app.tasks["later"].s()}
    sent = chain(first.get(waits, load), load).apply_async()
    if waits != "for its turn":
        kit.run_one()
    kit.advance(noting.QUIET + 1)
    noting.Noting().note(kit.app.store)
    assert kit.app.store.workflow(sent.workflow_id).state == "running"


def test_messages_are_looked_through_once_an_hour_and_not_for_nothing(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, workflows = kit.app.store, noting.Noting()
    looked: list[int] = []
    under_way: Callable[[], frozenset[str]] = store.workflows_under_way

    def look() -> frozenset[str]:
        looked.append(1)
        return under_way()

    monkeypatch.setattr(store, "workflows_under_way", look)
    chain(*steps(kit, "load", "load")).apply_async()
    for _ in range(3):
        workflows.note(store)
    assert looked == []
    kit.advance(noting.QUIET + 1)
    for _ in range(3):
        workflows.note(store)
    assert looked == [1]
    kit.advance(noting.QUIET + 1)
    workflows.note(store)
    assert looked == [1, 1]


def test_one_that_comes_on_while_messages_are_looked_through_is_not_lost(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, store = chain(*steps(kit, "load", "load")).apply_async(), kit.app.store
    kit.advance(noting.QUIET + 1)

    def look() -> frozenset[str]:
        kit.run_one()
        return frozenset()

    monkeypatch.setattr(store, "workflows_under_way", look)
    noting.Noting().note(store)
    assert store.workflow(sent.workflow_id).state == "running"


def test_a_result_will_do_for_the_id(kit: Kit) -> None:
    load, other = steps(kit, "load", "load")
    sent, many = chain(load, other).apply_async(), group(load, other).apply_async()
    for result in (sent, many):
        assert kit.app.workflows.wait(result, timeout=5).id == result.workflow_id
    asked = kit.app.AsyncResult(sent.id)
    assert kit.app.workflows.get(asked).id == sent.workflow_id
    alone = load.apply_async()
    for wanted in (alone, alone.workflow_id, 7):
        with pytest.raises(UnknownWorkflow, match="is no workflow, and no task of one"):
            kit.app.workflows.get(wanted)


def test_it_is_shown_in_a_line(kit: Kit) -> None:
    sent = kit.app.workflows.send(chain(*steps(kit, "load", "load")), name="nightly")
    assert repr(kit.app.workflows.list()) == f"[<WorkflowStatus nightly[{sent.workflow_id}] running, 0 of 2 done>]"


@pytest.mark.parametrize("joined", [True, False])
def test_many_have_lasted_from_the_first_start_to_the_last_end(
    kit: Kit, joined: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = steps(kit, *["load"] * MANY)
    sent = (chord(members, kit.app.tasks["load"].s()) if joined else group(members)).apply_async()
    began = kit.app.store.now()
    for _ in members:
        assert (found := kit.app.workflows.get(sent).nodes[0]).finished_at is None
        assert said(found).endswith("to go")
        kit.run_one()
        kit.advance(1)
    many = kit.app.workflows.get(sent).nodes[0]
    assert many.started_at == pytest.approx(began, abs=1)
    assert many.finished_at == pytest.approx(began + MANY - 1, abs=1)
    assert said(many) == f"{MANY} ✓, {many.finished_at - many.started_at:.1f} s"
    kit.drain()
    over = kit.app.workflows.get(sent)
    assert over.finished_at == over.nodes[-1].finished_at
    noting.Noting().note(kit.app.store)
    monkeypatch.setattr(kit.app.store, "times_of", lambda groups: pytest.fail("it was noted"))
    for one in sent.parent.results if joined else sent.results:
        kit.app.store.forget(one.id)
    assert kit.app.workflows.get(sent).nodes == over.nodes


def test_members_of_one_task_are_told_apart_and_secrets_are_not_shown(kit: Kit) -> None:
    load = kit.app.tasks["load"]
    hidden = load.s("secret").set(argsrepr="('***',)")
    members = group(load.s(2026, shop="north"), hidden, chain(load.s("secret").set(argsrepr="('***',)"), load.s()))
    sent = kit.app.workflows.send(chain(hidden, members, load.s(7)), 5)
    shape = [one.node for one in kit.app.workflows.get(sent).nodes]
    assert [str(label) for label in labels(shape)] == [
        "load('***')",
        "load[0](2026, shop='north')",
        "load[1]('***')",
        "load[2]('***')",
        "load",
        "load(7)",
    ]
    named = chain(load.s(1), load.s(2)).apply_async()
    assert [one.node.arguments for one in kit.app.workflows.get(named).nodes] == ["(1)", "(2)"]


@pytest.mark.parametrize("canvas", [[], "load", 7])
def test_what_is_no_canvas_is_not_sent(kit: Kit, canvas: Any) -> None:
    with pytest.raises(TypeError, match=r"is no chain, group or chord: give signatures"):
        kit.app.workflows.send(canvas)


def test_a_task_without_its_arguments_is_not_sent(kit: Kit) -> None:
    with pytest.raises(TypeError, match=r"^load is a task, and no signature of it: .* load\.s\(…\)$"):
        kit.app.workflows.send(kit.app.tasks["load"])


def test_a_state_that_there_is_not(kit: Kit) -> None:
    with pytest.raises(ValueError, match="state='stuck' is none of running, succeeded, blocked"):
        kit.app.workflows.list(state="stuck")
