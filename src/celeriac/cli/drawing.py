"""A workflow as lines of text: from the first task to the last, as far as a terminal's width goes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import click

from celeriac.cli.ages import ago
from celeriac.cli.progress import bar, counted
from celeriac.cli.text import cells, one_line, shorten
from celeriac.core.workflow_state import NodeState, Progress, State
from celeriac.workflow import WorkflowStatus
from celeriac.workflow.labels import Label, labels
from celeriac.workflow.layout import columns, is_plain
from celeriac.workflow.svg import said

COLOURS = {
    State.RUNNING: "blue",
    State.SUCCEEDED: "green",
    State.BLOCKED: "yellow",
    State.FAILED: "red",
    State.CANCELLED: "bright_black",
    State.LOST: "red",
}
_MARKS = {
    NodeState.SUCCEEDED: ("✓", "green"),
    NodeState.RUNNING: ("▶", "blue"),
    NodeState.FAILED: ("✗", "red"),
    NodeState.BLOCKED: ("‖", "yellow"),
    NodeState.SKIPPED: ("⊘", "bright_black"),
    NodeState.WAITING: ("•", None),
    NodeState.PLANNED: ("·", "bright_black"),
    NodeState.CANCELLED: ("⊘", "bright_black"),
}
#: Numbers of others that a line has room for, and cells that a name has at least.
_NAMED, _LEAST = 3, 12
#: Cells of the bar of a task that says how far it is.
_BAR = 10


def drawn(status: WorkflowStatus, room: int | None) -> list[str]:
    """A workflow as lines: one after the other what runs after one another, side by side what does not."""
    workflow = status.workflow
    colour = COLOURS[status.state]
    done = f"{status.done:,} of {status.size:,} done"
    name = one_line(status.name)
    if room is not None:
        name = shorten(name, max(room - len(status.state.value) - len(done) - 4, 12))
    head = f"{name}  {click.style(status.state.value, fg=colour)}  {done}"
    sent = f"{workflow.id}, sent {ago(time.time() - workflow.sent_at)}"
    if workflow.parent:
        sent += f" by task {workflow.parent}"
    lines = [head, click.style(sent, fg="bright_black"), ""]
    nodes = [one.node for one in status.nodes]
    numbered, named = {place for place, _ in _pointed_at(status)}, labels(nodes)
    before: list[int] = []
    for number, column in enumerate(columns(nodes)):
        if number:
            lines.append("│")
        plain = is_plain(nodes, before, column)
        lines += [
            _line(status, place, named[place], numbered, alone=len(column) == 1, plain=plain, room=room)
            for place in column
        ]
        before = column
    if workflow.cancelled_at is not None:
        lines += [
            "",
            f"Cancelled {ago(time.time() - workflow.cancelled_at)} by {one_line(workflow.cancelled_by or '?')}.",
        ]
    elif status.state is State.LOST:
        lines += ["", "Nothing of it waits or runs any more: what was to come was purged, or never sent. Send it anew."]
    return lines


def _pointed_at(status: WorkflowStatus) -> list[tuple[int, int]]:
    """Who waits for whom where the columns do not say it."""
    nodes = [one.node for one in status.nodes]
    found, before = [], []  # type: ignore[var-annotated]
    for column in columns(nodes):
        if not is_plain(nodes, before, column):
            found += [(other, place) for place in column for other in nodes[place].after]
        before = column
    return found


def _line(
    status: WorkflowStatus,
    place: int,
    label: Label,
    numbered: set[int],
    *,
    alone: bool,
    plain: bool,
    room: int | None,
) -> str:
    one = status.nodes[place]
    mark, colour = _MARKS[one.state]
    branch = "" if alone else "├─ "
    number = f"({place + 1}) " if place in numbered else ""
    label = replace(label, task=one_line(label.task), arguments=one_line(label.arguments))
    told = "  ".join(part for part in (_told(one), _far(one), "" if plain else _after(one.node.after)) if part)
    left = None
    if room is not None:
        space = room - cells(branch) - 4 - len(number)
        told = shorten(told, space - min(cells(str(label)), _LEAST))
        left = max(space - cells(told), _LEAST)
    name = label.fitting(lambda text: left is None or cells(text) <= left)
    line = f"{branch}{click.style(mark, fg=colour)} {number}{name}"
    return f"{line}  {click.style(told, fg='bright_black')}" if told else line


def _after(places: Sequence[int]) -> str:
    """For whom it waits: the first of them where they are many."""
    if not places:
        return ""
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED + 1 else ""
    return "after " + ", ".join(f"({place + 1})" for place in (places[:_NAMED] if more else places)) + more


def _far(one: Progress) -> str:
    """How far it says that it is: ``[#####     ]  50%  12,000 of 24,000  orders of May``."""
    return "" if one.reported is None else "  ".join([*bar(one.reported, _BAR), counted(one.reported)])


def _told(one: Progress) -> str:
    if one.dead_letter and one.node.size == 1:
        return f"dead letter, {one.node.id}"
    return said(one) if one.node.size > 1 or one.state is not NodeState.PLANNED else ""
