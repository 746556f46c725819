"""From plain data to Celery's signatures."""

from __future__ import annotations

import operator
from functools import reduce
from typing import Any

from celery import chain, chord, group

from tests.integration.canvases.plan import Canvas, Chain, Chord, Group, Mapped, Step


class Builder:
    """Makes signatures of an app's tasks, which note in `journal` that they ran."""

    def __init__(self, app: Any, journal: str) -> None:
        self._tasks, self._journal = app.tasks, journal

    def build(self, canvas: Canvas) -> Any:
        if isinstance(canvas, Step):
            return self._step(canvas)
        if isinstance(canvas, Chain):
            steps = [self.build(step) for step in canvas.steps]
            return reduce(operator.or_, steps) if canvas.piped and len(steps) > 1 else chain(*steps)
        if isinstance(canvas, Group):
            if canvas.chunked:
                return self._chunked(canvas)
            return group(*map(self.build, canvas.members)) if canvas.members else group([])
        if isinstance(canvas, Chord):
            return chord([self.build(member) for member in canvas.header], self.build(canvas.body))
        return self._mapped(canvas)

    def _step(self, step: Step) -> Any:
        given: dict[str, Any] = {"node": step.node, "journal": self._journal}
        if step.how != "plain":
            given["how"] = step.how
        if step.by is not None:
            given["by"] = self.build(step.by)
        if step.in_any_order:
            given["in_any_order"] = True
        task = self._tasks["canvas_step"]
        built = task.si(**given) if step.immutable else task.s(**given)
        for link in step.links:
            built.link(self._step(link))
        for number in range(step.errbacks):
            built.link_error(self._tasks["canvas_error"].s(node=errback(step, number), journal=self._journal))
        return built

    def _mapped(self, mapped: Mapped) -> Any:
        if mapped.kind == "map":
            return self._tasks["canvas_item"].map([{"node": node, "journal": self._journal} for node in items(mapped)])
        return self._tasks["canvas_items"].starmap([(node, self._journal) for node in items(mapped)])

    def _chunked(self, group: Group) -> Any:
        members = [member for member in group.members if isinstance(member, Mapped)]
        pairs = [(node, self._journal) for member in members for node in items(member)]
        return self._tasks["canvas_items"].chunks(pairs, members[0].items).group()


def errback(step: Step, number: int) -> str:
    """The name of one of the step's error callbacks."""
    return f"{step.node}!{number}"


def items(mapped: Mapped) -> list[str]:
    return [f"{mapped.node}#{number}" for number in range(mapped.items)]
