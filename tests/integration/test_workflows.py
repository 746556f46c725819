"""Workflows: what real workers make of canvases on every store, and beside a broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group, states

from celeriac import WorkflowBlocked
from celeriac.core.workflow_state import NodeState, State
from celeriac.workflow import WorkflowStatus
from celeriac.workflow.room import WorkflowCancelled
from tests.integration.sites import BesideSite, PostgresSite, RedisSite, Site, lines, open_gate
from tests.support import wait_for
from tests.support.plugin import PROGRAMS, server

PATIENCE = 60
SITES: dict[str, Callable[[Path], Site]] = {
    "sqlite": Site,
    "postgres": lambda folder: PostgresSite(folder, server("CELERIAC_POSTGRES_URL")),
    "redis": lambda folder: RedisSite(folder, server("CELERIAC_REDIS_URL")),
    "amqp-postgres": lambda folder: BesideSite.of(folder, "amqp", "postgres"),
}


@pytest.fixture(scope="module", params=SITES)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One site, with one worker, for all tests."""
    made = SITES[request.param](tmp_path_factory.mktemp("workflows"))
    try:
        made.worker("threads", concurrency=4)
        yield made
    finally:
        made.close()


@pytest.fixture(autouse=True)
def logs(request: pytest.FixtureRequest, site: Site) -> None:
    request.node.stash[PROGRAMS] = site.workers


def ended(site: Site, result: Any) -> WorkflowStatus:
    found: WorkflowStatus = site.app.workflows.wait(result.workflow_id, PATIENCE)
    return found


def states_of(status: WorkflowStatus) -> list[str]:
    return [one.state.value for one in status.nodes]


def settled(site: Site, result: Any, state: State) -> WorkflowStatus:
    wait_for(lambda: site.app.workflows.get(result.workflow_id).state is state, PATIENCE)
    found: WorkflowStatus = site.app.workflows.get(result.workflow_id)
    return found


def test_a_single_task_keeps_its_name_and_what_was_said_of_its_failure(site: Site) -> None:
    sent = site.app.workflows.send(site.fail.s("away"), name="alone", on_failure="fail")
    over = ended(site, sent)
    assert (over.name, over.workflow.on_failure, over.state, over.size) == ("alone", "fail", State.FAILED, 1)
    assert [one.node.id for one in over.nodes] == [sent.id]
    with pytest.raises(WorkflowCancelled):
        site.app.workflows.resume(sent)


def test_a_canvas_is_followed_from_its_sending_to_its_end(site: Site) -> None:
    journal, gate = site.file(), site.file("gate")
    sent = chain(
        site.hold.si(journal, gate, "first"),
        group(site.effect.si(journal, f"{number}") for number in range(3)),
        site.how_many.s(),
        site.add.s(1),
    ).apply_async()
    wait_for(lambda: lines(journal), PATIENCE)
    begun = site.app.workflows.get(sent.workflow_id)
    assert begun.name == "hold → effect → how_many → …"
    assert (begun.state, begun.done, begun.size) == (State.RUNNING, 0, 6)
    assert states_of(begun)[1:] == ["planned"] * 5
    with pytest.raises(TimeoutError, match="0 of 6"):
        site.app.workflows.wait(sent.workflow_id, 0.1)
    open_gate(gate)
    over = ended(site, sent)
    assert sent.get(timeout=PATIENCE) == 4
    assert (over.state, over.done) == (State.SUCCEEDED, 6)
    assert over.finished_at is not None
    assert site.app.workflows.get(sent.id).id == sent.workflow_id  # by any of its tasks
    assert sent.workflow_id in [one.id for one in site.app.workflows.list(state="succeeded")]


def test_a_member_that_gives_up_blocks_the_rest_until_it_is_redriven(site: Site) -> None:
    journal, gate = site.file(), site.file("gate")
    told = site.file("told")
    steps = chain(
        site.effect.si(journal, "a"),
        site.needs.si(journal, gate, "b"),
        site.effect.si(journal, "c"),
        site.effect.si(journal, "d").on_error(site.effect.si(told, "error")),
    )
    sent = site.app.workflows.send(steps, name="nightly report")
    blocked = ended(site, sent)
    assert (blocked.name, blocked.state) == ("nightly report", State.BLOCKED)
    assert states_of(blocked) == ["succeeded", "failed", "blocked", "blocked"]
    with pytest.raises(WorkflowBlocked, match=r"b cannot be done.*dead redrive"):
        site.app.AsyncResult(sent.id).get(timeout=PATIENCE)
    assert [letter.task_id for letter in site.app.workflows.dead_letters(sent.workflow_id)] == [
        blocked.nodes[1].node.id
    ]
    open_gate(gate)
    assert site.app.workflows.resume(sent.workflow_id).done == 1
    settled(site, sent, State.SUCCEEDED)
    assert lines(journal) == ["a", "b", "c", "d"]
    assert site.app.AsyncResult(sent.id).get(timeout=PATIENCE) == "d"
    assert site.app.workflows.resume(sent.workflow_id).done == 0


def test_a_blocked_chord_goes_on_with_the_results_that_there_are(site: Site) -> None:
    journal, gate = site.file(), site.file("gate")
    members = [site.effect.si(journal, "a"), site.needs.si(journal, gate, "b"), site.effect.si(journal, "c")]
    sent = chord(members, site.how_many.s()).apply_async()
    blocked = ended(site, sent)
    assert (blocked.state, states_of(blocked)) == (State.BLOCKED, ["succeeded", "failed", "succeeded", "blocked"])
    wait_for(lambda: site.app.AsyncResult(sent.id).state == states.FAILURE, PATIENCE)
    with pytest.raises(WorkflowBlocked):
        site.app.AsyncResult(sent.id).get(timeout=PATIENCE, propagate=True)
    open_gate(gate)
    site.app.workflows.resume(sent.id)
    settled(site, sent, State.SUCCEEDED)
    assert site.app.AsyncResult(sent.id).get(timeout=PATIENCE) == 3
    assert sorted(lines(journal)) == ["a", "b", "c"]


def test_a_chord_does_without_a_member_where_that_was_said(site: Site) -> None:
    journal, gate = site.file(), site.file("gate")
    members = [site.effect.si(journal, "a"), site.needs.si(journal, gate, "b"), site.effect.si(journal, "c")]
    sent = site.app.workflows.send(chord(members, site.how_many.s()), on_failure="continue")
    over = settled(site, sent, State.SUCCEEDED)
    assert states_of(over) == ["succeeded", "failed", "succeeded", "succeeded"]
    assert site.app.AsyncResult(sent.id).get(timeout=PATIENCE) == 2


def test_it_does_without_one_in_a_group_within_its_header_too(site: Site) -> None:
    journal, gate = site.file(), site.file("gate")
    inner = chain(site.effect.si(journal, "x"), group(site.needs.si(journal, gate, "b"), site.effect.si(journal, "c")))
    sent = site.app.workflows.send(
        chord([site.effect.si(journal, "a"), inner], site.collect.s()), on_failure="continue"
    )
    settled(site, sent, State.SUCCEEDED)
    assert site.app.AsyncResult(sent.id).get(timeout=PATIENCE) == ["a", ["c"]]


def test_the_rest_is_cancelled_where_that_was_said(site: Site) -> None:
    journal, gate = site.file(), site.file("gate")
    waits = site.effect.si(journal, "late").set(countdown=4)
    sent = site.app.workflows.send(group(site.needs.si(journal, gate, "b"), waits), on_failure="fail")
    wait_for(lambda: site.app.workflows.get(sent.workflow_id).workflow.cancelled_at, PATIENCE)
    over = ended(site, sent)
    assert over.workflow.cancelled_by is not None
    assert "gave up" in over.workflow.cancelled_by
    wait_for(lambda: site.state(over.nodes[1].node.id) == "REVOKED", PATIENCE)
    assert lines(journal) == []


def test_a_cancelled_one_begins_nothing_more(site: Site) -> None:
    journal, gate = site.file(), site.file("gate")
    sent = chain(site.hold.si(journal, gate, "first"), site.effect.si(journal, "then")).apply_async()
    wait_for(lambda: lines(journal), PATIENCE)
    site.app.workflows.cancel(sent.workflow_id, who="somebody@host", terminate=False)
    assert site.app.AsyncResult(sent.id).state == states.REVOKED
    open_gate(gate)
    over = settled(site, sent, State.CANCELLED)
    assert over.workflow.cancelled_by == "somebody@host"
    wait_for(lambda: not site.queues(), PATIENCE)
    assert lines(journal) == ["begin first", "end first"]
    with pytest.raises(WorkflowCancelled, match="somebody@host"):
        site.app.workflows.resume(sent.workflow_id)


@pytest.mark.parametrize("joined", [True, False])
def test_many_members_are_one_node_with_a_count(site: Site, joined: bool) -> None:
    journal, gate = site.file(), site.file("gate")
    members = [site.effect.si(journal, f"{number}") for number in range(24)]
    members.append(site.needs.si(journal, gate, "last"))
    canvas = chord(members, site.how_many.s()) if joined else group(members)
    sent = canvas.apply_async()
    blocked = ended(site, sent)  # with the first that fails it is blocked, and the others go on
    assert blocked.state is State.BLOCKED
    assert (blocked.nodes[0].node.size, blocked.nodes[0].succeeded, blocked.nodes[0].failed) == (25, 24, 1)
    assert len(blocked.nodes) == 1 + joined
    open_gate(gate)
    assert site.app.workflows.resume(sent.workflow_id).done == 1
    over = settled(site, sent, State.SUCCEEDED)
    assert (over.nodes[0].succeeded, over.nodes[0].failed) == (25, 0)


def test_what_is_tried_again_stays_a_part(site: Site) -> None:
    journal = site.file()
    steps = [
        site.second_time.si(journal, "a"),
        site.second_time.si(journal, "b"),
        site.needs.si(journal, site.file("gate"), "c"),
    ]
    sent = chain(steps).apply_async()
    over = ended(site, sent)
    assert (over.state, states_of(over)) == (State.BLOCKED, ["succeeded", "succeeded", "failed"])
    assert len(site.app.workflows.dead_letters(sent.workflow_id)) == 1
    assert lines(journal) == ["a", "b"]


def test_a_canvas_that_a_task_sends_is_a_workflow_of_its_own(site: Site) -> None:
    journal = site.file()
    sent = site.sends_a_chain.delay(journal)
    inner = site.app.workflows.wait(sent.get(timeout=PATIENCE), PATIENCE)
    assert (inner.workflow.parent, inner.state, inner.size) == (sent.id, State.SUCCEEDED, 2)


def test_what_has_become_of_it_outlives_the_results(site: Site) -> None:
    journal = site.file()
    sent = chain(site.effect.si(journal, "a"), site.effect.si(journal, "b")).apply_async()
    over = settled(site, sent, State.SUCCEEDED)
    wait_for(lambda: site.app.workflows.get(sent.workflow_id).workflow.state == "succeeded", PATIENCE)
    for one in over.nodes:
        site.store.forget(one.node.id)
    later = site.app.workflows.get(sent.workflow_id)
    assert later.state is State.SUCCEEDED
    assert [one.state for one in later.nodes] == [NodeState.SUCCEEDED] * 2
    assert later.finished_at == over.finished_at
