"""What a worker's log says of circuits: once that one opens, and that it closes; what happens between is for who looks closer."""

from __future__ import annotations

import logging

from celeriac.core import circuits
from celeriac.core.circuit import Circuit
from celeriac.core.circuits import Phase, State

logger = logging.getLogger(__name__)


def tell_of_change(circuit: Circuit, known: State, state: State) -> None:
    """This process has opened, half-opened or closed it."""
    if by_hand := _by_hand(state):  # whoever does it by hand knows that he does
        _say(logging.INFO, circuit, state, by_hand)
    elif state.phase is Phase.HALF_OPEN:
        _say(logging.DEBUG, circuit, state, "")
    elif state.phase is Phase.CLOSED:
        _say(logging.WARNING, circuit, state, ": what it protects answers again")
    elif known.phase is Phase.CLOSED:
        why = f"too many of the calls within {circuit.window:g} s have failed"
        _say(
            logging.WARNING,
            circuit,
            state,
            f": {why}. Tasks that depend on it are put off, and it is probed in {circuit.open_for:g} s",
        )
    else:
        _say(logging.INFO, circuit, state, f" as before: a probe has failed, and the next is in {circuit.open_for:g} s")


def tell_of_news(circuit: Circuit, before: State, state: State) -> None:
    """Another process has, which has said so itself; or somebody by hand, which nobody has."""
    if state.phase is not before.phase:
        by_hand = _by_hand(state)
        _say(logging.INFO if by_hand else logging.DEBUG, circuit, state, by_hand)


def tell_of_difference(circuit: Circuit, theirs: str) -> None:
    """Another process declares it by other numbers."""
    logger.warning(
        "circuit %r: another process declares it with %s, and this one with %s. They share what they count, and each "
        "opens it by its own numbers; start all on the same code",
        circuit.name,
        *circuits.differences(theirs, circuit.numbers),
    )


def _say(level: int, circuit: Circuit, state: State, why: str) -> None:
    logger.log(level, "circuit %r is %s%s", circuit.name, state.phase.value, why)


def _by_hand(state: State) -> str:
    if not (state.by or state.note):
        return ""
    return f", by {state.by or 'hand'}{f': {state.note}' if state.note else ''}"
