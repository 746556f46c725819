"""One circuit as one process sees it: it counts by itself, and asks and tells the store once a second."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from celery.exceptions import Ignore, Reject, Retry

from celeriac.core import circuits
from celeriac.core.circuit import Circuit
from celeriac.core.circuits import KeptBack, Permit, Phase, Slice, State
from celeriac.errors import StoreError
from celeriac.execution.circuit_log import tell_of_change, tell_of_difference, tell_of_news
from celeriac.store.protocols import Store

logger = logging.getLogger(__name__)

T = TypeVar("T")
Change = Callable[[State, float], tuple[State, T]]

#: Seconds for which what the store said is good enough, and what was counted need not be said.
EVERY = circuits.TOLD
#: The same while calls fail.
EVERY_FAILING = 0.1
#: Tries to write before somebody else does, and seconds between two, at most.
TRIES, PAUSE = 20, 0.01


class Busy(Exception):
    """Others were faster, again and again."""


class Entry(NamedTuple):
    """A call that was let through: in which round, and whether as a probe."""

    round: int
    permit: Permit | None = None


class Breaker:
    """Lets the calls of one process through, or not, and counts how they end.

    A closed circuit costs a call some microseconds. A store that cannot be asked changes nothing: what was last known
    holds, and what was counted is told later.
    """

    def __init__(self, circuit: Circuit, store: Callable[[], Store | Any]) -> None:
        self.circuit = circuit
        self.rng: Callable[[], float] = random.random
        self._store = store
        self._timer: threading.Timer | None = None
        self._others: set[str] = set()
        self.reset()
        _ALL.add(self)

    def reset(self) -> None:
        """Know nothing, as in a new process: what a parent has counted it tells itself."""
        self.rest()
        self._teller = uuid.uuid4().hex[:12]
        self._view = circuits.NEW
        self._synced = self._succeeded = float("-inf")
        self._ended: dict[int, list[int]] = {}
        #: What a thread is about to tell, and the view may not have yet.
        self._telling: list[Slice] = []
        self._kept_back = 0
        self._counting = threading.Lock()
        self._syncing = threading.Lock()

    # -- a call

    def look(self) -> float | None:
        """Until when a call would be kept back, where that is known; a call that may be let through is not yet."""
        self.refresh()
        view = self._view
        if view.phase is not Phase.OPEN:
            return None
        now = self._now()
        return None if view.until is not None and now >= view.until else self._keep_back(now)

    def enter(self) -> Entry | float:
        """Let a call through; or keep it back, until the moment that is returned."""
        self.refresh()
        if self._view.phase is Phase.CLOSED:
            return Entry(self._view.round)
        now, holder = self._now(), uuid.uuid4().hex
        _, answer = circuits.asked(self.circuit, self._view, holder, now, self.rng)
        if isinstance(answer, KeptBack):
            return self._keep_back(now)
        answer = self._ask(holder, now)
        return answer.until if isinstance(answer, KeptBack) else Entry(self._view.round, answer.permit)

    def leave(self, entry: Entry, error: BaseException | None) -> None:
        """Count how a call that was let through has ended."""
        succeeded = self._verdict(error)
        if entry.permit is not None:
            self._tell_probe(entry.permit, succeeded=succeeded)
        elif succeeded is not None and entry.round == self._view.round:
            self._count(succeeded=succeeded)
            if succeeded:
                self._heed_success()
            else:
                self._heed_failure()

    def _heed_success(self) -> None:
        """One after a while is told at once, so that others know of whom to wait for more."""
        if time.monotonic() - self._succeeded >= EVERY:
            self.sync()

    def _heed_failure(self) -> None:
        """Others may know of more, and may have opened it: whoever fails finds out sooner."""
        opens = self._view.doubted is None and self._would_open()
        if opens or time.monotonic() - self._synced >= EVERY_FAILING:
            # Another thread may have begun to tell before this failure; but not for long, where the store does not answer.
            self.sync(wait=EVERY_FAILING if opens else 0.0)

    def _would_open(self) -> bool:
        return circuits.is_failing(self.circuit, (*self._view.slices, *self._telling, *self._counted()))

    def _verdict(self, error: BaseException | None) -> bool | None:
        """Whether what the circuit protects has worked; None where the end of the call says nothing of that."""
        if error is None:
            return True
        if isinstance(error, Retry):
            error = error.exc
            if error is None:
                return None
        if isinstance(error, (Ignore, Reject)) or not isinstance(error, Exception):
            return None
        try:
            return not self.circuit.counts(error)
        except Exception:
            logger.exception("circuit %r: its on=, which says whether an error counts, raised", self.circuit.name)
            return None

    # -- counting here

    def _count(self, *, succeeded: bool) -> None:
        number = circuits.slice_of(self.circuit, self._now())
        with self._counting:
            self._ended.setdefault(number, [0, 0])[0 if succeeded else 1] += 1
            self._tell_later(EVERY if succeeded else EVERY_FAILING)

    def _counted(self) -> list[Slice]:
        with self._counting:
            return [Slice(number, *sums) for number, sums in self._ended.items()]

    def _keep_back(self, now: float) -> float:
        with self._counting:
            self._kept_back += 1
            self._view, answer = circuits.asked(self.circuit, self._view, "", now, self.rng)
        return answer.until if isinstance(answer, KeptBack) else now

    # -- with the store

    def _tell_later(self, seconds: float) -> None:
        """Who makes no further call tells what it has counted all the same: others may be about to open it."""
        if self._timer is not None:
            return
        left = seconds - (time.monotonic() - self._synced)
        self._timer = threading.Timer(min(max(left, 0.0), seconds), self._tell)
        self._timer.daemon = True
        try:
            self._timer.start()
        except RuntimeError:  # no thread can be started, as when the program ends: the next call tells
            self._timer = None

    def _tell(self) -> None:
        self._timer = None
        if self._ended or self._view.doubted is not None:
            self.sync()
        with self._counting:
            if self._ended or self._view.doubted is not None:
                self._tell_later(EVERY if self._view.doubted is None else EVERY_FAILING)

    def forsake(self) -> None:
        """A child has none of its parent's threads, and may find their locks taken."""
        self._timer = None

    def finish(self) -> None:
        """Tell what was counted: this process ends."""
        self.rest()
        if self._ended:
            self.sync()

    def rest(self) -> None:
        """Tell nothing unasked."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def refresh(self) -> None:
        """Ask and tell the store, if that was a while ago."""
        if time.monotonic() - self._synced >= EVERY:
            self.sync()

    def sync(self, *, wait: float = 0.0) -> None:
        """Tell what was counted, and read what is known; another thread that is not through after ``wait`` seconds is enough."""
        if not self._syncing.acquire(timeout=wait):
            return
        self._synced = time.monotonic()
        try:
            self._exchange()
        except (StoreError, Busy) as error:
            logger.debug("circuit %r: what is known of it is not renewed now: %s", self.circuit.name, error)
        finally:
            self._syncing.release()

    def _exchange(self) -> None:
        with self._counting:
            round_, ended, kept_back = self._view.round, self._ended, self._kept_back
            self._ended, self._kept_back = {}, 0
            slices = self._telling = [Slice(number, *sums) for number, sums in ended.items()]
        if any(one.succeeded for one in slices):
            self._succeeded = time.monotonic()

        def count(known: State, now: float) -> tuple[State, None]:
            # Of another round, it says nothing of this one.
            told = known.round == round_ and (slices or kept_back or known.doubted is not None)
            return (
                circuits.counted(self.circuit, known, slices, kept_back, now, self._teller) if told else known
            ), None

        try:
            self._change(count)
        except BaseException:
            with self._counting:
                self._kept_back += kept_back
                for number, sums in ended.items():
                    mine = self._ended.setdefault(number, [0, 0])
                    mine[0], mine[1] = mine[0] + sums[0], mine[1] + sums[1]
            raise
        finally:
            self._telling = []

    def _ask(self, holder: str, now: float) -> circuits.Answer:
        try:
            return self._change(lambda known, at: circuits.asked(self.circuit, known, holder, at, self.rng))
        except (StoreError, Busy) as error:
            logger.debug("circuit %r: nobody can say now who may probe: %s", self.circuit.name, error)
            return KeptBack(now + min(self.circuit.open_for, circuits.ASK_AGAIN) * self.rng())

    def _tell_probe(self, permit: Permit, *, succeeded: bool | None) -> None:
        try:
            self._change(
                lambda known, now: (circuits.told(self.circuit, known, permit, now, succeeded=succeeded), None)
            )
        except (StoreError, Busy) as error:  # the permit runs out, and another probes
            logger.warning("circuit %r: how a probe ended cannot be told: %s", self.circuit.name, error)

    def change(self, change: Callable[[State, float], State]) -> State:
        """Have the state changed by hand.

        Raises:
            StoreError: it cannot be written.
        """
        self._change(lambda known, now: (change(known, now), None))
        return self._view

    def _change(self, change: Change[T]) -> T:
        store, name = self._store(), self.circuit.name
        for _ in range(TRIES):
            version, text = store.read_circuit(name)
            known = circuits.load(text)
            state, answer = change(known, store.now())
            if state == known or store.write_circuit(name, version, circuits.dump(state)):
                self._seen(known, state)
                return answer
            time.sleep(PAUSE * self.rng())
        raise Busy(name)

    def _seen(self, known: State, state: State) -> None:
        self._compare(known)
        with self._counting:
            before, self._view = self._view, state
            if state.round != before.round:
                self._ended, self._kept_back = {}, 0
        if state.round != known.round:
            tell_of_change(self.circuit, known, state)
        elif state.round != before.round:
            tell_of_news(self.circuit, before, state)

    def _compare(self, known: State) -> None:
        mine, theirs = self.circuit.numbers, known.numbers
        if theirs in ("", mine) or theirs in self._others:
            return
        self._others.add(theirs)
        tell_of_difference(self.circuit, theirs)

    def _now(self) -> float:
        now: float = self._store().now()
        return now


_ALL: weakref.WeakSet[Breaker] = weakref.WeakSet()


def _after_fork() -> None:
    for breaker in list(_ALL):
        breaker.forsake()
        breaker.reset()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
