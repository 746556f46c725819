"""What has become of a workflow, from what the ledger has of its nodes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from celeriac.core.attempt import Record
from celeriac.core.workflow import Counted, Node, Workflow


class NodeState(Enum):
    """What has become of a node. Of many it is the worst: one that has failed, then one that runs."""

    PLANNED = "planned"  #: what it waits for is not over
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    BLOCKED = "blocked"  #: it will not begin unless what it waits for is redriven
    CANCELLED = "cancelled"


#: Celery's states of what is over; RETRY is what a task that waits to be tried again reads.
_ENDS = frozenset({"SUCCESS", "FAILURE", "REVOKED", "IGNORED"})
#: States of a node after which its result may be forgotten.
_OVER = frozenset({NodeState.SUCCEEDED, NodeState.FAILED, NodeState.CANCELLED})


class State(Enum):
    """What has become of a workflow."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    BLOCKED = "blocked"  #: a member is a dead letter; redriven, it goes on
    FAILED = "failed"
    CANCELLED = "cancelled"


#: States after which nothing more happens by itself.
ENDED = frozenset({State.SUCCEEDED, State.BLOCKED, State.FAILED, State.CANCELLED})


@dataclass(slots=True)
class Progress:
    """What has become of one node; ``started_at`` and ``finished_at`` in seconds since the epoch, None of many."""

    node: Node
    state: NodeState
    succeeded: int = 0
    failed: int = 0
    running: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    dead_letter: bool = False


def progress(
    workflow: Workflow, records: Mapping[str, Record], counted: Mapping[str, Counted], lettered: Iterable[str]
) -> list[Progress]:
    """What has become of each node.

    Args:
        workflow: the workflow.
        records: what the ledger has of the nodes that are one task, by id.
        counted: how many members of each group that is one node have ended, by its id.
        lettered: ids of tasks that have a dead letter.
    """
    letters, before_now = frozenset(lettered), _noted(workflow.outcome)
    found: list[Progress] = []
    for place, node in enumerate(workflow.nodes):
        before = [found[other] for other in node.after if other < len(found)]
        if node.size > 1:
            seen = _of_many(node, counted.get(node.id, Counted(0, 0)))
        else:
            seen = _of_one(node, records.get(node.id), node.id in letters)
        if seen.state is NodeState.PLANNED and place < len(before_now):
            # Its result was forgotten meanwhile.
            seen = _as_noted(node, before_now[place])
        if seen.state in (NodeState.PLANNED, NodeState.FAILED) and not seen.dead_letter:
            seen.state = _held_up(workflow, seen, before)
        found.append(seen)
    return found


def snapshot(nodes: Sequence[Progress]) -> str:
    """What has become of the nodes, to be kept longer than their results."""
    rows = [
        [one.state.value, one.succeeded, one.failed, one.started_at, one.finished_at] if one.state in _OVER else []
        for one in nodes
    ]
    return json.dumps(rows, separators=(",", ":"))


def _noted(outcome: str | None) -> list[list[Any]]:
    return json.loads(outcome) if outcome else []


def _as_noted(node: Node, row: list[Any]) -> Progress:
    if not row:
        return Progress(node, NodeState.PLANNED)
    state, succeeded, failed, started_at, finished_at = row
    return Progress(node, NodeState(state), succeeded, failed, 0, started_at, finished_at)


def _of_one(node: Node, record: Record | None, dead_letter: bool) -> Progress:
    if record is None:
        return Progress(node, NodeState.PLANNED)
    state, live = record.state, not record.closed or record.state not in _ENDS
    found = Progress(node, NodeState.WAITING, started_at=record.started_at, finished_at=record.finished_at)
    if live:
        found.state = NodeState.RUNNING if state == "STARTED" else NodeState.WAITING
        found.running = int(found.state is NodeState.RUNNING)
        found.finished_at = None
    elif state == "SUCCESS":
        found.state, found.succeeded = NodeState.SUCCEEDED, 1
    elif state in ("REVOKED", "IGNORED"):
        found.state = NodeState.CANCELLED
    else:
        found.state, found.failed, found.dead_letter = NodeState.FAILED, 1, dead_letter
    return found


def _of_many(node: Node, counted: Counted) -> Progress:
    found = Progress(node, NodeState.WAITING, counted.succeeded, counted.failed)
    if counted.succeeded + counted.failed == 0:
        found.state = NodeState.PLANNED if node.after else NodeState.WAITING
    elif counted.failed:
        found.state = NodeState.FAILED
    elif counted.succeeded >= node.size:
        found.state = NodeState.SUCCEEDED
    else:
        found.state = NodeState.RUNNING
    return found


def _held_up(workflow: Workflow, seen: Progress, before: Sequence[Progress]) -> NodeState:
    """A node that has not begun, or whose end another one's failure has brought."""
    begun = seen.state is NodeState.FAILED and seen.started_at is not None
    if begun or (not before and seen.state is NodeState.FAILED):
        return NodeState.FAILED
    stopping = {NodeState.BLOCKED} if _does_without(workflow, seen.node) else {NodeState.FAILED, NodeState.BLOCKED}
    if workflow.cancelled_at is not None:
        return NodeState.CANCELLED
    # What a failure has brought that was put right since is no failure any more.
    return NodeState.BLOCKED if any(one.state in stopping for one in before) else NodeState.PLANNED


def _does_without(workflow: Workflow, node: Node) -> bool:
    """Whether it begins although something that it waits for has failed."""
    return workflow.on_failure == "continue" and node.joins


def state_of(workflow: Workflow, nodes: Sequence[Progress]) -> State:
    """What has become of the whole."""
    states = {one.state for one in nodes}
    if workflow.cancelled_at is not None and not states & {NodeState.RUNNING}:
        return State.CANCELLED
    if states <= {NodeState.SUCCEEDED}:
        return State.SUCCEEDED
    failed = [one for one in nodes if one.state is NodeState.FAILED]
    if failed:
        if workflow.on_failure == "continue" and _goes_on(nodes):
            return _without(nodes)
        lettered = any(one.dead_letter or one.node.size > 1 for one in failed)
        return State.BLOCKED if lettered and workflow.on_failure == "block" else State.FAILED
    if NodeState.CANCELLED in states and not states & {NodeState.RUNNING, NodeState.WAITING, NodeState.PLANNED}:
        return State.CANCELLED
    return State.RUNNING


def is_busy(one: Progress) -> bool:
    """Whether something of a node waits to be run, or runs."""
    if one.node.size > 1 and one.state is NodeState.FAILED:
        return one.succeeded + one.failed < one.node.size
    return one.state in (NodeState.WAITING, NodeState.RUNNING)


def _goes_on(nodes: Sequence[Progress]) -> bool:
    """Whether every failure is one that its chord does without."""
    joining = {place for one in nodes if one.node.joins for place in one.node.after}
    return all(number in joining for number, one in enumerate(nodes) if one.state is NodeState.FAILED)


def _without(nodes: Sequence[Progress]) -> State:
    open_ = {NodeState.PLANNED, NodeState.WAITING, NodeState.RUNNING}
    over = [one for one in nodes if one.state not in open_]
    return State.SUCCEEDED if len(over) == len(nodes) else State.RUNNING
