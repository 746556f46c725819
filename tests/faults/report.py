"""What a red cell leaves: for everything that its verdict complains of, what happened to it and where it was last seen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.verdict import Books, Verdict

FILE = "report.txt"
#: A complaint begins with its unit.
_UNIT = re.compile(r"^[a-z]+-\w+")


def write(folder: Path, verdict: Verdict, books: Books, app: Any) -> None:
    """Tell the story of each offender, from the journals, the ledger and the logs."""
    entries = [(column, entry) for column, found in verdict.zeros.items() for entry in found]
    told = [f"{column}: {entry}" for column, entry in entries]
    units = sorted({match[0] for _, entry in entries if (match := _UNIT.match(entry))})
    for unit in units:
        told += ["", f"== {unit}", *_story(folder, books, app, unit)]
    (folder / FILE).write_text("\n".join(told) + "\n", encoding="utf-8")


def _story(folder: Path, books: Books, app: Any, unit: str) -> Iterator[str]:
    ran = [line for line in books.ran if line["unit"] == unit]
    yield from (f"published: {json.dumps(line)}" for line in books.published if line["unit"] == unit)
    yield from (f"ran: {json.dumps(line)}" for line in ran)
    ids = {line["id"] for line in ran} | {task_id for _, task_id in books.accepted.get(unit, [])}
    for line in books.claimed:
        yield from (f"claimed: {task_id} at {line['t']} by process {line['pid']}" for task_id in ids & set(line["ids"]))
    for task_id in sorted(ids):
        yield f"record: {app.store.records([task_id]).get(task_id)}"
        yield from (f"attempt: {attempt}" for attempt in app.store.attempts(task_id))
        yield f"last seen: {_last_seen(folder, task_id)}"


def _last_seen(folder: Path, task_id: str) -> str:
    seen = ""
    for path in sorted(folder.glob("*.log")):
        for line in path.read_text(errors="replace").splitlines():
            seen = max(seen, f"{line} ({path.name})") if task_id in line else seen  # lines begin with their time
    return seen or "in no log"
