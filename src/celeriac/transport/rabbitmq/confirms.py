"""Messages of one channel that RabbitMQ confirms together: it answers to many as soon as to one."""

from __future__ import annotations

from typing import Any

from amqp.exceptions import MessageNacked


class Unconfirmed:
    """What was published on a channel, and is not confirmed yet.

    Args:
        channel: of ours, in confirm mode, on which nothing is under way.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._tags: set[int] = set()
        self._refused = False
        #: Where a message has arrived: only what is known to lead to a queue is not waited for.
        self.known: set[tuple[str, str]] = set()
        channel.events["basic_ack"].add(self._acked)
        channel.events["basic_nack"].add(self._nacked)

    @property
    def first(self) -> int:
        """The number of the first that is not confirmed."""
        return min(self._tags)

    @property
    def last(self) -> int:
        """The number of the last that was published."""
        return int(self._channel.published)

    def __len__(self) -> int:
        return len(self._tags)

    def add(self, tag: int) -> None:
        """One more, by its number on the channel."""
        self._tags.add(tag)

    def _acked(self, tag: int, multiple: bool) -> None:
        if multiple:
            self._tags = {each for each in self._tags if each > tag}
        else:
            self._tags.discard(tag)

    def _nacked(self, _tag: int, _multiple: bool) -> None:
        """They are kept: nothing from the first of these on is known to have arrived."""
        self._refused = self._refused or bool(self._tags)

    def wait(self, timeout: float | None) -> None:
        """Until all are confirmed, of which none may take longer than ``timeout`` seconds after the one before.

        Raises:
            MessageNacked: the broker has refused one of them.
            OSError, RecoverableConnectionError, TimeoutError: it has not answered; what became of them is unknown.
        """
        while self._tags and not self._refused:
            self._channel.wait_for_confirms(timeout)
        if self._refused:
            raise MessageNacked

    def end(self) -> None:
        """Ask no more."""
        self._channel.events["basic_ack"].discard(self._acked)
        self._channel.events["basic_nack"].discard(self._nacked)
