"""What has become of workflows is noted while it is still known: their tasks' results are forgotten sooner."""

from __future__ import annotations

from celeriac.core.workflow_state import ENDED, State, snapshot
from celeriac.store.protocols import Store
from celeriac.workflow.room import status_of

#: Workflows that are looked at in one round.
AT_ONCE = 50


def note(store: Store) -> None:
    """Look at those that have not ended as far as is known, the one first that nobody has looked at for longest."""
    for workflow in store.unfinished_workflows(AT_ONCE):
        status = status_of(store, workflow)
        over = workflow.folded if status.state in ENDED - {State.BLOCKED} else []
        store.note_workflow(workflow.id, status.state.value, snapshot(status.nodes), over=over)
