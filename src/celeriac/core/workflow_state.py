"""What has become of a workflow, from what the ledger has of its nodes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Any

from celeriac.core.attempt import Record
from celeriac.core.checkpoint import Progress as Reported
from celeriac.core.workflow import NONE_ENDED, Counted, Node, Times, Workflow


class _Word(str, Enum):
    """Equal to its word, and shown as it, as Celery's states are."""

    __str__ = str.__str__


class NodeState(_Word):
    """What has become of a node. Of many it is the worst: one that has failed, then one that runs."""

    PLANNED = "planned"  #: what it waits for is not over
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    BLOCKED = "blocked"  #: it will not begin unless what it waits for is redriven
    SKIPPED = "skipped"  #: it will not begin: what it waits for has failed, and nothing of that can be redriven
    CANCELLED = "cancelled"


#: Celery's states of what is over; RETRY is what a task that waits to be tried again reads.
_ENDS = frozenset({"SUCCESS", "FAILURE", "REVOKED", "IGNORED"})
#: States of a node after which its result may be forgotten.
_OVER = frozenset({NodeState.SUCCEEDED, NodeState.FAILED, NodeState.CANCELLED})
#: What comes after them does not begin.
_HOLDING = frozenset({NodeState.FAILED, NodeState.BLOCKED, NodeState.SKIPPED})
_OPEN = frozenset({NodeState.PLANNED, NodeState.WAITING, NodeState.RUNNING})


class State(_Word):
    """What has become of a workflow."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    BLOCKED = "blocked"  #: a member is a dead letter; redriven, it goes on
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"  #: nothing of it waits or runs, and what is to come never will: it was purged, or not sent


#: States after which nothing more happens by itself.
ENDED = frozenset(State) - {State.RUNNING}


@dataclass(slots=True)
class Progress:
    """What has become of one node, counted by tasks; times in seconds since the epoch.

    Of many they are the first one's start and the last one's end, once all have ended.
    """

    node: Node
    state: NodeState
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    running: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    #: It has failed and can be redriven, or some of many can.
    dead_letter: bool = False
    #: How far a task that runs, or waits to go on, says that it is; looked up for one workflow, not for a list of them.
    reported: Reported | None = None


def progress(
    workflow: Workflow,
    records: Mapping[str, Record],
    counted: Mapping[str, Counted],
    lettered: Iterable[str],
    running: Mapping[str, int] = MappingProxyType({}),
    times: Mapping[str, Times] = MappingProxyType({}),
    *,
    elsewhere: bool = False,
) -> list[Progress]:
    """What has become of each node.

    Args:
        workflow: the workflow.
        records: what the ledger has of the nodes that are one task, by id.
        counted: how many members of each group that is one node have ended, by its id.
        lettered: ids of tasks that have a dead letter.
        running: how many members of each group that is one node run, by its id.
        times: of each group that is one node, when its first member began and its last ended, by its id.
        elsewhere: what no node stands for has a dead letter: what has taken a task's place, or has joined a chord.
    """
    letters, before_now = frozenset(lettered), _noted(workflow.outcome)
    found: list[Progress] = []
    for place, node in enumerate(workflow.nodes):
        before = [found[other] for other in node.after if other < len(found)]
        if node.size > 1:
            seen = _of_many(workflow, node, counted.get(node.id, NONE_ENDED), running.get(node.id, 0))
            if seen.succeeded + seen.failed + seen.cancelled >= seen.node.size:
                seen.started_at, seen.finished_at = times.get(node.id, (None, None))
            if seen.state is NodeState.PLANNED and _is_sent(workflow, node, before):
                seen.state = NodeState.WAITING
        else:
            seen = _of_one(node, records.get(node.id), node.id in letters)
        if _is_unknown(seen) and place < len(before_now) and before_now[place]:
            # Its result was forgotten meanwhile.
            seen = _as_noted(node, before_now[place], node.id in letters)
        if seen.state is NodeState.PLANNED or _is_told(seen):
            told = _is_told(seen)
            seen.state, seen.failed = _held_up(workflow, seen, before, elsewhere=elsewhere), 0
            if told and elsewhere and seen.state is NodeState.PLANNED:
                seen.state = NodeState.BLOCKED
            seen.cancelled = int(seen.state is NodeState.CANCELLED and node.size == 1)
        found.append(seen)
    return found


def snapshot(nodes: Sequence[Progress]) -> str:
    """What has become of the nodes, to be kept longer than their results."""
    rows = [
        [one.state.value, one.succeeded, one.failed, one.started_at, one.finished_at, one.cancelled]
        if one.state in _OVER
        else []
        for one in nodes
    ]
    return json.dumps(rows, separators=(",", ":"))


def _noted(outcome: str | None) -> list[list[Any]]:
    return json.loads(outcome) if outcome else []


def noted_times(workflow: Workflow) -> dict[str, Times]:
    """What was noted of the groups that are one node and over: by their ids, when the first member began and the last ended."""
    rows = zip(workflow.nodes, _noted(workflow.outcome), strict=False)
    return {node.id: (row[3], row[4]) for node, row in rows if row and node.size > 1 and row[4] is not None}


def _is_unknown(seen: Progress) -> bool:
    """Whether there is nothing of it."""
    none_counted = seen.succeeded + seen.failed + seen.cancelled + seen.running == 0
    return seen.state is NodeState.PLANNED or (seen.node.size > 1 and none_counted)


def _as_noted(node: Node, row: list[Any], dead_letter: bool) -> Progress:
    state, succeeded, failed, started_at, finished_at, cancelled = row
    return Progress(node, NodeState(state), succeeded, failed, cancelled, 0, started_at, finished_at, dead_letter)


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
        found.state, found.cancelled = NodeState.CANCELLED, 1
    else:
        found.state, found.failed, found.dead_letter = NodeState.FAILED, 1, dead_letter
    return found


def _of_many(workflow: Workflow, node: Node, counted: Counted, running: int) -> Progress:
    ended = counted.ended
    if ended > node.size:
        node = replace(node, size=ended)  # add_to_chord()
    found = Progress(node, NodeState.WAITING, counted.succeeded, counted.failed, counted.cancelled, running)
    found.dead_letter = counted.letters > 0
    if ended + running == 0:
        found.state = NodeState.PLANNED
    elif counted.failed:
        found.state = NodeState.FAILED
    elif running or (ended < node.size and workflow.cancelled_at is None):
        found.state = NodeState.RUNNING
    else:
        found.state = NodeState.SUCCEEDED if counted.succeeded == node.size else NodeState.CANCELLED
    return found


def _is_sent(workflow: Workflow, node: Node, before: Sequence[Progress]) -> bool:
    """Whether what it waits for has ended so that it was sent; of many nothing else shows that they wait."""
    enough = _OVER if _does_without(workflow, node) else frozenset({NodeState.SUCCEEDED})
    return all(one.state in enough and not is_busy(one) for one in before)


def _is_told(seen: Progress) -> bool:
    """Whether it reads as failed without having begun: another one's failure has brought that."""
    failed = seen.state is NodeState.FAILED and not seen.dead_letter and seen.node.size == 1
    return failed and bool(seen.node.after) and seen.started_at is None


def _held_up(workflow: Workflow, seen: Progress, before: Sequence[Progress], *, elsewhere: bool) -> NodeState:
    """A node that has not begun, or whose end another one's failure has brought."""
    if workflow.cancelled_at is not None:
        return NodeState.CANCELLED
    states = {one.state for one in before}
    if states & _HOLDING and not _does_without(workflow, seen.node):
        # Redriving all that can be is not enough where one of several has failed for good.
        for_good = not elsewhere and any(_is_for_good(one) for one in before)
        return NodeState.SKIPPED if for_good else NodeState.BLOCKED
    # Nothing comes after what was revoked, has expired or said that it is to be ignored.
    if NodeState.CANCELLED in states and not _does_without(workflow, seen.node):
        return NodeState.CANCELLED
    # What a failure has brought that was put right since is no failure any more.
    return NodeState.PLANNED


def _is_for_good(one: Progress) -> bool:
    return one.state is NodeState.SKIPPED or (one.state is NodeState.FAILED and not one.dead_letter)


def _does_without(workflow: Workflow, node: Node) -> bool:
    """Whether it begins although something that it waits for has failed."""
    return workflow.on_failure == "continue" and node.joins


def state_of(workflow: Workflow, nodes: Sequence[Progress], *, elsewhere: bool = False) -> State:
    """What has become of the whole; ``elsewhere`` as in ``progress``."""
    state = _state_of(workflow, nodes, elsewhere=elsewhere)
    given_up = workflow.state == State.LOST.value and state is State.RUNNING
    return State.LOST if given_up and not any(one.running for one in nodes) else state


def last_sign(workflow: Workflow, nodes: Sequence[Progress]) -> float:
    """When something is known to have happened to it last, in seconds since the epoch."""
    ends = [at for one in nodes for at in (one.started_at, one.finished_at) if at is not None]
    return max(max(ends, default=workflow.sent_at), workflow.kept_at or 0.0)


def _state_of(workflow: Workflow, nodes: Sequence[Progress], *, elsewhere: bool) -> State:
    found = {one.state for one in nodes}
    failed = [one for one in nodes if one.state is NodeState.FAILED]
    if workflow.cancelled_at is not None and not found <= {NodeState.SUCCEEDED}:
        if any(one.running for one in nodes):
            return State.RUNNING
        return State.FAILED if failed and workflow.on_failure == "fail" else State.CANCELLED
    if workflow.on_failure == "continue":
        found = {one.state for one in _last(nodes)}
        failed = failed if found & _HOLDING else []
    if found <= {NodeState.SUCCEEDED}:
        return State.SUCCEEDED
    if failed or (elsewhere and NodeState.BLOCKED in found):
        lettered = elsewhere or any(one.dead_letter for one in failed)
        return State.BLOCKED if lettered and workflow.on_failure != "fail" else State.FAILED
    return State.CANCELLED if NodeState.CANCELLED in found and not found & _OPEN else State.RUNNING


def is_busy(one: Progress) -> bool:
    """Whether something of a node waits to be run, or runs."""
    if one.node.size > 1 and one.state in (NodeState.FAILED, NodeState.CANCELLED):
        return 0 < one.succeeded + one.failed + one.cancelled < one.node.size
    return one.state in (NodeState.WAITING, NodeState.RUNNING)


def _last(nodes: Sequence[Progress]) -> list[Progress]:
    """Those that nothing waits for."""
    awaited = {place for one in nodes for place in one.node.after}
    return [one for place, one in enumerate(nodes) if place not in awaited]
