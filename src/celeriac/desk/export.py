"""Dead letters as lines of JSON, and back: an export says at its end how many there are, so that half of one is none."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from typing import IO, Any

from celeriac.core.attempt import AttemptRecord, DeadLetter, DeadLetterFilter
from celeriac.core.chains import Chains, Kept
from celeriac.core.desk import By, Verb
from celeriac.core.message import HIGHEST_PRIORITY
from celeriac.desk.steps import Step, Steps, pages
from celeriac.errors import DeadLetterError
from celeriac.store.protocols import DeadLetters, Store
from celeriac.transport.envelope import pack

#: The version of a line.
FORMAT = 1
_TEXT, _NUMBER = (str,), (int, float)
_OPTIONAL_TEXT, _OPTIONAL_NUMBER = (str, type(None)), (int, float, type(None))
_FIELDS: dict[str, tuple[type, ...]] = {
    "task_id": _TEXT,
    "generation": (int,),
    "name": _OPTIONAL_TEXT,
    "queue": _TEXT,
    "priority": (int,),
    "reason": _TEXT,
    "error_type": _TEXT,
    "error": _TEXT,
    "traceback": _OPTIONAL_TEXT,
    "worker": _OPTIONAL_TEXT,
    "failed_at": _NUMBER,
    "envelope": (list,),
    "body": (dict,),
    "acked_at": _OPTIONAL_NUMBER,
    "acked_by": _OPTIONAL_TEXT,
    "note": _OPTIONAL_TEXT,
    "snoozes": (int,),
    "attempts": (list,),
}
#: What an older version did not write, and what that meant.
_LATER = {"snoozes": 0}
_ATTEMPT: dict[str, tuple[type, ...]] = {
    "generation": (int,),
    "started_at": _OPTIONAL_NUMBER,
    "finished_at": _NUMBER,
    "worker": _OPTIONAL_TEXT,
    "outcome": _TEXT,
    "error_type": _OPTIONAL_TEXT,
    "error": _OPTIONAL_TEXT,
    "traceback": _OPTIONAL_TEXT,
}
#: Of a line that has any, which an older version would leave out.
_CHAIN: dict[str, tuple[type, ...]] = {"id": _TEXT, "format": _TEXT, "steps": (list,)}
#: Headers, properties, content type, content encoding.
_ENVELOPE = (dict, dict, str, str)
#: No store counts further, with room for what a redrive and its retries add; and no calendar.
_MOST, _LAST_MOMENT = 2**30, 253_402_300_800
#: How `surrogateescape` shows a byte that is none of the encoding; and what no text of a store may have in it.
_BAD_BYTE, _HALF = re.compile("[\udc80-\udcff]"), re.compile("[\ud800-\udfff]")


class DamagedExport(DeadLetterError):
    """Line ``line`` of an export, counted from 1, is not what an export writes; nothing was imported."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(line, problem)
        self.line, self.problem = line, problem

    def __str__(self) -> str:
        return f"line {self.line} of the export: {self.problem}. Nothing was imported"


# -- out


def export(store: Store, chosen: DeadLetterFilter, into: IO[str], by: By) -> int:
    """Write what matches, one line each, and a last line; returns how many."""
    count = 0
    for letter in store.dead_letters(chosen):
        into.write(to_line(letter, store.chains_needed_by(letter.task_id)) + "\n")
        count += 1
    into.write(json.dumps({"format": FORMAT, "dead_letters": count}) + "\n")
    into.flush()
    said = f"{count:,} dead letter{'' if count == 1 else 's'}"
    store.record_action(Verb.EXPORTED, By(by.who, f"{said}; {by.note}" if by.note else said))
    return count


def to_line(letter: DeadLetter, chains: Sequence[Kept] = ()) -> str:
    """One dead letter as a line of JSON, ASCII only, with the rests of ``chains``, without which it could not go on.

    Its id, which is its store's own, is for people.
    """
    data = {name: getattr(letter, name) for name in _FIELDS}
    data["envelope"] = json.loads(letter.envelope)
    body = letter.body
    data["body"] = {"text": body} if isinstance(body, str) else {"base64": b64encode(body).decode()}
    data["attempts"] = [
        {name: value for name, value in asdict(one).items() if name in _ATTEMPT} for one in letter.attempts
    ]
    if chains:
        data["chains"] = [kept._asdict() for kept in chains]
    return json.dumps({"format": FORMAT, "id": letter.id, **data})


# -- in


def import_(store: DeadLetters, source: IO[str], by: By, *, partial: bool = False, dry_run: bool = False) -> Steps:
    """Add what is not known, after every line has been read once; ``source`` must be seekable.

    Args:
        store: where to.
        source: what ``export`` wrote.
        by: who does it.
        partial: lines were taken out on purpose, or the last one.
        dry_run: only look whether the export is whole; what is known is not found out.

    Raises:
        DamagedExport: naming the line.
    """
    start = source.tell()
    count = sum(1 for _ in read(source, partial=partial))
    if dry_run:
        yield Step(done=count)
        return
    source.seek(start)
    for page in pages(read(source, partial=partial)):
        done = store.import_dead_letters(page, by)
        yield Step(done=done, gone=len(page) - done)


def read(source: Iterable[str], *, partial: bool = False) -> Iterator[DeadLetter]:
    """The dead letters of an export.

    Raises:
        DamagedExport: naming the line.
    """
    count, number, ended = 0, 0, False
    for number, line in enumerate(source, 1):
        if _BAD_BYTE.search(line):
            raise DamagedExport(number, "a byte in it is no UTF-8")
        if not line.strip():
            continue
        if ended:
            raise DamagedExport(number, "something follows the last line, which says how many there are")
        data = _data(number, line)
        if "dead_letters" in data:
            ended = True
            _check_count(number, data["dead_letters"], count, partial=partial)
            continue
        yield _letter(number, data)
        count += 1
    if not (ended or partial):
        raise DamagedExport(
            number + 1,
            "the end is missing: the last line says how many dead letters there are. "
            "If lines were left out on purpose, say --partial",
        )


def _data(number: int, line: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DamagedExport(number, f"it is no JSON ({error})") from error
    if not isinstance(data, dict):
        raise DamagedExport(number, f"it is {type(data).__name__}, not an object")
    if data.get("format") != FORMAT:
        raise DamagedExport(number, f"its format is {data.get('format')!r}, and this celeriac knows {FORMAT}")
    return data


def _check_count(number: int, said: Any, count: int, *, partial: bool) -> None:
    if said != count and not partial:
        raise DamagedExport(
            number,
            f"it says that there are {said!r} dead letters, and {count} are here; if lines were left out on purpose, say "
            "--partial",
        )


def _letter(number: int, data: dict[str, Any]) -> DeadLetter:
    data = {**_LATER, **data}
    _check(number, "", data, _FIELDS)
    envelope = data["envelope"]
    if tuple(map(type, envelope)) != _ENVELOPE:
        raise DamagedExport(number, "envelope is not headers, properties, content type and encoding")
    if not data["task_id"]:
        raise DamagedExport(number, "task_id is empty")
    if data["priority"] > HIGHEST_PRIORITY:
        raise DamagedExport(number, f"priority is {data['priority']}, and {HIGHEST_PRIORITY} is the highest")
    attempts = [_attempt(number, data["task_id"], one) for one in data["attempts"]]
    plain = {name: data[name] for name in _FIELDS if name not in ("envelope", "body", "attempts")}
    return DeadLetter(
        id=0,
        envelope=pack(*envelope),
        body=_body(number, data["body"]),
        attempts=attempts,
        chains=_chains(number, data["task_id"], data.get("chains") or []),
        **plain,
    )


def _chains(number: int, task_id: str, found: Any) -> Chains | None:
    if not isinstance(found, list):
        raise DamagedExport(number, f"chains is {type(found).__name__}, not a list")
    for one in found:
        _check(number, "chains: ", one, _CHAIN)
        if not all(isinstance(step, str) for step in one["steps"]):
            raise DamagedExport(number, "chains: a step is no text")
    kept = tuple(Kept(one["id"], one["format"], tuple(one["steps"])) for one in found)
    return Chains(kept, tuple((one.id, task_id) for one in kept)) if kept else None


def _check(number: int, where: str, data: Any, wanted: dict[str, tuple[type, ...]]) -> None:
    if not isinstance(data, dict):
        raise DamagedExport(number, f"{where} is {type(data).__name__}, not an object")
    for name, types in wanted.items():
        if name not in data:
            raise DamagedExport(number, f"{where}{name} is missing")
        if not _fits(data[name], types):
            raise DamagedExport(number, f"{where}{name} is {data[name]!r:.60}")


def _fits(value: Any, types: tuple[type, ...]) -> bool:
    if isinstance(value, bool) or not isinstance(value, types):
        return False
    if isinstance(value, str):
        return _HALF.search(value) is None
    if not isinstance(value, (int, float)):
        return True
    return 0 <= value < (_LAST_MOMENT if float in types else _MOST)  # which is also false of what is no number


def _attempt(number: int, task_id: str, data: Any) -> AttemptRecord:
    _check(number, "attempts: ", data, _ATTEMPT)
    given = {one.name: data[one.name] for one in fields(AttemptRecord) if one.name != "task_id"}
    return AttemptRecord(task_id=task_id, **given)


def _body(number: int, data: dict[str, Any]) -> str | bytes:
    text, encoded = data.get("text"), data.get("base64")
    if isinstance(text, str) and len(data) == 1 and _HALF.search(text) is None:
        return text
    try:
        if isinstance(encoded, str) and len(data) == 1:
            return b64decode(encoded, validate=True)
    except ValueError as error:
        raise DamagedExport(number, f"body is no base64 ({error})") from error
    raise DamagedExport(number, "body has neither text nor base64, or half a character")
