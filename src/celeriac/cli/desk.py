"""Groups, and the log, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from celeriac.cli.ages import ago, iso, utc
from celeriac.cli.text import Column, one_line, spread
from celeriac.core.desk import Action, ErrorGroup
from celeriac.core.fingerprints import normalised


def _red(text: str) -> str:
    return click.style(text, fg="red")


def _bold(text: str) -> str:
    return click.style(text, bold=True)


_GROUPS = (
    Column("GROUP", style=_bold),
    Column("LETTERS", right=True),
    Column("FIRST"),
    Column("LAST"),
    Column("TASK", least=14, keep_end=True),
)
_ERROR = Column("ERROR", least=30, style=_red)
_LOG = (
    Column("WHEN"),
    Column("WHO", least=8),
    Column("DID", style=_bold),
    Column("LETTER", right=True),
    Column("TASK ID"),
)
_NOTE = Column("NOTE", least=30)
#: Cells before an error or a note that has a line of its own.
_INDENTED = 4


def groups_table(groups: Sequence[ErrorGroup], now: float, width: int | None) -> list[str]:
    """One line a group, ``width`` cells wide where that can be."""
    errors = [one_line(f"{group.error_type.rpartition('.')[2]}: {normalised(group.error)}") for group in groups]
    return spread(_GROUPS, _ERROR, [_group(group, now) for group in groups], errors, width, indented=_INDENTED)


def _group(group: ErrorGroup, now: float) -> list[str]:
    more = f" and {group.tasks - 1} more" if group.tasks > 1 else ""
    return [
        group.fingerprint,
        f"{group.count:,}",
        ago(now - group.first_at),
        ago(now - group.last_at),
        one_line(group.task or "?") + more,
    ]


def group_data(group: ErrorGroup) -> dict[str, Any]:
    """A group as JSON data; moments are ISO 8601, UTC."""
    return {
        "group": group.fingerprint,
        "dead_letters": group.count,
        "tasks": group.tasks,
        "task": group.task,
        "first_at": iso(group.first_at),
        "last_at": iso(group.last_at),
        "newest_id": group.newest_id,
        "error_type": group.error_type,
        "error": group.error,
        "normalised": normalised(group.error),
    }


def log_table(actions: Sequence[Action], now: float, width: int | None) -> list[str]:
    """One line an action."""
    notes = [one_line(action.note or "") for action in actions]
    return spread(_LOG, _NOTE, [_action(action, now) for action in actions], notes, width, indented=_INDENTED)


def _action(action: Action, now: float) -> list[str]:
    return [
        ago(now - action.at) if now - action.at < _RECENT else utc(action.at),
        one_line(action.who),
        action.verb.value,
        "" if action.letter_id is None else str(action.letter_id),
        one_line(action.task_id or ""),
    ]


#: Seconds within which "how long ago" says more than the moment.
_RECENT = 86_400.0


def action_data(action: Action) -> dict[str, Any]:
    """An action as JSON data."""
    return {
        "at": iso(action.at),
        "who": action.who,
        "did": action.verb.value,
        "dead_letter": action.letter_id,
        "task_id": action.task_id,
        "note": action.note,
    }
