"""Keeps the leases of what this process holds, and reclaims what others dropped."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from celeriac.core.message import Delivery, Lease, Reclaimed
from celeriac.errors import StoreError
from celeriac.store.native import NativeEvent, start_thread
from celeriac.store.protocols import Store

logger = logging.getLogger(__name__)

#: Seconds a claimed message stays ours without a renewal, and between renewals.
LEASE, RENEW = 30.0, 10.0
#: Tasks that a line of the log names.
NAMED = 5


@dataclass(slots=True)
class Held:
    """A claimed message and how far it has come.

    ``managed`` messages leave the queue by a settlement, all others by their
    acknowledgement.
    """

    lease: Lease
    claimed_at: float
    task_id: str | None = None
    name: str | None = None
    managed: bool = False
    started: bool = False
    released: bool = False
    #: It waits here for its turn, however long: a rate limit, or the broker beside the ledger, keeps it from others.
    limited: bool = False
    #: Its task must not run again when its process dies.
    once: bool = False


class LeaseKeeper:
    """Renews on an OS thread of its own, so that no task can stall it.

    The thread runs no task and shares no connection or lock with one; only C
    code that holds the GIL longer than a lease, or a stopped process, loses it.
    """

    def __init__(self, store: Store, *, lease: float = LEASE, renew: float = RENEW) -> None:
        self.store = store
        self.lease = lease
        self.renew = renew
        #: Handed back while this process still had it queued: not to be begun.
        self.given_up: set[Lease] = set()
        self.reset()

    def reset(self) -> None:
        """Hold nothing: a child renews none of its parent's leases, and may find its lock taken."""
        self.held: dict[Lease, Held] = {}
        self._pid: int | None = None
        self._stop = NativeEvent()
        self._lock = threading.Lock()

    def hold(self, delivery: Delivery) -> Held:
        """Begin to renew a delivery's lease."""
        held = Held(delivery.lease, delivery.claimed_at, delivery.task_id)
        self.held[delivery.lease] = held
        if self._pid != os.getpid():
            self._begin()
        return held

    def drop(self, lease: Lease) -> Held | None:
        """Stop renewing: settled, acknowledged or handed back."""
        return self.held.pop(lease, None)

    def give_up(self, leases: Sequence[Lease]) -> None:
        """Hand back what has not begun, at the end of this worker."""
        self.given_up.update(leases)
        for lease in leases:
            self.held.pop(lease, None)
        self.store.release(leases)

    def find(self, lease: Lease) -> Held | None:
        """What is held under this lease."""
        return self.held.get(lease)

    def watch(self) -> None:
        """Reclaim what vanished workers held, also while nothing is held here."""
        if self._pid != os.getpid():
            self._begin()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._pid = None

    def _begin(self) -> None:
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            self._stop = NativeEvent()
            start_thread(self._run)

    def _run(self) -> None:
        stop, store = self._stop, self.store.keeper()
        clock = store.lease_now
        last = clock()
        try:
            while not stop.wait(self.renew):
                # After a stall every holder may have missed its renewal;
                # they get one turn before anything is taken from them.
                stalled = clock() - last > 2 * self.renew
                if self.tick(store, reclaim=not stalled):
                    last = clock()
        finally:
            store.close()

    def tick(self, store: Store, *, reclaim: bool = True) -> bool:
        """One round: renew, hand back what never started, reclaim; false when the store failed."""
        try:
            self._hand_back_stale(store)
            self._renew(store)
            if reclaim:
                self._reclaim(store)
        except StoreError as error:
            logger.warning("leases could not be renewed, trying again in %.0f s: %s", self.renew, error)
            return False
        except Exception:
            logger.exception("lease renewal failed, trying again in %.0f s", self.renew)
            return False
        return True

    def _renew(self, store: Store) -> None:
        held = [item for item in list(self.held.values()) if not item.released]
        lost = store.extend([item.lease for item in held], self.lease)
        for lease in lost:
            item = self.held.get(lease)
            if item is None:
                continue
            item.released = True  # a lease that is gone never comes back
            # A settled message is no loss: its settlement was faster than we.
            if not item.managed:
                logger.warning("lost the lease of message %d (task %s)", lease.message_id, item.task_id)

    def _hand_back_stale(self, store: Store) -> None:
        """What was claimed and has not begun within a lease, others may do."""
        before = store.lease_now() - self.lease
        stale = {
            item.lease: item
            for item in list(self.held.values())
            if not (item.started or item.released or item.limited) and item.claimed_at < before
        }
        for item in stale.values():
            item.released = True
        if not stale:
            return
        # A process may have begun one of them of which this one has not heard yet.
        begun = store.hand_back(list(stale))
        for lease in begun:
            stale[lease].released, stale[lease].started = False, True
        if len(stale) > len(begun):
            logger.info("handed back %d messages that waited a whole lease for a free slot", len(stale) - len(begun))

    def _reclaim(self, store: Store) -> None:
        if reclaimed := store.reclaim():
            logger.warning("%s", _told(reclaimed))


def _told(reclaimed: Sequence[Reclaimed]) -> str:
    """What was taken back, those first that had begun, and what becomes of it."""
    count, begun = len(reclaimed), sum(one.begun for one in reclaimed)
    first = sorted(reclaimed, key=lambda one: not one.begun)[:NAMED]
    named = ", ".join(f"{one.name}[{one.task_id}]" if one.task_id else "no task" for one in first)
    rest = f" and {count - NAMED:,} more" if count > NAMED else ""
    messages, alone = (
        ("1 message", "it next, alone") if count == 1 else (f"{count:,} messages", "them next, each alone")
    )
    text = f"reclaimed {messages} of workers that vanished: {named}{rest}. Whoever is free runs {alone}"
    return text + _told_of_crashes(begun) if begun else text


def _told_of_crashes(begun: int) -> str:
    return (
        f"; {begun:,} had begun, which counts as a crash: of one that comes to celeriac_max_crashes, or is not to run again after "
        "any (acks_late=False), a dead letter is kept instead"
    )


_KEEPERS: dict[str, LeaseKeeper] = {}


def _after_fork() -> None:
    for keeper in _KEEPERS.values():
        keeper.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def keeping(keeper: LeaseKeeper) -> Iterator[None]:
    """While the block runs, this is the keeper of its store; afterwards nothing of either is known."""
    _KEEPERS[keeper.store.location] = keeper
    try:
        yield
    finally:
        _KEEPERS.pop(keeper.store.location, None)


def keeper_of(store: Store, *, lease: float = LEASE, renew: float = RENEW) -> LeaseKeeper:
    """The process's one keeper for a store."""
    keeper = _KEEPERS.get(store.location)
    if keeper is None:
        keeper = _KEEPERS[store.location] = LeaseKeeper(store, lease=lease, renew=renew)
    return keeper
