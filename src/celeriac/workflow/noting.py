"""What has become of workflows is noted while it is still known: their tasks' results are forgotten sooner."""

from __future__ import annotations

import time

from celeriac.core.workflow import Workflow
from celeriac.core.workflow_state import ENDED, State, last_sign, snapshot
from celeriac.store.protocols import Store
from celeriac.workflow.status import WorkflowStatus, status_of

#: Workflows that are read at once.
AT_ONCE = 50
#: Seconds after which the rest waits for the next round.
LONGEST = 2.0
#: Seconds without a sign of life after which a workflow is looked for among all messages; and from one such look to the next.
QUIET = 3_600.0


class Noting:
    """Looks at those that have not ended as far as is known; a worker does so now and then."""

    def __init__(self) -> None:
        self._searched_at = float("-inf")

    def note(self, store: Store) -> None:
        """Look at them, the one first that nobody has looked at for longest; and for those that nothing comes of any more."""
        until, seen, quiet = time.monotonic() + LONGEST, set[str](), list[str]()
        while fresh := [one for one in store.unfinished_workflows(AT_ONCE) if one.id not in seen]:
            for workflow in fresh:
                status = status_of(store, workflow)
                _note(store, status)
                seen.add(workflow.id)
                if _is_quiet(status, store.now()):
                    quiet.append(workflow.id)
            if time.monotonic() > until:
                break
        if quiet and store.lease_now() - self._searched_at > QUIET:
            self._searched_at = store.lease_now()
            _give_up(store, quiet)


def _give_up(store: Store, quiet: list[str]) -> None:
    """Note those as lost that have no message: only then is nothing more to come of them."""
    under_way = store.workflows_under_way()
    for workflow_id in quiet:
        workflow = None if workflow_id in under_way else store.workflow(workflow_id)
        # It may have come to its end, or on, since it was looked at.
        if workflow is not None and _is_quiet(status := status_of(store, workflow), store.now()):
            _note(store, status, State.LOST)


def _goes_on(status: WorkflowStatus) -> bool:
    """Whether tasks of it are still to be claimed; of a cancelled one too, since whoever claims them must know that it was."""
    return status.state is State.RUNNING or (status.workflow.cancelled_at is not None and not status.ended)


def _is_quiet(status: WorkflowStatus, now: float) -> bool:
    if not _goes_on(status) or any(one.running for one in status.nodes):
        return False
    return now - last_sign(status.workflow, status.nodes) > QUIET


def _note(store: Store, status: WorkflowStatus, state: State | None = None) -> None:
    state = state or (State.RUNNING if _goes_on(status) else status.state)
    over = _alone(status.workflow) if state in ENDED else []
    store.note_workflow(status.id, state.value, snapshot(status.nodes), over=over)


def _alone(workflow: Workflow) -> list[str]:
    """The groups that are one node and that no body waits for: such a body's chord is over when that is sent."""
    awaited = {place for node in workflow.nodes for place in node.after}
    return [node.id for place, node in enumerate(workflow.nodes) if node.size > 1 and place not in awaited]
