"""A canvas on its way out: what it is, recorded with its first message; and whose part each message is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from celery._state import get_current_task

from celeriac.core.current import current, has_gone_on
from celeriac.core.message import WORKFLOW_HEADER, TaskMessage
from celeriac.core.workflow import Membership, OnFailure, Workflow
from celeriac.core.workflow_nodes import Sent, last_task, name_of, name_of_many, nodes_from
from celeriac.publish.ids import new_id
from celeriac.publish.outgoing import settling

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Opening:
    """A workflow that is being sent: its record, once its first task is known, and until a message has taken it along."""

    id: str
    name: str
    on_failure: OnFailure
    parent: str | None
    record: Workflow | None = None
    #: It is more than one task, and so a workflow; None as long as nothing was sent.
    recorded: bool | None = None
    #: There is nothing to record: a message has taken it along, or it is one task.
    done: bool = False
    #: It is recorded also where it is one task.
    asked_for: bool = False

    def begins_with(self, sent: Sequence[Sent], group_id: str | None = None) -> None:
        """Note what the canvas is, from the tasks that are sent first; what comes later is known by then."""
        if self.record is None:
            try:
                nodes = nodes_from(sent, group_id)
            except RecursionError:  # what Celery can send is not to fail for being looked at
                logger.warning("a canvas that begins with %s is too deep to be recorded as a workflow", sent[0].task)
                nodes = []
            self.record = Workflow(self.id, self.name or name_of(nodes), nodes, self.on_failure, self.parent)
            self.recorded = self.record.size > (0 if self.asked_for else 1)
            self.done = not self.recorded


_OPENING: ContextVar[Opening | None] = ContextVar("celeriac_workflow", default=None)
#: What is published now is beside whatever is being sent, or goes on.
_APART: ContextVar[bool] = ContextVar("celeriac_apart", default=False)
#: As in `Membership`: the group whose members are sent now, where they are one node, and what these name as theirs.
_FOLDED: ContextVar[tuple[str | None, str | None]] = ContextVar("celeriac_folded", default=(None, None))


def opening() -> Opening | None:
    """The workflow that this thread, or coroutine, is sending."""
    return _OPENING.get()


def sending(opened: Opening, send: Callable[[], Any]) -> Any:
    """Have what is published be its parts."""
    token = _OPENING.set(opened)
    try:
        return send()
    finally:
        _OPENING.reset(token)


def asked_for(send: Callable[[], Any]) -> Any:
    """Send what is to be recorded also where it is one task: somebody names it, or says what becomes of it."""
    opened = opening()
    if opened is not None:
        opened.asked_for = True
    return send()


@contextmanager
def apart() -> Iterator[None]:
    """Have what is published be no part of the workflow that is being sent, or goes on."""
    tokens = _OPENING.set(None), _FOLDED.set((None, None)), _APART.set(True)
    try:
        yield
    finally:
        _OPENING.reset(tokens[0])
        _FOLDED.reset(tokens[1])
        _APART.reset(tokens[2])


@contextmanager
def sending_members(members: Sequence[Any], chord: Any) -> Iterator[None]:
    """Have what is published be the members of a group: Celery's frozen signatures, results and group ids."""
    opened = opening()
    if opened is not None and opened.record is None and members:
        opened.begins_with([_sent(sig, group_id, chord) for sig, _, group_id in members], str(members[0][2]))
    token = _FOLDED.set(_folded(members))
    try:
        yield
    finally:
        _FOLDED.reset(token)


def _folded(members: Sequence[Any]) -> tuple[str | None, str | None]:
    if name_of_many([sig for sig, _, _ in members]) is None:
        return None, None
    first, _, group_id = members[0]
    named = last_task(first)["options"].get("group_id")
    return str(group_id), str(named) if named not in (None, group_id) else None


def new_opening(name: str, on_failure: OnFailure, parent: str | None) -> Opening:
    """A workflow that nobody has sent yet."""
    return Opening(new_id(), name, on_failure, parent)


def membership(task_id: str = "") -> list[Any] | None:
    """What the header of a message that is built now says; the part of one that goes on is the next step's too.

    ``task_id`` is the message's, where that is known: who joins the chord of the running task is a part as that is.
    """
    opened = opening()
    if opened is not None:
        return None if opened.recorded is False else Membership(opened.id, opened.on_failure, *_FOLDED.get()).header()
    if _APART.get():
        return None
    attempt = settling()
    if attempt is not None and attempt.retrying:
        return attempt.workflow
    before = _of_what_runs(task_id) if attempt is None else None if attempt.telling else attempt.workflow
    known = Membership.from_header(before)
    # What takes the place of one of many is counted as that, also where it is many itself.
    if known is not None and known.folded is None:
        known = Membership(known.workflow, known.on_failure, *_FOLDED.get())
    return None if known is None else known.header()


def comes_after() -> bool:
    """Whether what is published now comes after a task, or joins its chord, and so belongs to whatever that does."""
    return not _APART.get() and (settling() is not None or _of_what_runs() is not None)


def _of_what_runs(task_id: str = "") -> Any:
    """The workflow of the task whose body sends somebody to its chord; or whose body is over, where Celery sees to it."""
    attempt = current()
    if attempt is not None:
        return attempt.workflow if attempt.adding or task_id in attempt.growing else None
    task = get_current_task()
    request = None if task is None else task.request
    return getattr(request, WORKFLOW_HEADER, None) if has_gone_on(request) else None


def take_along(message: TaskMessage) -> TaskMessage:
    """The message, which records the workflow where none has that was `taken_along` before."""
    opened = opening()
    if opened is not None and opened.record is not None and not opened.done and message.task_id is not None:
        message.opens = opened.record
    return message


def taken_along(message: TaskMessage) -> None:
    """The message is kept, here or there: what it takes along need not go with another."""
    opened = opening()
    if opened is not None and message.opens is not None:
        opened.done = True


def _sent(sig: Any, group_id: Any, chord: Any) -> Sent:
    # What a signature holds can be followed as its dictionaries are sent.
    options = {**sig.options, "group_id": group_id, "chord": chord or sig.options.get("chord")}
    return Sent(str(options.get("task_id") or ""), str(sig.task), options, sig.args, sig.kwargs)
