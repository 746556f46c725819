"""``celery -A app workflow``: the canvases that were sent, as things."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from celeriac.cli.ages import ago, iso, lasting
from celeriac.cli.group import Group, app_of
from celeriac.cli.screen import echo, plural, to_json, width
from celeriac.cli.text import Column, cells, one_line, shorten, table
from celeriac.core.text import app_option
from celeriac.core.workflow_state import NodeState, Progress, State
from celeriac.workflow import Workflows, WorkflowStatus
from celeriac.workflow.layout import columns, is_plain
from celeriac.workflow.room import UnknownWorkflow, WorkflowCancelled
from celeriac.workflow.svg import said, svg

_COLOURS = {
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
    NodeState.BLOCKED: ("⏸", "yellow"),
    NodeState.WAITING: ("•", None),
    NodeState.PLANNED: ("·", "bright_black"),
    NodeState.CANCELLED: ("⊘", "bright_black"),
}
#: Numbers of others that a line has room for.
_NAMED = 3
_COLUMNS = (
    Column("WORKFLOW", least=13),
    Column("NAME", least=12),
    Column("STATE", style=lambda text: click.style(text, fg=_COLOURS.get(State(text.strip())))),
    Column("DONE", right=True),
    Column("SENT"),
    Column("TOOK", right=True),
)

id_argument = click.argument("workflow_id", metavar="WORKFLOW")


@click.group(cls=Group, short_help="Look at workflows (chains, groups, chords); resume and cancel them.")
def workflow() -> None:
    """Workflows: chains, groups and chords, from the moment they are sent.

    WORKFLOW is the id of one, or of any task of it.
    """


def _workflows(context: click.Context) -> Workflows:
    app = app_of(context)
    if not app.keeps_workflows:
        raise click.UsageError(
            f'The broker of {app.main or "?"} keeps no workflows; name a ledger beside it, ledger="postgresql://…"'
        )
    found: Workflows = app.workflows
    return found


def _get(context: click.Context, workflow_id: str) -> WorkflowStatus:
    try:
        return _workflows(context).get(workflow_id)
    except UnknownWorkflow as error:
        raise click.UsageError(str(error)) from error


@workflow.command("list")
@click.option("--state", type=click.Choice([state.value for state in State]), help="Only those in this state.")
@click.option("--newest", default=20, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
@click.pass_context
def list_(context: click.Context, state: str | None, newest: int, as_json: bool) -> None:
    """List workflows, the newest first."""
    found = _workflows(context).list(newest=newest, state=state)
    if as_json:
        echo(to_json([_document(one) for one in found]))
    elif found:
        echo("\n".join(table(_COLUMNS, [_row(one) for one in found], width())))
    else:
        echo("There are none." if state is None else f"None is {state}.")


@workflow.command(short_help="Show its parts, and what has become of each.")
@id_argument
@click.option("--svg", "picture", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture to this file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
@click.pass_context
def show(context: click.Context, workflow_id: str, picture: Path | None, as_json: bool) -> None:
    """Show what a workflow consists of, and what has become of each part."""
    found = _get(context, workflow_id)
    if picture is not None:
        try:
            picture.write_text(svg(found), encoding="utf-8")
        except OSError as error:
            raise click.UsageError(f"The picture cannot be written to {picture}: {error.strerror}.") from error
        echo(f"The picture is in {picture}.")
    elif as_json:
        echo(to_json({**_document(found), "nodes": [_node_document(one) for one in found.nodes]}))
    else:
        echo("\n".join(drawn(found, width(), app_option(app_of(context).main))))


@workflow.command(short_help="Redrive its dead letters, so that the rest goes on.")
@id_argument
@click.option("--note", help="Why, for the log of the desk.")
@click.pass_context
def resume(context: click.Context, workflow_id: str, note: str | None) -> None:
    """Redrive the dead letters of a workflow, so that what waits for them goes on."""
    found = _get(context, workflow_id)
    try:
        done = _workflows(context).resume(found.id, note=note)
    except WorkflowCancelled as error:
        raise click.UsageError(str(error)) from error
    for refusal in done.refused:
        echo(f"Not redriven: {one_line(str(refusal.error))}", err=True)
    if not done.done and not done.refused:
        echo(f"{one_line(found.name)} has no dead letters; it is {found.state.value}.")
        return
    echo(f"{plural(done.done)} of {one_line(found.name)} redriven; what waits for them goes on when they succeed.")
    if done.refused:
        context.exit(1)


@workflow.command()
@id_argument
@click.option("--let-run", is_flag=True, help="Leave what runs now to end by itself.")
@click.pass_context
def cancel(context: click.Context, workflow_id: str, let_run: bool) -> None:
    """Have none of its tasks begin any more, and stop those that run."""
    before = _get(context, workflow_id)
    after = _workflows(context).cancel(before.id, terminate=not let_run)
    echo(f"{one_line(after.name)} is cancelled; {after.done:,} of {plural(after.size, 'task')} had been done.")


def _row(one: WorkflowStatus) -> list[str]:
    end = one.finished_at
    return [
        one.id,
        one_line(one.name),
        one.state.value,
        f"{one.done:,} of {one.size:,}",
        ago(time.time() - one.workflow.sent_at),
        "" if end is None else lasting(end - one.workflow.sent_at),
    ]


def drawn(status: WorkflowStatus, room: int | None, app: str) -> list[str]:
    """A workflow as lines: one after the other what runs after one another, side by side what does not."""
    workflow = status.workflow
    colour = _COLOURS[status.state]
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
    numbered = {place for place, _ in _pointed_at(status)}
    before: list[int] = []
    for number, column in enumerate(columns(nodes)):
        if number:
            lines.append("│")
        plain = is_plain(nodes, before, column)
        lines += [_line(status, place, numbered, alone=len(column) == 1, plain=plain, room=room) for place in column]
        before = column
    if workflow.cancelled_at is not None:
        lines += [
            "",
            f"Cancelled {ago(time.time() - workflow.cancelled_at)} by {one_line(workflow.cancelled_by or '?')}.",
        ]
    elif status.state is State.LOST:
        lines += ["", "Nothing of it waits or runs any more: what was to come was purged, or never sent. Send it anew."]
    elif status.state is State.BLOCKED:
        lines += ["", f"`celery -A {app} workflow resume {workflow.id}` redrives what gave up."]
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


def _line(status: WorkflowStatus, place: int, numbered: set[int], *, alone: bool, plain: bool, room: int | None) -> str:
    one = status.nodes[place]
    mark, colour = _MARKS[one.state]
    branch = "" if alone else "├─ "
    number = f"({place + 1}) " if place in numbered else ""
    name = one_line(one.node.task) if one.node.size == 1 else f"{one.node.size:,} × {one_line(one.node.task)}"
    text = f"{number}{name}"
    told = "  ".join(part for part in (_told(one), "" if plain else _after(one.node.after)) if part)
    if room is not None:
        text = shorten(text, max(room - cells(branch) - 4 - cells(told), 12), keep_end=True)
    line = f"{branch}{click.style(mark, fg=colour)} {text}"
    return f"{line}  {click.style(told, fg='bright_black')}" if told else line


def _after(places: Sequence[int]) -> str:
    """For whom it waits: the first of them where they are many."""
    if not places:
        return ""
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED + 1 else ""
    return "after " + ", ".join(f"({place + 1})" for place in (places[:_NAMED] if more else places)) + more


def _told(one: Progress) -> str:
    if one.dead_letter and one.node.size == 1:
        return f"dead letter, {one.node.id}"
    return said(one) if one.node.size > 1 or one.state is not NodeState.PLANNED else ""


def _document(one: WorkflowStatus) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "state": one.state.value,
        "on_failure": one.workflow.on_failure,
        "parent": one.workflow.parent,
        "done": one.done,
        "size": one.size,
        "sent_at": iso(one.workflow.sent_at),
        "finished_at": iso(one.finished_at),
        "cancelled_at": iso(one.workflow.cancelled_at),
        "cancelled_by": one.workflow.cancelled_by,
    }


def _node_document(one: Progress) -> dict[str, Any]:
    return {
        "id": one.node.id,
        "task": one.node.task,
        "size": one.node.size,
        "after": one.node.after,
        "state": one.state.value,
        "succeeded": one.succeeded,
        "failed": one.failed,
        "cancelled": one.cancelled,
        "running": one.running,
        "dead_letter": one.dead_letter,
        "started_at": iso(one.started_at),
        "finished_at": iso(one.finished_at),
    }
