"""Many new messages in one COPY: a third of what PostgreSQL takes for an INSERT of as many rows."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.core.message import TaskMessage
from celeriac.store.postgres.session import Session, pack
from celeriac.store.protocols import News
from celeriac.store.relational.queue import waiting

#: Fewer are inserted as quickly.
WORTH_IT = 20
_COPY = """
COPY message (queue, priority, status, run_at, expires_at, task_id, name, generation, sent_at, envelope, body, limits)
FROM STDIN
"""
_NULL = "\\N"


def worth_it(messages: Sequence[TaskMessage]) -> bool:
    """Whether they are many, and so new that the server has nothing to look up: their generation is known."""
    return len(messages) >= WORTH_IT and all(message.generation is not None for message in messages)


def copy(session: Session, messages: Sequence[TaskMessage], now: float) -> None:
    """Insert them, all or none.

    Raises:
        psycopg.errors.UniqueViolation: one of the tasks is there already.
    """
    data = "".join([_line(message, now) for message in messages]).encode()
    with session.raw.cursor().copy(_COPY) as copying:
        copying.write(data)
    session.news |= News.WORK  # as the statements of the files are known to be


def _line(message: TaskMessage, now: float) -> str:
    run_at, body = message.run_at, pack(message.body)
    assert body is not None
    times = f"{_moment(run_at)}\t{_moment(message.expires_at)}"
    task = f"{_text(message.task_id)}\t{_text(message.name)}\t{message.generation}"
    envelope = _text(message.envelope)
    return f"{_text(message.queue)}\t{message.priority}\t{waiting(message, now)}\t{times}\t{task}\t{now!r}\t{envelope}\t\\\\x{body.hex()}\t{_text(message.limits)}\n"


def _moment(value: float | None) -> str:
    return _NULL if value is None else repr(value)


def _text(value: str | None) -> str:
    """As COPY's text format writes it."""
    if value is None:
        return _NULL
    # Faster than a translation, by far.
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
