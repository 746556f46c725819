"""What a workflow is: the canvas that somebody sent, as nodes and what each waits for; and its state, from theirs.

Pure: a canvas comes as Celery's signatures with their frozen ids, and what became of the nodes as records and counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from heapq import heappop, heappush
from typing import Any, Literal, NamedTuple

from celeriac.core.attempt import Record

OnFailure = Literal["block", "fail", "continue"]
POLICIES: tuple[OnFailure, ...] = ("block", "fail", "continue")
#: Members of a group above which they are one node with a count.
FOLDED_ABOVE = 20
#: What Celery calls the steps that are no tasks of their own.
_PARTS = _GROUP, _CHORD, _CHAIN = "celery.group", "celery.chord", "celery.chain"


class Membership(NamedTuple):
    """What every message of a workflow says in its header: whose it is, and what becomes of that when it gives up.

    ``folded``: it is one of many that are one node, and counted.
    """

    workflow: str
    on_failure: OnFailure = "block"
    folded: bool = False

    def header(self) -> list[Any]:
        """As it travels."""
        return [self.workflow, self.on_failure, int(self.folded)]

    @classmethod
    def from_header(cls, header: Any) -> Membership | None:
        """Read back; None where there is none."""
        if not isinstance(header, (list, tuple)) or len(header) != len(cls._fields):
            return None
        workflow, on_failure, folded = header
        return cls(str(workflow), on_failure, bool(folded))


@dataclass(slots=True)
class Node:
    """A task of a workflow, or many members of a group.

    Args:
        id: the task's, or the group's.
        task: its name; of many, those that they have, joined.
        after: places of the nodes that it waits for.
        size: how many tasks.
        joins: it waits for all of several, as the body of a chord.
    """

    id: str
    task: str
    after: list[int] = field(default_factory=list)
    size: int = 1
    joins: bool = False


@dataclass(slots=True)
class Workflow:
    """A workflow as it is recorded in the transaction that sends it. Times are seconds since the epoch.

    ``parent`` is the task whose body sent it.
    """

    id: str
    name: str
    nodes: list[Node]
    on_failure: OnFailure = "block"
    parent: str | None = None
    sent_at: float = 0.0
    cancelled_at: float | None = None
    cancelled_by: str | None = None
    #: What was last noted of it, and of its nodes: `snapshot`.
    state: str = "running"
    outcome: str | None = None

    def shape(self) -> str:
        """The nodes as they are kept."""
        return json.dumps(
            [[node.id, node.task, node.after, node.size, int(node.joins)] for node in self.nodes],
            separators=(",", ":"),
        )

    @staticmethod
    def nodes_of(shape: str) -> list[Node]:
        """The nodes, read back."""
        return [Node(id_, task, after, size, bool(joins)) for id_, task, after, size, joins in json.loads(shape)]

    @property
    def single(self) -> list[str]:
        """The ids of the nodes that are one task."""
        return [node.id for node in self.nodes if node.size == 1]

    @property
    def folded(self) -> list[str]:
        """The ids of the groups whose members are one node."""
        return [node.id for node in self.nodes if node.size > 1]

    @property
    def size(self) -> int:
        """How many tasks there are."""
        return sum(node.size for node in self.nodes)


# -- from a canvas


class Sent(NamedTuple):
    """A task that is sent: its id, its name, and the options that say what comes after it."""

    task_id: str
    task: str
    options: Mapping[str, Any]


def nodes_from(sent: Sequence[Sent], group_id: str | None = None) -> list[Node]:
    """The nodes of a canvas, each behind those that it waits for.

    Args:
        sent: the tasks with which it begins: one, or the members of a group.
        group_id: the group's.
    """
    builder = _Builder()
    if group_id is None:
        for one in sent:
            builder.sent(one, [])
    else:
        builder.group(group_id, sent, [])
    return _in_order(builder.nodes)


def _in_order(nodes: list[Node]) -> list[Node]:
    """Each behind those that it waits for, otherwise as they were."""
    left = [len(node.after) for node in nodes]
    followers: dict[int, list[int]] = {}
    for place, node in enumerate(nodes):
        for before in node.after:
            followers.setdefault(before, []).append(place)
    ready = [place for place, count in enumerate(left) if count == 0]
    order: list[int] = []
    while ready:
        place = heappop(ready)
        order.append(place)
        for follower in followers.get(place, ()):
            left[follower] -= 1
            if left[follower] == 0:
                heappush(ready, follower)
    new = {place: number for number, place in enumerate(order)}
    for node in nodes:
        node.after = sorted(new[place] for place in node.after)
    found = [nodes[place] for place in order]
    for node in found:
        node.joins = len(node.after) > 1 or any(found[place].size > 1 for place in node.after)
    return found


def name_of(nodes: Sequence[Node]) -> str:
    """What a workflow is called that nobody has named: its first tasks."""
    names = list(dict.fromkeys(node.task.rpartition(".")[2] for node in nodes))
    return " → ".join(names[:3]) + (" → …" if len(names) > 3 else "")  # noqa: PLR2004  # as many as a line has room for


class _Builder:
    """Follows signatures from what is sent to what comes after it. Each method gives the places that end the part."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        #: By its id, where a node is and what ends what it leads to: the body of a chord is met with each member.
        self._known: dict[str, tuple[int, list[int]]] = {}

    def _add(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def sent(self, sent: Sent, after: list[int]) -> list[int]:
        """What is sent, which may be a chain, a group or a chord itself."""
        if sent.task not in _PARTS:
            return self.task(sent, after)
        return self._step({"task": sent.task, "options": sent.options, "kwargs": sent.options.get("kwargs")}, after)

    def task(self, sent: Sent, after: list[int]) -> list[int]:
        known = self._known.get(sent.task_id)
        if known is not None:
            place, tail = known
            node = self.nodes[place]
            new = [before for before in after if before not in node.after]
            # What a part ends with comes back as its own end where Celery says twice what joins what.
            if new and not self._leads_to(place, new):
                node.after += new
            return tail
        place = self._add(Node(sent.task_id, sent.task, list(after)))
        self._known[sent.task_id] = place, [place]
        for link in _listed(sent.options.get("link")):
            self._step(link, [place])
        tail = self._join(self._follow(_listed(sent.options.get("chain")), [place]), sent.options)
        self._known[sent.task_id] = place, tail
        return tail

    def _leads_to(self, place: int, others: Sequence[int]) -> bool:
        """Whether one of the others is the node, or waits for it."""
        before, seen = list(others), set(others)
        while before:
            one = before.pop()
            if one == place:
                return True
            fresh = [other for other in self.nodes[one].after if other not in seen]
            seen.update(fresh)
            before += fresh
        return False

    def _follow(self, chain: Sequence[Any], after: list[int]) -> list[int]:
        """The steps of a chain, which Celery keeps the last one first."""
        for step in reversed(chain):
            after = self._step(step, after)
        return after

    def _join(self, ends: list[int], options: Mapping[str, Any]) -> list[int]:
        """What a member of a chord leads to: its body, which waits for all of them."""
        chord = options.get("chord")
        return self._step(chord, ends) if isinstance(chord, dict) else ends

    def _step(self, step: Any, after: list[int]) -> list[int]:
        """A signature that was frozen, wherever it stands."""
        if not isinstance(step, dict):
            return after
        name, options, kwargs = step.get("task"), step.get("options") or {}, step.get("kwargs") or {}
        if name == _CHAIN:
            return self._chain(kwargs.get("tasks") or [], after, options)
        if name == _GROUP:
            return self._group(kwargs.get("tasks") or [], after, options)
        if name == _CHORD:
            return self._chord(kwargs, after, options)
        return self.task(Sent(str(options.get("task_id") or ""), str(name), options), after)

    def _chain(self, tasks: Sequence[Any], after: list[int], options: Mapping[str, Any]) -> list[int]:
        for task in tasks:
            after = self._step(task, after)
        return self._join(after, options)

    def _group(self, tasks: Sequence[Any], after: list[int], options: Mapping[str, Any]) -> list[int]:
        group_id = str(options.get("task_id") or options.get("group_id") or "")
        plain = all(isinstance(task, dict) and task.get("task") not in _PARTS for task in tasks)
        if plain and len(tasks) > FOLDED_ABOVE:
            return [self._add(Node(group_id, _names(task.get("task") for task in tasks), list(after), len(tasks)))]
        return [end for task in tasks for end in self._step(task, after)]

    def _chord(self, kwargs: Mapping[str, Any], after: list[int], options: Mapping[str, Any]) -> list[int]:
        header, body = kwargs.get("header"), kwargs.get("body")
        header = header if isinstance(header, dict) else {"task": _GROUP, "kwargs": {"tasks": header or []}}
        ends = self._step(header, after)
        tail = self._step(body, ends)
        return self._join(self._follow(_listed(options.get("chain")), tail or ends), options)

    def group(self, group_id: str, members: Sequence[Sent], after: list[int]) -> list[int]:
        """Members that are sent together."""
        if len(members) <= FOLDED_ABOVE or any(_leads_on(member) for member in members):
            return [end for member in members for end in self.sent(member, after)]
        names = _names(member.task for member in members)
        place = self._add(Node(group_id, names, list(after), len(members)))
        return self._join([place], members[0].options)


def _leads_on(member: Sent) -> bool:
    return member.task in _PARTS or bool(_listed(member.options.get("chain")))


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _names(names: Iterable[Any]) -> str:
    """One name, or the first few that they have."""
    known = list(dict.fromkeys(str(name) for name in names))
    return ", ".join(known[:2]) + (" …" if len(known) > 2 else "")  # noqa: PLR2004  # two can be read at a glance


# -- states


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


class Counted(NamedTuple):
    """How many members of a group have ended: well, and not."""

    succeeded: int
    failed: int


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
