"""kombu's AMQP client, which heeds a deadline and tells of messages that no queue gets."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from typing import Any

from amqp.exceptions import RecoverableConnectionError
from kombu.transport import TRANSPORT_ALIASES, pyamqp

from celeriac.errors import CeleriacError
from celeriac.transport.rabbitmq.confirms import Unconfirmed
from celeriac.transport.rabbitmq.deadline import DeadlineExceeded, bounded


class Returned(CeleriacError):
    """No queue is bound where a message was sent to, and the broker has handed it back."""

    def __init__(self, exchange: str, routing_key: str) -> None:
        super().__init__(exchange, routing_key)
        self.exchange = exchange
        self.routing_key = routing_key


class Channel(pyamqp.Channel):  # type: ignore[misc]  # the client has no types
    """Without a handler the client raises at the return, and takes the confirm that follows for the next message's."""

    _returned: Returned | None = None
    #: How many messages were: the broker's number of the last one.
    published = 0
    _together: Unconfirmed | None = None

    def _basic_publish(self, *args: Any, **kwargs: Any) -> Any:
        sent = super()._basic_publish(*args, **kwargs)
        self.published += 1
        return sent

    def basic_publish_confirm(self, msg: Any, *args: Any, **kwargs: Any) -> Any:
        """As the client's; between `confirm_together` and `confirm_singly` it waits for the first to each target only.

        Raises:
            Returned: the message was mandatory, and no queue got it.
        """
        if self._together is None:
            return self._publish_and_wait(msg, *args, **kwargs)
        target = (str(kwargs.get("exchange", "")), str(kwargs.get("routing_key", "")))
        if args or target not in self._together.known:
            self._together.wait(kwargs.get("confirm_timeout") or kwargs.get("timeout"))
            sent = self._publish_and_wait(msg, *args, **kwargs)
            self._together.known.add(target)
            return sent
        kwargs["timeout"] = bounded(kwargs.get("timeout"))
        sent = self._basic_publish(msg, **kwargs)
        self._together.add(self.published)
        return sent

    def confirm_together(self) -> Unconfirmed:
        """Publish without waiting for each confirm from now on; who asked for it waits for them."""
        self._returned = None
        self._together = Unconfirmed(self)
        return self._together

    def confirm_singly(self) -> None:
        """As before."""
        if self._together is not None:
            self._together.end()
            self._together = None

    def wait_for_confirms(self, timeout: float | None) -> None:
        """Read what the broker says next.

        Raises:
            Returned: no queue is there any more for a message.
        """
        if self.connection is None:
            raise RecoverableConnectionError("connection already closed")
        try:
            self.connection.drain_events(timeout=bounded(timeout))
        except TimeoutError:
            self.connection.collect()
            raise
        returned, self._returned = self._returned, None
        if returned is not None:
            raise returned

    def _publish_and_wait(self, msg: Any, *args: Any, **kwargs: Any) -> Any:
        self._returned = None
        kwargs["timeout"] = bounded(kwargs.get("timeout"))
        try:
            sent = super().basic_publish_confirm(msg, *args, **kwargs)
        except TimeoutError:
            # The confirm may still come, and would be taken for the next message's.
            self.connection.collect()
            raise
        if self._returned is not None:
            raise self._returned
        return sent

    def close(self, *args: Any, **kwargs: Any) -> Any:
        """As the client's. Where no time is left for the broker's answer, the connection is dropped instead."""
        connection = self.connection
        try:
            return super().close(*args, **kwargs)
        except DeadlineExceeded:
            connection.collect()

    def _on_basic_return(self, code: int, text: str, exchange: str, routing_key: str, message: Any) -> None:
        if self.events.get("basic_return") or not self._confirm_selected:
            super()._on_basic_return(code, text, exchange, routing_key, message)
        self._returned = Returned(exchange, routing_key)


class Connection(pyamqp.Connection):  # type: ignore[misc]  # the client has no types
    Channel = Channel
    connect_timeout: float | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _ALL.add(self)

    def leave_to_the_parent(self) -> None:
        """In a child: close its end without a word to the server; whoever uses it here connects anew."""
        transport = self._transport
        sock = getattr(transport, "sock", None)
        if sock is not None:
            transport.sock = None  # the client would shut the parent's end down too
            with suppress(OSError):
                os.close(sock.detach())
        self.collect()

    def connect(self, callback: Any = None) -> Any:
        if not self.connected:
            self.connect_timeout = bounded(self.connect_timeout)
        return super().connect(callback)

    def close(self, *args: Any, **kwargs: Any) -> Any:
        """As the client's, without the broker's answer where no time is left: a pool takes back only what could be closed."""
        try:
            return super().close(*args, **kwargs)
        except DeadlineExceeded:
            self.collect()

    def blocking_read(self, timeout: float | None = None) -> Any:
        return super().blocking_read(bounded(timeout))


#: Of this process. Two that write on one would be told of each other's messages that they have arrived.
_ALL: weakref.WeakSet[Connection] = weakref.WeakSet()


def _after_fork() -> None:
    for connection in list(_ALL):
        with suppress(Exception):
            connection.leave_to_the_parent()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)


class Transport(pyamqp.Transport):  # type: ignore[misc]  # kombu's class is untyped at runtime
    Connection = Connection


class SSLTransport(pyamqp.SSLTransport):  # type: ignore[misc]  # kombu's class is untyped at runtime
    Connection = Connection


def register() -> None:
    """Serve `amqp://`, `pyamqp://` and `amqps://`; kombu finds transports by name alone, also when it fails over."""
    TRANSPORT_ALIASES["amqp"] = TRANSPORT_ALIASES["pyamqp"] = "celeriac.transport.rabbitmq.client:Transport"
    TRANSPORT_ALIASES["amqps"] = "celeriac.transport.rabbitmq.client:SSLTransport"
