"""Plain Python does what the canvas says, by recursion: what Celery's workers must come to, too."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.integration.canvases.building import errback, items
from tests.integration.canvases.plan import (
    FAILED,
    NOTHING,
    Canvas,
    Chain,
    Chord,
    Group,
    Mapped,
    Step,
    everything,
    value_of,
)


class Evaluation:
    """Of one canvas: its value, and the nodes that run for it.

    Args:
        healed: what fails at first does so no more.
    """

    def __init__(self, canvas: Canvas, *, healed: bool = False, given: Any = NOTHING) -> None:
        #: How often each node runs to its end, when nothing dies.
        self.runs: Counter[str] = Counter()
        #: Error callbacks of what follows a failure, which may be called or not.
        self.perhaps: set[str] = set()
        self._healed = healed
        if isinstance(canvas, Group):
            members = flattened(canvas.members)
            self.value = [self._of(member, given) for member in members]
            if len(members) == 1 and ends_in_a_group(members[0]):  # Celery gives the group within
                (self.value,) = self.value
        else:
            self.value = self._of(canvas, given)

    def _of(self, canvas: Canvas, given: Any) -> Any:
        if isinstance(canvas, Step):
            return self._step(canvas, given)
        if isinstance(canvas, Chain):
            return self._chain(canvas, given)
        if isinstance(canvas, Group):
            return [self._of(member, given) for member in flattened(canvas.members)]
        if isinstance(canvas, Chord):
            return self._chord(canvas, given)
        return self._mapped(canvas)

    def _step(self, step: Step, given: Any) -> Any:
        inputs = [] if step.immutable or given is NOTHING else [given]
        self.runs[step.node] += 2 if step.how == "retry" else 1
        if step.how == "fail" and not self._healed:
            self.runs.update(errback(step, number) for number in range(step.errbacks))
            return FAILED
        if step.how == "replace":
            assert step.by is not None
            value = self._of(step.by, NOTHING)
            if has_failed(value):
                self._skip(step)
                return FAILED
        else:
            value = value_of(step.node, inputs, in_any_order=step.in_any_order)
        for link in step.links:
            self._step(link, value)
        return value

    def _chain(self, chain: Chain, given: Any) -> Any:
        value, steps = given, spliced(chain)
        for number, step in enumerate(steps):
            value = self._of(step, value)
            if has_failed(value):
                for later in steps[number + 1 :]:
                    self._skip(later)
                return FAILED if number + 1 < len(steps) else value
        return [] if value is NOTHING else value

    def _chord(self, chord: Chord, given: Any) -> Any:
        values = []
        for member in flattened(chord.header):
            values.append(self._of(member, given))
            if isinstance(member, Step) and member.how == "grow":
                assert member.by is not None
                values.append(self._of(member.by, NOTHING))
        if has_failed(values):
            self._skip(chord.body)
            return FAILED
        return self._of(chord.body, values)

    def _skip(self, canvas: Canvas) -> None:
        for step in everything(canvas):
            if isinstance(step, Step):
                self.perhaps.update(errback(step, number) for number in range(step.errbacks))

    def _mapped(self, mapped: Mapped) -> Any:
        nodes = items(mapped)
        self.runs.update(nodes)
        return [value_of(node, []) for node in nodes]


def has_failed(value: Any) -> bool:
    return value is FAILED or (isinstance(value, list) and any(map(has_failed, value)))


def ends_in_a_group(canvas: Canvas) -> bool:
    if isinstance(canvas, Chain):
        return ends_in_a_group(spliced(canvas)[-1])
    if isinstance(canvas, Chord):
        return ends_in_a_group(canvas.body)
    return isinstance(canvas, Group)


def flattened(members: list[Canvas]) -> list[Canvas]:
    """Groups in a group are its own members."""
    found: list[Canvas] = []
    for member in members:
        found += flattened(member.members) if isinstance(member, Group) else [member]
    return found


def spliced(chain: Chain) -> list[Canvas]:
    """Chains in a chain are its own steps, and a group of none is no step."""
    found: list[Canvas] = []
    for step in chain.steps:
        if isinstance(step, Chain):
            found += spliced(step)
        elif not (isinstance(step, Group) and not flattened(step.members)):
            found.append(step)
    return found
