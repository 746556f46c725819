"""What has become of a workflow, from what the store has of its nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from celeriac.core.checkpoint import progress_of
from celeriac.core.workflow import NONE_ENDED, Counted, Times, Workflow
from celeriac.core.workflow_state import ENDED, NodeState, Progress, State, is_busy, noted_times, progress, state_of
from celeriac.store.protocols import Store

#: Seconds by which a clock may have been set back since a workflow was sent.
CLOCKS = 86_400.0


@dataclass(frozen=True, repr=False)
class WorkflowStatus:
    """A workflow and what has become of it; times in seconds since the epoch."""

    workflow: Workflow
    state: State
    nodes: list[Progress]

    def __repr__(self) -> str:
        return f"<WorkflowStatus {self.name}[{self.id}] {self.state}, {self.done:,} of {self.size:,} done>"

    @property
    def id(self) -> str:
        """The workflow's id."""
        return self.workflow.id

    @property
    def name(self) -> str:
        """What it is called."""
        return self.workflow.name

    @property
    def done(self) -> int:
        """How many of its tasks have succeeded."""
        return sum(one.succeeded for one in self.nodes)

    @property
    def size(self) -> int:
        """How many tasks it has: as it was sent, and what its chords have grown by."""
        return sum(one.node.size for one in self.nodes)

    @property
    def ended(self) -> bool:
        """Whether nothing more happens by itself: of a blocked one, too, what can still be done was done."""
        return self.state is State.LOST or (self.state in ENDED and not any(is_busy(one) for one in self.nodes))

    @property
    def finished_at(self) -> float | None:
        """When its last task ended; None while it runs."""
        ends = [one.finished_at for one in self.nodes if one.finished_at is not None]
        return max(ends, default=None) if self.ended else None


#: Noted of what does not go on any more.
_FOR_GOOD = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
#: States of a node of which a message is there.
BEGUN = frozenset({NodeState.WAITING, NodeState.RUNNING})
#: Of a node whose record is a failure and that has no dead letter: no other node says why.
_BY_ANOTHER = frozenset({NodeState.FAILED, NodeState.PLANNED})


def status_of(store: Store, workflow: Workflow) -> WorkflowStatus:
    """What has become of a workflow, from what the store has of its nodes."""
    records = store.records(workflow.single)
    counted = store.counted(workflow.folded)
    # Of those without a record, too: a dead letter is kept longer than the result of its task.
    unknown = [node for node in workflow.single if node not in records or records[node].state == "FAILURE"]
    lettered = store.dead_letters_of(unknown) if unknown else {}
    running: Counter[str] = Counter()
    if any(node.size > 1 and counted.get(node.id, NONE_ENDED).ended < node.size for node in workflow.nodes):
        running.update(one.part.folded or "" for one in store.claimed_of_workflow(workflow.id) if one.started)
    times = _times(store, workflow, counted)
    nodes = progress(workflow, records, counted, lettered, running, times)
    failed = {node for node in unknown if node in records and node not in lettered}
    elsewhere = any(one.node.id in failed and one.state in _BY_ANOTHER for one in nodes) and bool(
        letters_of(store, workflow)
    )
    if elsewhere:
        nodes = progress(workflow, records, counted, lettered, running, times, elsewhere=True)
    return WorkflowStatus(workflow, state_of(workflow, nodes, elsewhere=elsewhere), nodes)


def look_up_reports(store: Store, nodes: Sequence[Progress]) -> None:
    """Add to those that run, or wait to go on, how far they say that they are."""
    begun = {one.node.id: one for one in nodes if one.node.size == 1 and one.state in BEGUN}
    for task_id, checkpoint in (store.checkpoints(list(begun)) if begun else {}).items():
        begun[task_id].reported = progress_of(checkpoint)


def _times(store: Store, workflow: Workflow, counted: Mapping[str, Counted]) -> dict[str, Times]:
    """Of each group that is one node and over: they are in many records, so of what is over for good they were noted."""
    times = noted_times(workflow)
    if workflow.state in _FOR_GOOD and times:
        return times
    over = [one.id for one in workflow.nodes if 1 < one.size <= counted.get(one.id, NONE_ENDED).ended]
    return times | {group: found for group, found in store.times_of(over).items() if found[1] is not None}


def letters_of(store: Store, workflow: Workflow) -> Sequence[int]:
    """The ids of the dead letters of its tasks, oldest first."""
    return store.letters_of_workflow(workflow.id, workflow.sent_at - CLOCKS)
