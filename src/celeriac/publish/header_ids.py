"""The header of a chord has one id, however often the chord is frozen.

Celery makes a list of the header, and a new id for it, each time: when a canvas that has the chord in it is recorded, and
again when the chord's turn comes. What tasks are called they keep. So the first member is given an id that says of itself
that it was given here, and the header's id is made of that. An id that somebody has chosen says nothing of the header: it may
be used again for another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4, uuid5

from celery import canvas

from celeriac.core.workflow_nodes import last_task

_HEADERS = UUID("5f0c54a1-6d0b-4d3c-9a39-0a4c6e8a4b0e")
#: Hexadecimal digits of a member's id that are by chance; the others are made of them.
_RANDOM = 20


def members_of(tasks: Iterable[Any]) -> Iterator[Any]:
    """Of a group, with those of the groups in it."""
    for task in tasks:
        signature = canvas.maybe_signature(task)
        if isinstance(signature, canvas.group):
            yield from members_of(signature.tasks)
        else:
            yield task


def name(chord: Any) -> None:
    """Before a chord is frozen: give its header the id that it had, or will have again."""
    members = chord.tasks
    if type(members) is not list:  # a group has its id, and a generator is not to be run for it
        return
    members[:] = members_of(members)  # as freezing does
    if not members:
        return
    first = canvas.maybe_signature(members[0], app=chord.app)
    last = last_task(first)
    if last["subtask_type"]:
        return
    if not last["options"].get("task_id"):
        members[0] = first = first.clone()  # as freezing puts clones in their place
        last = last_task(first)
        last["options"]["task_id"] = _new_id()
    if found := _id_by(last):
        chord.tasks = canvas.group(members, app=chord.app, task_id=found)


def name_again(header: Any) -> None:
    """Before a chord is sent: give its header, a group, the id that it was frozen with, if it was."""
    if type(header.tasks) is not list or not header.tasks:
        return
    last = last_task(header.tasks[0])
    if found := None if last["subtask_type"] else _id_by(last):
        header.options["task_id"] = found


def _id_by(member: Any) -> str | None:
    task_id = str(member["options"].get("task_id"))
    digits = task_id.replace("-", "")
    return str(uuid5(_HEADERS, task_id)) if digits == _completed(digits[:_RANDOM]) else None


def _new_id() -> str:
    return str(UUID(_completed(uuid4().hex[:_RANDOM])))


def _completed(digits: str) -> str:
    return digits + sha256(_HEADERS.bytes + digits.encode()).hexdigest()[: 32 - _RANDOM]
