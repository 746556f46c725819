"""Many tasks published to RabbitMQ one after the other, and confirmed together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.utils.functional import ChannelPromise

from celeriac.publish.confirmed import PublishUnknown, confirmed_by
from celeriac.publish.rabbitmq import confirms
from celeriac.transport.rabbitmq.client import Returned
from celeriac.transport.rabbitmq.deadline import within

#: Messages under way at most: of so many it is unknown what became of them when the broker is lost.
SLICE = 500


class Confirms:
    """Those of one producer.

    Args:
        producer: kombu's; nothing changes where it does not lead to RabbitMQ.
        location: of the broker, without password.
        seconds: that the broker may take to confirm.
    """

    def __init__(self, producer: Any, location: str, seconds: float) -> None:
        self._producer, self._location, self._seconds = producer, location, seconds
        self._channel: Any = None
        self._under_way: Any = None
        #: Once some are lost nothing that is confirmed later makes up for them.
        self._lost: PublishUnknown | None = None
        #: The last message's number on the channel, and how many tasks there were with it.
        self._reached: deque[tuple[int, int]] = deque()
        self._certain = 0

    def published(self, count: int) -> None:
        """So many tasks were.

        Raises:
            PublishUnknown: the broker was lost, or has refused one of those before.
        """
        channel = self._producer._channel  # noqa: SLF001  # to ask by the property would be to connect
        if channel is not self._channel and not isinstance(channel, ChannelPromise):
            self.wait()  # on another connection than before: what is not confirmed there will never be
            _ = self.certain
            self._channel, self._under_way = channel, None
            if confirms(self._producer):
                self._under_way = channel.confirm_together()
        self._reached.append((0 if self._under_way is None else self._under_way.last, count))
        if self._under_way is not None and len(self._under_way) >= SLICE:
            self.wait()
        if len(self._reached) > SLICE:
            _ = self.certain

    @property
    def certain(self) -> int:
        """How many tasks, from the first on, are known to be with the broker."""
        first = self._under_way.first if self._under_way else None
        while self._reached and (first is None or self._reached[0][0] < first):
            _, self._certain = self._reached.popleft()
        return self._certain

    def wait(self) -> None:
        """Until all are confirmed; raises as ``published``."""
        if self._lost is not None:
            raise self._lost
        if not self._under_way:
            return
        translated = self._producer.connection._reraise_as_library_errors  # noqa: SLF001  # as Celery does
        try:
            with confirmed_by(self._location, under_way=True), within(self._seconds), translated():
                self._under_way.wait(self._seconds)
        except Returned as returned:
            _ = self.certain
            gone = f"no queue gets any more what is sent to exchange {returned.exchange!r} with key {returned.routing_key!r}"
            self._lost = PublishUnknown(self._location, gone)
            raise self._lost from returned
        except PublishUnknown as error:
            self._lost = error
            raise

    def end(self) -> None:
        """The producer is somebody else's again."""
        if self._under_way is not None:
            if self._under_way and self._channel.connection is not None:
                self._channel.connection.collect()  # their confirms would be taken for another's
            self._channel.confirm_singly()


@contextmanager
def together(app: Any, producer: Any) -> Iterator[Confirms]:
    """Confirm together what is published with the producer; all that is not confirmed at the end is unknown."""
    found = Confirms(producer, app.broker_name, app.own_settings.publish_timeout)
    try:
        yield found
    finally:
        found.end()
