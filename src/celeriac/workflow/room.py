"""``app.workflows``: the workflows in Python."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from celery.app.task import Task
from celery.canvas import Signature

from celeriac.core.attempt import DeadLetter, DeadLetterFilter, Record
from celeriac.core.desk import By
from celeriac.core.text import writable
from celeriac.core.workflow import POLICIES, OnFailure, Workflow
from celeriac.core.workflow_members import part_of
from celeriac.core.workflow_state import NodeState, State
from celeriac.desk import redrive
from celeriac.desk.steps import Done
from celeriac.desk.who import whoami
from celeriac.errors import CeleriacError
from celeriac.publish.canvas import run_out, send_workflow
from celeriac.publish.ids import new_id
from celeriac.publish.workflows import asked_for
from celeriac.store.protocols import News, Store
from celeriac.workflow.status import BEGUN, WorkflowStatus, letters_of, look_up_reports, status_of

#: Workflows that are read at once.
PAGE = 100
#: Seconds a waiter looks again even when nothing was committed.
LOOK_AGAIN = 1.0


class UnknownWorkflow(CeleriacError):
    """There is no workflow of this id, and none of which it is a task."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(workflow_id)
        self.workflow_id = workflow_id

    def __str__(self) -> str:
        return (
            f"{self.workflow_id} is no workflow, and no task of one, that is known here: it was sent to another store, or is "
            "forgotten (celeriac_history_expires). `celery -A app workflow list` shows those that there are"
        )


class Workflows:
    """The canvases that were sent.

    A workflow is a chain, group or chord that somebody sent; its id is its result's ``workflow_id``. Where one is asked
    for, the result will do too, and the id of any of its tasks.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    @property
    def _store(self) -> Store:
        store: Store = self._app.store
        return store

    # -- sending

    def send(self, canvas: Any, *args: Any, name: str = "", on_failure: OnFailure = "block", **kwargs: Any) -> Any:
        """Send a canvas under a name of its own, and say what becomes of it when a task gives up.

        Args:
            canvas: a chain, group or chord, or a single task, which is a workflow of one; `args` and `kwargs` are its first
                task's.
            name: for people.
            on_failure: ``"block"``: what comes after it waits until its dead letter is redriven. ``"fail"``: the rest is
                cancelled. ``"continue"``: a chord's body runs without it; elsewhere as ``"block"``.

        Raises:
            ValueError: another policy.
            TypeError: it is no canvas.
            SettingsError: nothing keeps workflows: the broker is none of celeriac's, and there is no ledger beside it.
        """
        if on_failure not in POLICIES:
            raise ValueError(f"on_failure={on_failure!r} is none of {', '.join(POLICIES)}")
        if not isinstance(canvas, Signature):
            raise TypeError(_no_canvas(canvas))
        if not self._app.keeps_workflows and not self._app.conf.task_always_eager:
            _ = self._store  # says what is missing
        run_out(canvas)
        send = partial(canvas.apply_async, args, kwargs, **_named(canvas))
        result = send_workflow(partial(asked_for, send), writable(name) if name else "", on_failure)
        if on_failure == "continue" and result is not None:
            result.goes_on_without = True
        return result

    # -- looking

    def get(self, workflow_id: str) -> WorkflowStatus:
        """What has become of one.

        Raises:
            UnknownWorkflow: nobody has sent it.
        """
        status = self._status(self._find(workflow_id))
        look_up_reports(self._store, status.nodes)
        return status

    def list(self, *, newest: int = 20, state: State | str | None = None) -> list[WorkflowStatus]:
        """The newest first.

        Raises:
            ValueError: there is no such state.
        """
        states = [one.value for one in State]
        if state is not None and state not in states:
            raise ValueError(f"state={state!r} is none of {', '.join(states)}")
        wanted = None if state is None else State(state)
        found: list[WorkflowStatus] = []
        for workflow in self._all():
            status = self._status(workflow)
            if wanted is None or status.state is wanted:
                found.append(status)
            if len(found) >= newest:
                break
        return found

    def _all(self) -> Iterator[Workflow]:
        before: Workflow | None = None
        while page := self._store.workflows(PAGE, before=before):
            yield from page
            before = page[-1]

    def _find(self, workflow_id: str) -> Workflow:
        workflow_id = _id_of(workflow_id)
        known = self._store.workflow(workflow_id)
        if known is None and (owner := self._of_dead_letter(workflow_id) or self._store.workflow_of(workflow_id)):
            known = self._store.workflow(owner)
        if known is None:
            raise UnknownWorkflow(workflow_id)
        return known

    def _of_dead_letter(self, task_id: str) -> str | None:
        """No node has the id of one of many, nor of what has taken a task's place; a dead letter says whose it is."""
        numbers = self._store.dead_letters_of([task_id]).get(task_id, [])
        for letter in self._store.dead_letters(DeadLetterFilter(ids=tuple(numbers))) if numbers else ():
            if part := part_of(letter.envelope):
                return part.workflow
        return None

    def _status(self, workflow: Workflow) -> WorkflowStatus:
        return status_of(self._store, workflow)

    def wait(self, workflow_id: str, timeout: float | None = None) -> WorkflowStatus:
        """What has become of it once it has ended: is through, blocked, failed, cancelled or lost.

        Args:
            workflow_id: its id.
            timeout: seconds.

        Raises:
            UnknownWorkflow: nobody has sent it.
            TimeoutError: it has not ended in time.
        """
        workflow = self._find(workflow_id)
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            mark = self._store.mark(News.RESULTS)
            status = self._status(self._store.workflow(workflow.id) or workflow)
            if status.ended:
                return status
            left = LOOK_AGAIN if until is None else min(LOOK_AGAIN, until - time.monotonic())
            if left <= 0:
                raise TimeoutError(
                    f"workflow {workflow.name}[{workflow.id}] has not ended within {timeout:g} seconds: "
                    f"{status.done:,} of {status.size:,} tasks are done"
                )
            self._store.wait(left, mark, News.RESULTS)

    # -- acting

    def dead_letters(self, workflow_id: str) -> Sequence[DeadLetter]:
        """The dead letters of its members, oldest first."""
        ids = letters_of(self._store, self._find(workflow_id))
        return list(self._store.dead_letters(DeadLetterFilter(ids=tuple(ids)))) if ids else []

    def resume(self, workflow_id: str, *, who: str | None = None, note: str | None = None) -> Done:
        """Redrive the dead letters of its members, so that what waits for them goes on.

        Nothing waits for those of one that has succeeded, as with ``on_failure="continue"``: they stay.

        Raises:
            UnknownWorkflow: nobody has sent it.
            WorkflowCancelled: it was cancelled, and none of it would run.
        """
        workflow = self._find(workflow_id)
        if workflow.cancelled_at is not None:
            raise WorkflowCancelled(workflow)
        if self._status(workflow).state is State.SUCCEEDED:
            return Done()
        ids = letters_of(self._store, workflow)
        if not ids:
            return Done()
        # By number: one that somebody else redrives or purges meanwhile is passed over, and keeps back none of the others.
        chosen = DeadLetterFilter(ids=tuple(ids))
        return Done.of(redrive.redrive(self._app, chosen, By(who or whoami(), note)))

    def cancel(self, workflow_id: str, *, who: str | None = None, terminate: bool = True) -> WorkflowStatus:
        """Have none of its tasks begin any more, and stop those that run.

        Args:
            workflow_id: its id.
            who: for those who look at it.
            terminate: stop what runs, as far as the pool can.

        Raises:
            UnknownWorkflow: nobody has sent it.
        """
        workflow = self._find(workflow_id)
        self._store.cancel_workflow(workflow.id, who or whoami())
        status = self.get(workflow.id)
        waiting = [one.node.id for one in status.nodes if one.node.size == 1 and one.state in BEGUN]
        # Of many that are one node, and of what has taken a task's place, no node has the id.
        ids = {*waiting, *(one.task_id for one in self._store.claimed_of_workflow(workflow.id))}
        if ids:
            self._app.control.revoke(sorted(ids), terminate=terminate, reply=False)
        for one in status.nodes:
            if one.node.size == 1 and one.state in (NodeState.PLANNED, NodeState.CANCELLED):
                self._store.store(_revoked(one.node.id, one.node.task, self._store.now()))
        return self.get(workflow.id)


def _no_canvas(given: Any) -> str:
    if isinstance(given, Task):
        return f"{given.name} is a task, and no signature of it: give it its arguments, as in {given.name.rpartition('.')[2]}.s(…)"
    return f"a {type(given).__name__} is no chain, group or chord: give signatures, as in group(load.s(shop) for shop in shops)"


def _named(canvas: Signature) -> dict[str, Any]:
    """The id of a single task: Celery names all of a canvas before it sends any, and this only when it is sent."""
    parts = "chain", "group", "chord", "chunks"
    return {} if canvas.get("subtask_type") in parts else {"task_id": canvas.options.get("task_id") or new_id()}


def _id_of(wanted: Any) -> str:
    """Of a result its workflow's id, or its own."""
    found = wanted if isinstance(wanted, str) else getattr(wanted, "workflow_id", None) or getattr(wanted, "id", None)
    if isinstance(found, str):
        return found
    raise UnknownWorkflow(repr(wanted))


class WorkflowCancelled(CeleriacError):
    """It was cancelled, and so cannot be resumed."""

    def __init__(self, workflow: Workflow) -> None:
        super().__init__(workflow.id, workflow.name)
        self.workflow = workflow

    def __str__(self) -> str:
        return (
            f"workflow {self.workflow.name}[{self.workflow.id}] was cancelled by {self.workflow.cancelled_by or '?'}, and none of "
            "its tasks would run. Send it anew"
        )


def _revoked(task_id: str, name: str, now: float) -> Record:
    meta = '{"why": "cancelled with its workflow"}'
    return Record(task_id, 0, "REVOKED", closed=True, name=name, finished_at=now, meta=meta, expires_at=now + 86_400.0)
