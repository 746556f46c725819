"""The kombu transport on any store: polls when there is work, sleeps when not."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar

from kombu.transport import base, virtual

from celeriac.core.message import LAST_CHANCE, Published, TaskMessage
from celeriac.core.routing import Share
from celeriac.errors import StoreUnavailable
from celeriac.store.protocols import News, Store
from celeriac.transport.channel import Channel
from celeriac.transport.leases import LEASE, RENEW, LeaseKeeper, keeper_of
from celeriac.transport.wake import Restraint, Watcher

#: Seconds of deliveries before a loop gets its turn.
SLICE = 0.02
#: Seconds an idle loop sleeps at most before it looks at the clock again.
LONGEST_WAIT = 1.0
#: What a loop is woken for: results are nothing to it.
WAITED_FOR = News.WORK | News.BROADCASTS
#: Seconds between looks for remote control while every slot is taken.
BUSY_PAUSE = 0.02


class StoreTransport(virtual.Transport):  # type: ignore[misc]  # kombu's class is untyped at runtime
    """kombu's view of a store; subclasses open it."""

    Channel = Channel
    # Celery gives Redis's remote-control features (mingle, gossip, fanout
    # events) by this name; celeriac has them all.
    driver_type = "redis"
    driver_name = "celeriac"
    can_parse_url = True
    connection_errors = (*virtual.Transport.connection_errors, StoreUnavailable)
    implements = base.Transport.implements.extend(
        asynchronous=True, exchange_type=frozenset({"direct", "topic", "fanout"}), heartbeats=False
    )
    #: Whether more is claimed than asked for while tasks are short.
    adaptive = True
    #: Seconds after which a wait for messages ends, though it may be longer: a worker's loop has more to look at.
    longest_drain = float("inf")
    #: Crashes after which the next run is the last before burial.
    last_chance = LAST_CHANCE
    #: A run that dies takes no other with it, and is known: each has a process of its own.
    isolates = False
    #: Whether its worker was asked to end: nothing more is begun then, and Celery's loop looks once more all the same.
    ending: Callable[[], bool] = staticmethod(bool)
    #: The places of queues among the others that one worker consumes.
    shares: Mapping[str, Share] = {}
    #: Called when there is nothing to deliver, before waiting.
    on_idle: ClassVar[list[Callable[[], None]]] = []

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self._restraint = Restraint()
        self._loop: Any = None
        self._watcher: Watcher | None = None
        self._rung = False

    @cached_property
    def store(self) -> Store:
        """The store, opened when it is needed: Celery asks a transport what it is like before a broker is there."""
        return self.open_store()

    @cached_property
    def keeper(self) -> LeaseKeeper:
        """Renews the leases on what this process holds."""
        options = self.client.transport_options
        return keeper_of(self.store, lease=options.get("lease", LEASE), renew=options.get("renew", RENEW))

    @staticmethod
    def send(store: Store, messages: list[TaskMessage]) -> list[Published]:
        """Publish at once; the publish room puts its buffering sender in this place."""
        return store.publish(messages)

    def open_store(self) -> Store:
        """The process's store for the client's URL."""
        raise NotImplementedError

    def driver_version(self) -> str:
        return "1"

    def verify_connection(self, connection: Any) -> bool:
        return True

    # -- polling

    def poll(self) -> int:
        """Deliver to every channel for one slice of time; returns how many messages."""
        until = time.monotonic() + SLICE
        return sum(channel.poll(lambda: time.monotonic() < until) for channel in list(self.channels))

    def _more(self) -> bool:
        return any(channel.buffered for channel in self.channels)

    def _wants_more(self) -> bool:
        return any(channel.wants_more for channel in self.channels)

    def _timeout(self) -> float:
        if not self._wants_more():
            return LONGEST_WAIT  # a message that falls due is not for us
        due = self.store.next_due()
        return LONGEST_WAIT if due is None else max(0.0, min(LONGEST_WAIT, due - self.store.now()))

    def idle(self) -> None:
        """Nothing to deliver: let the pipeline settle what it has."""
        for hook in self.on_idle:
            hook()

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Deliver something, or wait for it up to ``timeout`` seconds.

        Raises:
            TimeoutError: nothing came.
        """
        deadline = None if timeout is None else time.monotonic() + min(timeout, self.longest_drain)
        while True:
            mark = self.store.mark(WAITED_FOR)
            found = self.poll()
            pause = self._restraint.pause(found=bool(found))
            if found:
                return
            self.idle()
            left = LONGEST_WAIT if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            timeout = min(left, self._timeout())
            if pause:
                time.sleep(min(pause, timeout))
            self.store.wait(max(0.0, timeout - pause), mark, WAITED_FOR)

    # -- event loop (prefork)

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        self._loop = loop
        self._watcher = Watcher(self.store, WAITED_FOR)
        loop.add_reader(self._watcher.fileno(), self._on_wake)
        self.freed()

    def freed(self) -> None:
        """A slot is free, or somebody began to consume: look for work at the loop's next turn."""
        # Not call_soon(): the hub sleeps once more before it runs what was
        # scheduled during its own callbacks.
        if self._rung or not self._wants_more():
            return
        if self._watcher is not None:
            self._again()
        else:
            self.store.rouse()

    def _again(self) -> None:
        if self._watcher is not None:
            self._rung = True
            self._watcher.ring()

    def _on_wake(self) -> None:
        if self._watcher is None:
            return
        self._watcher.acknowledge()
        self._rung = False
        mark = self.store.mark(WAITED_FOR)
        delivered = self.poll()
        pause = self._restraint.pause(found=bool(delivered))
        if self._more() or (delivered and self._wants_more()):
            self._again()
            return
        self.idle()
        # With no slot free only remote control can come, which may wait a little.
        self._watcher.arm(mark, self._timeout(), pause=pause if self._wants_more() else BUSY_PAUSE)

    def close_connection(self, connection: Any) -> None:
        if self._watcher is not None:
            self._loop.remove_reader(self._watcher.fileno())
            self._watcher.close()
            self._watcher = None
        super().close_connection(connection)
