"""Circuit breakers: when one opens, whom it lets through, and when it closes. Pure decisions on one value.

What all processes know of a circuit is a `State`, which each reads, has changed by the functions here, and writes where
nobody was faster. Times are seconds since the epoch, of the store's clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from enum import Enum

from celeriac.core.circuit import SLICES, Circuit

#: Tasks a second that come back to a circuit which was open, at least; more, where it saw more before it opened.
PACE = 100.0
#: Seconds that somebody who is not let through waits for those who probe, at most.
ASK_AGAIN = 5.0
#: Seconds within which each process tells of the calls that have ended; and for which who has told of some is waited for.
TOLD, PATIENCE = 1.0, 1.5
#: Seconds by which clocks may differ before a state of the future is one of a clock that was put back.
_AHEAD = 60.0


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
    #: The processes whose calls have just succeeded, and when each told of that.
    succeeding: tuple[tuple[str, float], ...] = ()
    #: Since when too many have failed, as far as is known, and those are waited for who may know of more that succeeded.
    doubted: float | None = None
    #: By which numbers who told last opens it.
    numbers: str = ""
    permits: tuple[Permit, ...] = ()
    #: Probes that have succeeded since it is half-open.
    passed: int = 0
    #: How many were kept back since it is open, how many a second come back, and when the last of them does.
    waiting: int = 0
    pace: float = PACE
    back: float = 0.0
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
    fields["succeeding"] = tuple((name, at) for name, at in fields.get("succeeding", ()))
    return State(**fields)


# -- counting


def slice_of(circuit: Circuit, now: float) -> int:
    """The number of the slice in which `now` is."""
    return int(now // circuit.width)


def counted(
    circuit: Circuit, state: State, ended: Iterable[Slice], kept_back: int, now: float, teller: str = ""
) -> State:
    """The state after calls of a process have ended, which opens it where too many have failed; and after some were kept back."""
    state = in_time(circuit, state, now)
    if state.phase is not Phase.CLOSED:
        return _kept_back(circuit, state, kept_back, now) if kept_back else state
    told = tuple(ended)
    others = (one for one in state.succeeding if one[0] != teller and abs(now - one[1]) < PATIENCE)
    state = replace(
        state,
        slices=_merged(circuit, state, told, now),
        width=circuit.width,
        succeeding=(*others, *([(teller, now)] if any(one.succeeded for one in told) else ())),
        numbers=circuit.numbers,
    )
    return _judged(circuit, state, now)


def _judged(circuit: Circuit, state: State, now: float) -> State:
    """Failures are told at once and successes now and then: before it opens, whoever has just had some is heard once more."""
    if not is_failing(circuit, state.slices):
        return replace(state, doubted=None)
    since = now if state.doubted is None else min(state.doubted, now)
    if all(at >= since for _, at in state.succeeding):
        return opened(circuit, state, now)
    return replace(state, doubted=since)


def _merged(circuit: Circuit, state: State, ended: Iterable[Slice], now: float) -> tuple[Slice, ...]:
    last = slice_of(circuit, now)
    # A slice in which it closed is this round's, as a whole: who counts forgets what was before.
    first = max(last - SLICES, slice_of(circuit, state.since))
    sums: dict[int, tuple[int, int]] = {}
    for one in (*_as_wide(circuit, state, now), *ended):
        if first <= one.number <= last + 1:
            succeeded, failed = sums.get(one.number, (0, 0))
            sums[one.number] = succeeded + one.succeeded, failed + one.failed
    return tuple(Slice(number, *sums[number]) for number in sorted(sums))


def _as_wide(circuit: Circuit, state: State, now: float) -> Iterable[Slice]:
    """What was counted by processes that declare another window: each slice is where its middle is, or now."""
    if state.width == circuit.width:
        return state.slices
    begun = [one for one in state.slices if one.number * state.width <= now]
    return [replace(one, number=slice_of(circuit, min((one.number + 0.5) * state.width, now))) for one in begun]


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


def differences(theirs: str, mine: str) -> tuple[str, str]:
    """Of two texts of a circuit's `numbers` what is not the same."""
    pairs = [pair for pair in zip(theirs.split(", "), mine.split(", "), strict=False) if pair[0] != pair[1]]
    return ", ".join(one for one, _ in pairs), ", ".join(other for _, other in pairs)


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
    state = _kept_back(circuit, state, 1, now)
    if state.phase is Phase.OPEN:
        return state, KeptBack(state.back + rng())
    soon = min(circuit.open_for, ASK_AGAIN)
    return state, KeptBack(now + soon + rng() * max(1.0, soon))


def _kept_back(circuit: Circuit, state: State, count: int, now: float) -> State:
    """So many more wait: of an open one each behind the one before."""
    waiting = state.waiting + count
    if state.phase is not Phase.OPEN:
        return replace(state, waiting=waiting)
    # Whoever opened it by hand, for however long, may close it: who comes back in this time finds that out.
    soon = now + circuit.open_for
    first = soon if state.until is None else min(state.until, soon)
    back = max(first, state.back + 1 / state.pace) + (count - 1) / state.pace
    return replace(state, waiting=waiting, back=back)


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
    until = state.until if state.until is None else now + state.until - state.since
    permits = tuple(replace(permit, expires=now + circuit.open_for) for permit in state.permits)
    return replace(state, since=now, until=until, permits=permits, slices=(), back=0.0)


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
