"""Circuit breakers: when one opens, whom it lets through, and when it closes. Pure decisions on one value.

What all processes know of a circuit is a `State`, which each reads, has changed by the functions here, and writes where
nobody was faster. Times are seconds since the epoch, of the store's clock.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum

from celeriac.core.retries import Predicate, any_exception
from celeriac.errors import OptionError

OPTION = "circuits"
#: Slices of the window: the oldest is forgotten as a whole.
SLICES = 10
#: Tasks a second that come back to a circuit which was open, at least; more, where it saw more before it opened.
PACE = 100.0
#: Seconds that somebody who is not let through waits for those who probe, at most.
ASK_AGAIN = 5.0
#: Seconds by which clocks may differ before a state of the future is one of a clock that was put back.
_AHEAD = 60.0
#: Seconds of any of its times, at most.
LONGEST = 7 * 86_400.0
_MOST_CIRCUITS = 8


@dataclass(frozen=True, slots=True)
class Circuit:
    """A circuit breaker for one thing that tasks depend on, with one state for all workers.

    It opens when, of the calls that ended within the last `window` seconds, `minimum` or more, a share of `failures` (0
    to 1) or more has failed. After `open_for` seconds it lets `probes` calls through: when all of them succeed it closes,
    when one fails it is open again. A probe that was not heard of for `open_for` seconds makes room for another. `on`
    says which errors are failures of the thing, and not of the caller: exception types, or a function of the error;
    every `Exception` by default. Raises ValueError or TypeError for what cannot be meant.
    """

    name: str
    failures: float = 0.5
    window: float = 60.0
    minimum: int = 10
    open_for: float = 30.0
    probes: int = 1
    on: Predicate | type[BaseException] | tuple[type[BaseException], ...] = any_exception

    def __post_init__(self) -> None:
        name: object = self.name
        if not (isinstance(name, str) and name.strip() and name.isprintable()):
            raise ValueError(f"Circuit({self.name!r}): a printable name that is not empty, as of what it protects")
        if not (_is_number(self.failures) and 0 < self.failures <= 1):
            raise self._refused("failures", "a share of the calls, over 0 and up to 1; 0.5 is every second one")
        for option in ("window", "open_for"):
            value = getattr(self, option)
            if not (_is_number(value) and 0 < value <= LONGEST):
                raise self._refused(option, "seconds, over 0 and up to a week")
        for option in ("minimum", "probes"):
            if not _is_count(getattr(self, option)):
                raise self._refused(option, "a whole number from 1")
        kinds = self.on if isinstance(self.on, tuple) else (self.on,)
        typed = all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds)
        if not kinds or not (typed or (callable(self.on) and not isinstance(self.on, type))):
            raise TypeError(
                f"Circuit({self.name!r}, on={self.on!r}): exception types, or a function of the error that returns a bool"
            )

    def _refused(self, option: str, meant: str) -> ValueError:
        return ValueError(f"Circuit({self.name!r}, {option}={getattr(self, option)!r}): {meant}")

    def counts(self, error: BaseException) -> bool:
        """Whether this error is a failure of what the circuit protects."""
        on = self.on
        return isinstance(error, on) if isinstance(on, (type, tuple)) else bool(on(error))

    @property
    def width(self) -> float:
        """Seconds of a slice of the window."""
        return self.window / SLICES


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def declared(task: str, option: object, known: Mapping[str, Circuit]) -> tuple[Circuit, ...]:
    """The circuits that a task's ``circuits=`` stands for; ``known`` are those of the app's other tasks, by name.

    Raises:
        OptionError: it is no list of circuits, or one of them contradicts another of its name.
    """
    given = (option,) if isinstance(option, Circuit) else option
    if not isinstance(given, (list, tuple)) or not all(isinstance(one, Circuit) for one in given):
        raise OptionError(task, OPTION, f'{option!r} is no list of Circuit("name", …)')
    if len(given) > _MOST_CIRCUITS:
        raise OptionError(task, OPTION, f"{len(given)} circuits are too many; {_MOST_CIRCUITS} can be combined")
    names = [one.name for one in given]
    for one in given:
        if names.count(one.name) > 1:
            raise OptionError(task, OPTION, f"two circuits have the name {one.name!r}; leave one of them out")
        if known.get(one.name, one) != one:
            problem = (
                f"elsewhere {one.name!r} is {known[one.name]}, and here {one}; make it one value, and name that in both"
            )
            raise OptionError(task, OPTION, problem)
    return tuple(given)


class Phase(Enum):
    """What a circuit does with a call."""

    CLOSED = "closed"  # lets it through, and counts how it ends
    OPEN = "open"  # keeps it back
    HALF_OPEN = "half-open"  # lets a few through


@dataclass(frozen=True, slots=True)
class Slice:
    """How the calls ended that ended in one slice of time."""

    number: int
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to probe, of one who is not heard of any more after `expires`."""

    holder: str
    expires: float


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a circuit."""

    phase: Phase = Phase.CLOSED
    since: float = 0.0
    #: When an open one lets probes through; None: not before somebody closes it by hand.
    until: float | None = None
    #: One more with every change of phase: what was counted in another round says nothing of this one.
    round: int = 0
    #: Seconds of a slice.
    width: float = 0.0
    slices: tuple[Slice, ...] = ()
    permits: tuple[Permit, ...] = ()
    #: Probes that have succeeded since it is half-open.
    passed: int = 0
    #: How many were kept back since it is open, and how many a second come back.
    waiting: int = 0
    pace: float = PACE
    #: Who opened or closed it by hand, and why.
    by: str | None = None
    note: str | None = None


NEW = State()


def dump(state: State) -> str:
    """The state as a text."""
    fields = asdict(state)
    fields["phase"] = state.phase.value
    fields["slices"] = [[one.number, one.succeeded, one.failed] for one in state.slices]
    fields["permits"] = [[one.holder, one.expires] for one in state.permits]
    return json.dumps(fields, separators=(",", ":"))


def load(text: str | None) -> State:
    """What `dump` made; a new state where there is none. What a newer celeriac adds is left out."""
    if text is None:
        return NEW
    fields = {name: value for name, value in json.loads(text).items() if name in State.__dataclass_fields__}
    fields["phase"] = Phase(fields["phase"])
    fields["slices"] = tuple(Slice(*one) for one in fields["slices"])
    fields["permits"] = tuple(Permit(*one) for one in fields["permits"])
    return State(**fields)


# -- counting


def slice_of(circuit: Circuit, now: float) -> int:
    """The number of the slice in which `now` is."""
    return int(now // circuit.width)


def counted(circuit: Circuit, state: State, ended: Iterable[Slice], kept_back: int, now: float) -> State:
    """The state after calls have ended, which opens it where too many have failed; and after some were kept back."""
    state = in_time(circuit, state, now)
    if state.phase is not Phase.CLOSED:
        return replace(state, waiting=state.waiting + kept_back) if kept_back else state
    state = replace(state, slices=_merged(circuit, state, ended, now), width=circuit.width)
    return opened(circuit, state, now) if is_failing(circuit, state.slices) else state


def _merged(circuit: Circuit, state: State, ended: Iterable[Slice], now: float) -> tuple[Slice, ...]:
    last = slice_of(circuit, now)
    # A slice in which it closed is this round's, as a whole: who counts forgets what was before.
    first = max(last - SLICES, slice_of(circuit, state.since))
    sums: dict[int, tuple[int, int]] = {}
    # Slices of another width are of another declaration.
    for one in (*(state.slices if state.width == circuit.width else ()), *ended):
        if first <= one.number <= last + 1:
            succeeded, failed = sums.get(one.number, (0, 0))
            sums[one.number] = succeeded + one.succeeded, failed + one.failed
    return tuple(Slice(number, *sums[number]) for number in sorted(sums))


def recent(circuit: Circuit, state: State, now: float) -> tuple[Slice, ...]:
    """The slices that are in the window now."""
    return _merged(circuit, state, (), now)


def is_failing(circuit: Circuit, slices: Iterable[Slice]) -> bool:
    """Whether so many of the calls have failed that it is to open."""
    succeeded, failed = totals(slices)
    calls = succeeded + failed
    return calls >= circuit.minimum and failed > 0 and failed >= circuit.failures * calls


def totals(slices: Iterable[Slice]) -> tuple[int, int]:
    """How many have succeeded, and how many have failed."""
    known = tuple(slices)
    return sum(one.succeeded for one in known), sum(one.failed for one in known)


# -- letting through


@dataclass(frozen=True, slots=True)
class Through:
    """The call may go on; with a `permit` it is a probe."""

    permit: Permit | None = None


@dataclass(frozen=True, slots=True)
class KeptBack:
    """The call is not made; whoever comes back then, finds it closed or may probe."""

    until: float


Answer = Through | KeptBack


def asked(circuit: Circuit, state: State, holder: str, now: float, rng: Callable[[], float]) -> tuple[State, Answer]:
    """Whether a call may go on, and what is known then; `rng` returns a float in [0, 1).

    Who is kept back comes back when it half-opens, behind those who wait already: so many a second as it was used to.
    """
    state = in_time(circuit, state, now)
    if state.phase is Phase.CLOSED:
        return state, Through()
    if state.phase is Phase.OPEN and state.until is not None and now >= state.until:
        state = _changed(state, Phase.HALF_OPEN, now, waiting=state.waiting, pace=state.pace)
    if state.phase is Phase.HALF_OPEN:
        live = tuple(permit for permit in state.permits if permit.expires > now)
        if len(live) + state.passed < circuit.probes:
            permit = Permit(holder, now + circuit.open_for)
            return replace(state, permits=(*live, permit)), Through(permit)
    return replace(state, waiting=state.waiting + 1), KeptBack(_back_at(circuit, state, now, rng))


def _back_at(circuit: Circuit, state: State, now: float, rng: Callable[[], float]) -> float:
    soon = now + min(circuit.open_for, ASK_AGAIN)
    if state.phase is Phase.OPEN:
        # Closed by hand, it is found closed by whoever comes back in this time.
        soon = now + circuit.open_for if state.until is None else state.until
        return soon + state.waiting / state.pace + rng()
    return soon + rng() * max(1.0, soon - now)


def told(circuit: Circuit, state: State, permit: Permit, now: float, *, succeeded: bool | None) -> State:
    """The state after a probe has ended; `succeeded` is None where its end says nothing of what is protected."""
    state = in_time(circuit, state, now)
    if all(known.holder != permit.holder for known in state.permits):
        return state  # given to another meanwhile, or no longer wanted
    state = replace(state, permits=tuple(known for known in state.permits if known.holder != permit.holder))
    if succeeded is None:
        return state
    if not succeeded:
        return opened(circuit, state, now)
    state = replace(state, passed=state.passed + 1)
    return closed(state, now) if state.passed >= circuit.probes else state


# -- changing


def in_time(circuit: Circuit, state: State, now: float) -> State:
    """The state, of which nothing lies in a future that only a clock which was put back can show."""
    if state.since <= now + _AHEAD:
        return state
    until = state.until if state.until is None else now + circuit.open_for
    permits = tuple(replace(permit, expires=now + circuit.open_for) for permit in state.permits)
    return replace(state, since=now, until=until, permits=permits, slices=())


def opened(
    circuit: Circuit,
    state: State,
    now: float,
    *,
    seconds: float | None = None,
    by_hand: bool = False,
    by: str | None = None,
    note: str | None = None,
) -> State:
    """Open, for `circuit.open_for` seconds; by hand for so many, or until somebody closes it."""
    lasting = seconds if by_hand else circuit.open_for
    pace = max(PACE, sum(totals(state.slices)) / circuit.window, state.pace if state.phase is Phase.HALF_OPEN else 0.0)
    until = None if lasting is None else now + lasting
    return _changed(state, Phase.OPEN, now, until=until, pace=pace, by=by, note=note)


def closed(state: State, now: float, *, by: str | None = None, note: str | None = None) -> State:
    """Closed, and nothing counted."""
    return _changed(state, Phase.CLOSED, now, by=by, note=note)


def _changed(state: State, phase: Phase, now: float, **fields: object) -> State:
    return State(phase=phase, since=now, round=state.round + 1, **fields)  # type: ignore[arg-type]  # names of fields
