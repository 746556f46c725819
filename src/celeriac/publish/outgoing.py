"""The last step of a publish: sent now, or kept for the settlement of what is running."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from celeriac.core.attempt import Attempt
from celeriac.core.current import current
from celeriac.core.message import Published, TaskMessage
from celeriac.core.transactions import any_open, open_for
from celeriac.store.protocols import Publisher

logger = logging.getLogger(__name__)


def tell_of_live(name: str | None, published: Published) -> None:
    """Log that nothing was sent, since the task of this id has not ended."""
    text = "task %s[%s] waits or runs already: nothing was sent. Leave task_id out for a second run"
    logger.warning(text, name, published.task_id)


def settling() -> Attempt | None:
    """The attempt whose settlement takes along what is published now: its body is over, or it retries."""
    attempt = current()
    return attempt if attempt is not None and (attempt.buffering or attempt.retrying) else None


def is_somebodys() -> bool:
    """Whether what is published now waits for somebody's commit, or for the settlement of what is running."""
    return any_open() or settling() is not None


def may_go_ahead(messages: Sequence[TaskMessage]) -> bool:
    """Whether they can be sent before it is known what became of those before: no key, which may be refused, and nobody's."""
    attempt = current()
    grows = attempt is not None and attempt.growing
    return not (is_somebodys() or grows or any(message.key is not None for message in messages))


def send(store: Publisher, messages: list[TaskMessage]) -> list[Published]:
    """Send the messages, or leave them with the running attempt when its body is over.

    Raises:
        IdempotencyConflict: a key is held with other arguments.
        StoreUnavailable: nothing was sent.
    """
    attempt = current()
    if attempt is None or not attempt.growing:
        return _send(store, messages)
    for message in messages:
        message.grows = attempt.growing.get(message.task_id or "")
    sent = _send(store, messages)
    for message in messages:  # what could not be sent is announced still
        attempt.growing.pop(message.task_id or "", None)
    return sent


def _send(store: Publisher, messages: list[TaskMessage]) -> list[Published]:
    attempt = settling()
    if attempt is None:
        within = open_for(store)
        # An event or a reply is nobody's to commit.
        beside = within is None or any(message.task_id is None for message in messages)
        return store.publish(messages) if beside else within.publish(messages)
    return [_keep(attempt, store, message) for message in messages]


def _keep(attempt: Attempt, store: Publisher, message: TaskMessage) -> Published:
    if message.task_id is None:  # an event, a remote-control reply
        return store.publish([message])[0]
    if attempt.retrying and message.task_id == attempt.task_id:
        attempt.retry = message
    else:
        message.follow_up = message.awaited = True
        attempt.follow_ups.append(message)
    return Published(message.task_id)
