"""``celery -A app progress``: how far a task is."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from celeriac.cli.ages import ago, iso, lasting
from celeriac.cli.group import Command, store_of
from celeriac.cli.screen import echo, to_json, width
from celeriac.cli.text import one_line, shorten
from celeriac.core.attempt import Record
from celeriac.core.checkpoint import Checkpoint, Progress, progress_of
from celeriac.core.text import app_option
from celeriac.store.protocols import Store

#: Seconds between looks; cells of the bar, at most.
LOOK, BAR = 1.0, 30
#: Erases what is left of a longer line that was there.
_ERASE = "\x1b[K"


@click.command(cls=Command, short_help="Show how far a task is, and follow it to its end.")
@click.argument("task_id")
@click.option("--follow", is_flag=True, help="Show it on until the task has ended.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text; with --follow one a line.")
@click.pass_context
def progress(context: click.Context, task_id: str, follow: bool, as_json: bool) -> None:
    """Show how far a task says that it is, by `self.progress()` or `self.iterate()`.

    The exit status is 1 where nothing is known of the task; with --follow also where it has failed.
    """
    store = store_of(context)
    record, found = _look(store, task_id)
    if record is None and found is None:
        raise _unknown(context, store, task_id)
    seen: Any = None
    began = (time.monotonic(), found.done if found else 0.0)
    while follow and not (record is not None and record.closed):
        if (record and record.state, found) != seen:
            seen = (record and record.state, found)
            _show(store, task_id, record, found, as_json=as_json, left=_left(began, found), last=False)
        time.sleep(LOOK)
        record, found = _look(store, task_id)
    _show(store, task_id, record, found, as_json=as_json, left=None, last=True)
    if follow and record is not None and record.state != "SUCCESS":
        context.exit(1)


def _unknown(context: click.Context, store: Store, task_id: str) -> click.ClickException:
    if store.workflow(task_id) is None:
        return click.ClickException(f"Nothing is known of task {one_line(task_id)}: never sent here, or pruned since")
    option = app_option(context.obj.app.main)
    return click.ClickException(
        f"{task_id} is a workflow and no task: `celery -A {option} workflow show {task_id}` shows how far each of its tasks is"
    )


def _look(store: Store, task_id: str) -> tuple[Record | None, Checkpoint | None]:
    return store.records([task_id]).get(task_id), store.checkpoints([task_id]).get(task_id)


def _left(began: tuple[float, float], found: Checkpoint | None) -> float | None:
    """Seconds until it is done, at the pace since this command began to look."""
    if found is None or not found.total or found.done <= began[1]:
        return None
    pace = (found.done - began[1]) / max(time.monotonic() - began[0], 0.001)
    return max(0.0, found.total - found.done) / pace


def _show(
    store: Store,
    task_id: str,
    record: Record | None,
    found: Checkpoint | None,
    *,
    as_json: bool,
    left: float | None,
    last: bool,
) -> None:
    if as_json:
        echo(to_json(_data(task_id, record, found)))
        return
    line = told(record, progress_of(found), store.now(), left)
    if not sys.stdout.isatty():
        echo(line)
        return
    click.echo(f"\r{line if last else within(line, width())}{_ERASE}", nl=last, color=None)


def within(line: str, room: int | None) -> str:
    """What a line that moves has room for: of one that is longer than the terminal is wide only a part would be written over."""
    return line if room is None else shorten(line, room - 1)


def told(record: Record | None, found: Progress | None, now: float, left: float | None = None) -> str:
    """One line for people: ``STARTED  [#####     ]  50%  12,000 of 24,000  orders of May  (2s ago)``."""
    state = record.state if record is not None else "UNKNOWN"
    if found is None:
        return f"{state}  it has said nothing of how far it is"
    parts = [state]
    parts += [*bar(found, BAR), counted(found)]
    if left is not None:
        parts.append(f"{lasting(left)} left")
    elif record is None or not record.closed:
        parts.append(f"({ago(now - found.at)})")
    return "  ".join(parts)


def bar(found: Progress, length: int) -> list[str]:
    """A bar of so many cells and the part of the whole; nothing where that is not known."""
    if found.fraction is None:
        return []
    filled = round(found.fraction * length)
    return [f"[{'#' * filled}{' ' * (length - filled)}]", f"{found.fraction:4.0%}"]


def counted(found: Progress) -> str:
    """The numbers and the note: ``12,000 of 24,000  orders of May``."""
    count = f"{found.done:,}" + (f" of {found.total:,}" if found.total is not None else " done")
    return f"{count}  {one_line(found.note)}" if found.note else count


def _data(task_id: str, record: Record | None, found: Checkpoint | None) -> dict[str, Any]:
    known = progress_of(found)
    return {
        "task_id": task_id,
        "state": record.state if record is not None else None,
        "done": known and known.done,
        "total": known and known.total,
        "note": known and known.note,
        "at": known and iso(known.at),
        "continues": found is not None and found.cursors is not None,
    }
