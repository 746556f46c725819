"""Many publishes on their way out together: what Celery would send one by one is sent a few hundred at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple

from celeriac.core.message import Published, TaskMessage
from celeriac.errors import CeleriacError, StoreUnavailable
from celeriac.publish.amqp import Outgoing
from celeriac.publish.chains import Bodies
from celeriac.publish.local import LocalOutbox
from celeriac.publish.mould import Mould, Moulds
from celeriac.publish.outgoing import is_somebodys, may_go_ahead, send, tell_of_live
from celeriac.publish.workflows import take_along, taken_along
from celeriac.store.protocols import Sending, Store

#: Messages sent in one round trip: enough that it costs nothing, few enough that nobody waits long for the store.
SLICE = 500
#: Characters of message bodies in a slice, whichever comes first: large messages are not held by the hundred.
LARGE = 4_000_000


class _Slice(NamedTuple):
    """Messages that go together, and who is to be told when they have gone."""

    messages: list[TaskMessage]
    afterwards: list[Callable[[], None]]


class Batch(Outgoing):
    """Keeps what is published, and sends it by slices, each whole or not at all.

    Where the store can have two under way, one is sent before the answer to the last is read: while the store is at
    that one, the next is made.

    Args:
        store: where to.
        moulds: makes the moulds of one slice.
        spare: keeps a slice while the store is away.
        stamp: names the ledger in messages that another broker will be given.
    """

    def __init__(
        self,
        store: Store,
        moulds: Callable[[], Moulds],
        spare: LocalOutbox | None = None,
        stamp: list[str] | None = None,
    ) -> None:
        super().__init__(store, stamp)
        self._spare = spare
        self._make_moulds = moulds
        self.moulds = moulds()
        self._messages: list[TaskMessage] = []
        self._size = 0
        self._afterwards: list[Callable[[], None]] = []
        #: Called when a slice was sent, whose answer may be to come.
        self.after_slice: Callable[[], None] = _nothing
        self._under_way: tuple[_Slice, Sending] | None = None
        #: Slices sent so far, and those of them of which the store has said what became of them.
        self.slices, self.answered = 0, 0
        self._told = 0
        self.bodies = Bodies()
        #: Ids of which another task holds the key, with that one's id.
        self.holders: dict[str, str] = {}

    def put(self, message: TaskMessage, afterwards: Callable[[], None] | None = None) -> None:
        """Keep the message; a full slice is sent."""
        self._messages.append(take_along(message))
        taken_along(message)  # in this batch, or where that keeps what it cannot send
        self._size += len(message.body)
        if afterwards is not None:
            self._afterwards.append(afterwards)
        if len(self._messages) >= SLICE or self._size >= LARGE:
            self._send(more=True)

    def flush(self) -> None:
        """Send what is kept, and wait for the answers to all that was sent.

        Raises:
            IdempotencyConflict: a key is held with other arguments; nothing of the slice was sent.
            StoreUnavailable: what became of the last slice, or two, is unknown.
        """
        if self._messages:
            self._send(more=self._under_way is not None)
        self.catch_up()

    def _send(self, *, more: bool) -> None:
        """Send one slice; where ``more`` may follow, without waiting for its answer."""
        part = _Slice(self._messages, self._afterwards)
        self._messages, self._afterwards, self._size = [], [], 0
        if not (more and self._send_ahead(part)):
            self.catch_up()
            self.slices += 1
            self._tell(part, self._published(part.messages))
        # Settings and receivers may be others by the next slice.
        self.moulds = self._make_moulds()
        self.after_slice()

    def _send_ahead(self, part: _Slice) -> bool:
        # Who is told of each message once it is sent, or keeps those that were not, is not to wait for the next slice.
        if self._spare or part.afterwards or not may_go_ahead(part.messages):
            return False
        sending = self.store.publish_ahead(part.messages, self._under_way and self._under_way[1])
        if sending is None:
            return False
        self.slices += 1
        try:
            self.catch_up()
        except BaseException:
            sending.abandon()
            raise
        self._under_way = part, sending
        return True

    def catch_up(self) -> None:
        """Wait for the answer that is still to come; raises as ``flush``."""
        if self._under_way is not None:
            (part, sending), self._under_way = self._under_way, None
            self._tell(part, sending.published())

    def certainly_sent(self) -> int:
        """How many messages the store has, after an error; none where they are somebody's to commit."""
        with suppress(CeleriacError):  # another's fault is no reason not to listen
            self.catch_up()
        return 0 if is_somebodys() else self._told

    def abandon(self) -> None:
        """Nothing more is sent, and the answer that is still to come is nobody's."""
        if self._under_way is not None:
            (_, sending), self._under_way = self._under_way, None
            sending.abandon()

    def _tell(self, part: _Slice, answers: list[Published]) -> None:
        self.answered += 1
        self._told += len(part.messages)
        for message, published in zip(part.messages, answers, strict=True):
            if published.duplicate_of and published.task_id:
                self.holders[published.task_id] = published.duplicate_of
            elif published.live:
                tell_of_live(message.name, published)
        for tell in part.afterwards:
            tell()

    def _published(self, messages: list[TaskMessage]) -> list[Published]:
        spare = self._spare
        if spare is None or is_somebodys():
            return send(self.store, messages)
        sent: list[Published] = spare.send(
            lambda: send(self.store, messages), lambda: spare.publish(messages), StoreUnavailable
        )
        return sent

    @property
    def empty(self) -> bool:
        """Whether everything so far was sent; of the last slice it may still have to be heard what became of it."""
        return not self._messages

    def send_short(self, name: str, task: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """The result of a publish that went the short way; None where Celery has to build the message."""
        args, kwargs = args or (), kwargs or {}
        if type(args) not in (tuple, list) or type(kwargs) is not dict:
            return None
        mould = self.moulds.of(name, task, options)
        task_id = None if mould is None else self.cast(mould, args, kwargs, options)
        return None if mould is None or task_id is None else mould.result(task_id)

    def cast(self, mould: Mould, args: Any, kwargs: Any, options: dict[str, Any]) -> str | None:
        """Keep a message cast from the mould; returns its id, or None where Celery has to build it."""
        given = options.get("task_id")
        task_id = str(given) if given else self.moulds.new_id()
        message = mould.fill(task_id, args, kwargs, options.get("group_index"), fresh=not given)
        if message is None:
            return None
        self.put(message)
        return task_id


def _nothing() -> None:
    """Nobody counts."""


_OPEN: ContextVar[Batch | None] = ContextVar("celeriac_batch", default=None)


@contextmanager
def joining(batch: Batch) -> Iterator[None]:
    """Have what this thread, or coroutine, publishes to the batch's store join the batch."""
    token = _OPEN.set(batch)
    try:
        yield
    finally:
        _OPEN.reset(token)


def batch_for(app: Any) -> Batch | None:
    """The batch that what the app publishes joins now, if any; the store is opened for none."""
    batch = _OPEN.get()
    return batch if batch is not None and app.has_ledger and batch.store is app.store else None
