"""What has become of workflows is noted while it is still known: their tasks' results are forgotten sooner."""

from __future__ import annotations

import time

from celeriac.core.workflow import Workflow
from celeriac.core.workflow_state import ENDED, snapshot
from celeriac.store.protocols import Store
from celeriac.workflow.room import status_of

#: Workflows that are read at once.
AT_ONCE = 50
#: Seconds after which the rest waits for the next round.
LONGEST = 2.0


def note(store: Store) -> None:
    """Look at those that have not ended as far as is known, the one first that nobody has looked at for longest."""
    until, seen = time.monotonic() + LONGEST, set[str]()
    while fresh := [one for one in store.unfinished_workflows(AT_ONCE) if one.id not in seen]:
        for workflow in fresh:
            _note(store, workflow)
            seen.add(workflow.id)
        if time.monotonic() > until:
            return


def _note(store: Store, workflow: Workflow) -> None:
    status = status_of(store, workflow)
    over = _alone(workflow) if status.state in ENDED else []
    store.note_workflow(workflow.id, status.state.value, snapshot(status.nodes), over=over)


def _alone(workflow: Workflow) -> list[str]:
    """The groups that are one node and that no body waits for: such a body's chord is over when that is sent."""
    awaited = {place for node in workflow.nodes for place in node.after}
    return [node.id for place, node in enumerate(workflow.nodes) if node.size > 1 and place not in awaited]
