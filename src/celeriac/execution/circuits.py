"""Circuit breakers of an app: what its tasks declare, the blocks that they guard, and their switching by hand."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timezone
from difflib import get_close_matches
from typing import Any

from celeriac.core import circuits
from celeriac.core.circuit import LONGEST, Circuit, declared
from celeriac.core.snooze import shown
from celeriac.errors import CeleriacError, CeleriacWarning, CircuitError
from celeriac.execution.breaker import Breaker, Entry
from celeriac.execution.snoozing import Snooze


class CircuitOpen(CeleriacError, Snooze):
    """What a circuit protects is not called now; a task that lets this pass is put off, and no attempt is counted.

    ``circuit`` is its name, ``retry_after`` how many seconds from now it is worth asking again.
    """

    quiet = True  # a backlog's worth of lines would say no more than the one of the circuit

    def __init__(self, circuit: str, at: float) -> None:
        Exception.__init__(self, circuit, at)
        self.circuit = circuit
        self.delay = datetime.fromtimestamp(at, timezone.utc)
        self.reason = f"circuit {circuit!r} is open"
        self.seen_to = False

    @property
    def retry_after(self) -> float:
        """Seconds from now on, 0 or more."""
        return self.until(now := time.time()) - now

    def __str__(self) -> str:
        return (
            f"circuit {self.circuit!r} is open, so nothing was called; put off {shown(self.delay)}. "
            "`celery -A <app> circuits list` shows its state"
        )


Entered = tuple[tuple[str, Entry | None], ...]

#: The circuits that were entered by what runs here, the innermost last; a second entry of one is part of the first.
_ENTERED: ContextVar[Entered] = ContextVar("celeriac_entered", default=())


class Guard:
    """``with app.circuit("gateway"):`` counts how the block ends, or raises ``CircuitOpen`` before it."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker

    def __enter__(self) -> None:
        entered = _ENTERED.get()
        self._note(entered, None if self._is_among(entered) else self._let_in(self._breaker.enter()))

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        entry = self._forget()
        if entry is not None:
            self._breaker.leave(entry, error)

    async def __aenter__(self) -> None:
        entered = _ENTERED.get()
        entry = None if self._is_among(entered) else self._let_in(await asyncio.to_thread(self._breaker.enter))
        self._note(entered, entry)

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        entry = self._forget()
        if entry is not None:
            await asyncio.to_thread(self._breaker.leave, entry, error)

    def _is_among(self, entered: Entered) -> bool:
        # The outermost, as nearly every one is, is among none.
        return bool(entered) and any(name == self._breaker.circuit.name for name, _ in entered)

    def _let_in(self, answer: Entry | float) -> Entry:
        if isinstance(answer, Entry):
            return answer
        raise CircuitOpen(self._breaker.circuit.name, answer)

    def _note(self, entered: Entered, entry: Entry | None) -> None:
        _ENTERED.set((*entered, (self._breaker.circuit.name, entry)))

    @staticmethod
    def _forget() -> Entry | None:
        entered = _ENTERED.get()
        _ENTERED.set(entered[:-1])
        return entered[-1][1]


@dataclass(frozen=True, slots=True)
class CircuitStatus:
    """One circuit, for people; moments are seconds since the epoch.

    ``until`` is when an open one lets probes through (None: when it is closed by hand), ``succeeded`` and ``failed`` are
    the calls in its window, ``kept_back`` how often one was put off since it is open.
    """

    name: str
    state: str
    since: float | None
    until: float | None
    succeeded: int
    failed: int
    kept_back: int
    by: str | None
    note: str | None
    declared: Circuit | None


class Circuits:
    """The circuits of an app: ``app.circuits``."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._known: dict[str, Circuit] = {}
        self._breakers: dict[str, Breaker] = {}
        self._here = Here()
        self._warned = False

    # -- declaring

    def declare(self, task: str, option: object) -> tuple[Circuit, ...]:
        """Take up what a task says in ``circuits=``.

        Raises:
            OptionError: it cannot be meant.
        """
        found = declared(task, option, self._known)
        self._known.update((one.name, one) for one in found)
        return found

    def guard(self, circuit: Circuit | str) -> Guard:
        """As ``app.circuit``."""
        return Guard(self.breaker(circuit))

    def breaker(self, circuit: Circuit | str) -> Breaker:
        """This process's breaker; made when it is first asked for.

        Raises:
            CircuitError: nothing is known under this name, or something else.
        """
        name = circuit if isinstance(circuit, str) else circuit.name
        breaker = self._breakers.get(name)
        # Each task asks twice, nearly always with the very value that is known: two are compared field by field.
        if breaker is not None and (circuit is name or circuit is breaker.circuit or circuit == breaker.circuit):
            return breaker
        return self._made(name, self._found(circuit))

    def _made(self, name: str, circuit: Circuit) -> Breaker:
        self._warn_of_no_ledger(name)
        return self._breakers.setdefault(name, Breaker(circuit, self._store))

    def _found(self, circuit: Circuit | str) -> Circuit:
        if isinstance(circuit, str):
            return self._of_name(circuit)
        known = self._known.setdefault(circuit.name, circuit)
        if known != circuit:
            raise CircuitError(circuit.name, f"elsewhere it is {known}, and here {circuit}; name one value in both")
        return known

    def _of_name(self, name: str) -> Circuit:
        if name not in self._known:
            self._app.finalize()  # tasks that nobody has used yet are not bound
        if name not in self._known:
            near = get_close_matches(name, self._known, 1)
            meant = (
                f"did you mean {near[0]!r}?"
                if near
                else 'declare it: circuits=[Circuit("…")] of a task, or give the Circuit itself'
            )
            raise CircuitError(name, f"no task of this app that is known here declares it; {meant}")
        return self._known[name]

    def _store(self) -> Any:
        return self._app.store if self._app.has_ledger else self._here

    def _warn_of_no_ledger(self, name: str) -> None:
        if self._warned or self._app.has_ledger:
            return
        self._warned = True
        warnings.warn(
            f"circuit {name!r}: nothing beside this broker keeps what the workers know of it, so each process has a circuit of "
            'its own. Name a ledger (ledger="postgresql://…"), or use a broker of celeriac\'s own (sqlite:///…)',
            CeleriacWarning,
            stacklevel=4,
        )

    def sync(self) -> None:
        """Tell and ask the store of every circuit now, however long ago that was done."""
        for breaker in list(self._breakers.values()):
            breaker.sync()

    def finish(self) -> None:
        """Tell what was counted: this process ends, or has used them for the last time."""
        for breaker in list(self._breakers.values()):
            breaker.finish()

    def forget(self) -> None:
        """Know nothing of their states, as in a new process."""
        self._here = Here()
        for breaker in list(self._breakers.values()):
            breaker.reset()

    # -- for people

    def list(self) -> list[CircuitStatus]:
        """Every circuit that a task declares, or the store has a state of, by name."""
        self._app.finalize()
        known = self._store().all_circuits()
        return [self._status(name, known.get(name)) for name in sorted({*known, *self._known})]

    def _status(self, name: str, text: str | None) -> CircuitStatus:
        state, known = circuits.load(text), self._known.get(name)
        slices = circuits.recent(known, state, self._store().now()) if known else state.slices
        succeeded, failed = circuits.totals(slices)
        return CircuitStatus(
            name,
            state.phase.value,
            state.since or None,
            state.until,
            succeeded,
            failed,
            state.waiting,
            state.by,
            state.note,
            known,
        )

    def open(self, name: str, seconds: float | None = None, *, by: str | None = None, note: str | None = None) -> None:
        """Keep everything back for so many seconds, or until it is closed by hand.

        Raises:
            CircuitError: nothing is known under this name.
            StoreError: it cannot be written.
        """
        breaker = self._by_hand(name)
        if seconds is not None and not 0 < seconds <= LONGEST:
            raise CircuitError(
                name, f"it cannot be opened for {seconds!r} seconds: over 0, and up to a week; or without a time"
            )
        breaker.change(
            lambda state, now: circuits.opened(
                breaker.circuit, state, now, seconds=seconds, by_hand=True, by=by, note=note
            )
        )

    def close(self, name: str, *, by: str | None = None, note: str | None = None) -> None:
        """Let everything through, and count anew; what was put off already comes back in its time.

        Raises:
            CircuitError: nothing is known under this name.
            StoreError: it cannot be written.
        """
        self._by_hand(name).change(lambda state, now: circuits.closed(state, now, by=by, note=note))

    def reset(self, name: str) -> bool:
        """Forget all that is known of it, as of a circuit whose name is no longer used; false where nothing was.

        Raises:
            StoreError: it cannot be written.
        """
        return bool(self._store().forget_circuit(name))

    def _by_hand(self, name: str) -> Breaker:
        try:
            return self.breaker(name)
        except CircuitError:
            if self._store().read_circuit(name)[1] is None:
                raise
            return Breaker(Circuit(name), self._store)  # declared elsewhere, or no longer


class Here:
    """Where no store keeps the states of circuits: this process does."""

    now = staticmethod(time.time)

    def __init__(self) -> None:
        self._states: dict[str, tuple[int, str]] = {}
        self._lock = threading.Lock()

    def read_circuit(self, name: str) -> tuple[int, str | None]:
        return self._states.get(name, (0, None))

    def write_circuit(self, name: str, version: int, state: str) -> bool:
        with self._lock:
            if self.read_circuit(name)[0] != version:
                return False
            self._states[name] = version + 1, state
            return True

    def forget_circuit(self, name: str) -> bool:
        with self._lock:
            return self._states.pop(name, None) is not None

    def all_circuits(self) -> dict[str, str]:
        return {name: text for name, (_, text) in self._states.items()}


def guarding(task: Any) -> AbstractContextManager[object]:
    """The body of a task within all circuits that it declares; entered, it raises ``CircuitOpen`` where one of them is open."""
    guards: list[Guard] = [task.app.circuits.guard(circuit) for circuit in task.declared_circuits]
    return guards[0] if len(guards) == 1 else _within_all(guards)


@contextmanager
def _within_all(guards: Sequence[Guard]) -> Iterator[None]:
    with ExitStack() as stack:
        for guard in guards:
            stack.enter_context(guard)
        yield


def kept_back(task: Any) -> float | None:
    """Until when a task is put off, where one of its circuits is known to be open, before anything of it is begun."""
    for circuit in task.declared_circuits:
        until: float | None = task.app.circuits.breaker(circuit).look()
        if until is not None:
            return until
    return None
