"""Accounts from outside: what was accepted, what the receivers and the ledger know, and what must be zero."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from celeriac.core.attempt import DeadLetter, DeadLetterFilter, Record
from tests.faults.journal import CLAIMED, INJECTED, INSIDE, MEANWHILE, PLAIN, PUBLISHED, PUT_OFF, RAN, lines
from tests.faults.limits import ORPHANS, over_limit
from tests.faults.load import Kind, kind_of
from tests.faults.receivers import Receivers

#: Of every task here.
CRASHES = 3
Step = tuple[str, str]


@dataclass
class Books:
    """Everything that is known when all is quiet. Times are seconds since boot."""

    published: list[dict[str, Any]]
    ran: list[dict[str, Any]]
    claimed: list[dict[str, Any]]
    injected: list[dict[str, Any]]
    plain: Counter[Step]
    effects: Counter[Step]
    records: dict[str, Record]
    letters: dict[str, DeadLetter]
    inside: list[dict[str, Any]] = field(default_factory=list)
    put_off: list[dict[str, Any]] = field(default_factory=list)
    meanwhile: list[dict[str, Any]] = field(default_factory=list)
    #: What has to be added to the wall clock's time for seconds since boot.
    offset: float = 0.0

    @property
    def accepted(self) -> dict[str, list[Step]]:
        """By unit, the steps and ids that the client knows."""
        return {line["unit"]: line["ids"] for line in self.published if line["what"] == "accepted"}


def read_books(folder: Path, receivers: Receivers, app: Any, offset: float) -> Books:
    """Close the books of a cell."""
    published = lines(folder, PUBLISHED)
    ids = [task_id for line in published if line["what"] == "accepted" for _, task_id in line["ids"]]
    return Books(
        published,
        lines(folder, RAN),
        lines(folder, CLAIMED),
        lines(folder, INJECTED),
        Counter((line["unit"], line["step"]) for line in lines(folder, PLAIN)),
        receivers.counted(),
        _records(app, ids),
        {letter.task_id: letter for letter in app.store.dead_letters(DeadLetterFilter())},
        lines(folder, INSIDE),
        lines(folder, PUT_OFF),
        lines(folder, MEANWHILE),
        offset,
    )


def _records(app: Any, ids: Sequence[str]) -> dict[str, Record]:
    found: dict[str, Record] = {}
    for start in range(0, len(ids), 500):
        found.update(app.store.records(ids[start : start + 500]))
    return found


@dataclass
class Verdict:
    """One cell. All that is in ``zeros`` must be nothing.

    Each entry of a list says which task or unit it is about, and why.
    """

    accepted: int = 0
    lost: list[str] = field(default_factory=list)
    never_ended: list[str] = field(default_factory=list)
    effects: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    buried: list[str] = field(default_factory=list)
    over_limit: list[str] = field(default_factory=list)
    #: Runs and plain effects after the first, and those of them that no injected fault accounts for.
    repeated: int = 0
    plain_repeated: int = 0
    unexplained: list[str] = field(default_factory=list)
    #: The slowest in a hundred, seconds from a fault to the end of a task that it hit.
    recovery: float | None = None
    injected: int = 0
    #: What else took part, and how often: pauses, openings of the circuit, snoozes.
    took_part: dict[str, int] = field(default_factory=dict)

    @property
    def zeros(self) -> dict[str, list[str]]:
        """What must be nothing, by its column."""
        return {
            "lost": self.lost,
            "never ended": self.never_ended,
            "effects > 1": self.effects,
            "chord bodies ≠ 1": self.bodies,
            "innocents buried": self.buried,
            "over a limit": self.over_limit,
            "unexplained repeats": self.unexplained,
        }

    @property
    def good(self) -> bool:
        return not any(self.zeros.values())


def judge(books: Books, *, excuses: bool, clock_is_right: bool = True) -> Verdict:
    """The verdict on a cell; ``excuses`` says whether its fault may make a task run twice."""
    verdict = Verdict(injected=len(books.injected), took_part=_took_part(books))
    for unit, ids in books.accepted.items():
        verdict.accepted += len(ids)
        kind = kind_of(unit)
        ended = [_judge_task(verdict, books, kind, unit, step, task_id) for step, task_id in ids]
        if not kind.buried:
            _judge_effects(verdict, books, kind, unit, whole=all(ended))
    _judge_counts(verdict, books)
    _judge_runs(verdict, books, excuses=excuses)
    _judge_attempts(verdict, books)
    verdict.over_limit += over_limit(books.inside, books.injected)
    if clock_is_right:
        verdict.recovery = _recovery(books)
    return verdict


def _judge_task(verdict: Verdict, books: Books, kind: Kind, unit: str, step: str, task_id: str) -> bool:
    """Whether it ended at all."""
    record, letter = books.records.get(task_id), books.letters.get(task_id)
    name = f"{unit}/{step} {task_id}"
    if record is None and letter is None:
        verdict.lost.append(f"{name}: accepted, and the ledger knows nothing of it")
        return True  # said once is enough
    if record is None or not record.closed or record.state not in ("SUCCESS", "FAILURE"):
        verdict.never_ended.append(f"{name}: {record.state if record else 'no record'}")
        return False
    if kind.buried:
        _judge_burial(verdict, kind, name, letter)
    elif letter is not None or record.state != "SUCCESS":
        why = f"{letter.reason}: {letter.error}" if letter else record.state
        verdict.buried.append(f"{name}: {why}")
    elif kind.generation is not None and record.generation != kind.generation:
        verdict.unexplained.append(f"{name}: settled as generation {record.generation}, not {kind.generation}")
    return True


def _judge_burial(verdict: Verdict, kind: Kind, name: str, letter: DeadLetter | None) -> None:
    if letter is None or letter.reason != kind.buried:
        verdict.never_ended.append(f"{name}: not a dead letter for being {kind.buried}, but {letter and letter.reason}")
    elif kind.buried == "poison":
        crashes = sum(attempt.outcome == "crashed" for attempt in letter.attempts)
        if crashes != CRASHES:
            verdict.buried.append(f"{name}: buried at crash {crashes}")


def _judge_effects(verdict: Verdict, books: Books, kind: Kind, unit: str, *, whole: bool) -> None:
    """What has ended has had its effect. Callbacks and children have ids that the client does not know."""
    wanted = [(step, books.effects) for step in kind.effects] + ([("plain", books.plain)] if kind.plain else [])
    for step, effects in wanted:
        if not effects[unit, step]:
            into = verdict.lost if whole else verdict.never_ended
            into.append(f"{unit}/{step}: no effect")


def _judge_counts(verdict: Verdict, books: Books) -> None:
    """Twice is too often also where the publish is unknown; a chord that was accepted has one body."""
    for (unit, step), count in books.effects.items():
        if count > 1:
            verdict.effects.append(f"{unit}/{step}: {count} effects")
    for unit in books.accepted:
        settled = books.effects[unit, "after"]
        if unit.startswith("chord-") and (settled != 1 or not books.effects[unit, "joined"]):
            verdict.bodies.append(f"{unit}: its body was followed by {settled} callbacks")


def _judge_runs(verdict: Verdict, books: Books, *, excuses: bool) -> None:
    """A second run must have an injected fault between it and the one before, if it may have one at all."""
    runs, put_off = defaultdict(list), _put_offs(books)
    for line in books.ran:
        if line["step"] != "poison":
            runs[line["id"], line["retries"]].append(line)
    for (task_id, _), repeats in runs.items():
        repeats.sort(key=lambda line: line["t"])
        faults = sorted(books.injected, key=lambda fault: fault["end"]) if excuses else []
        for before, after in pairwise(repeats):
            if _put_off(put_off[task_id], before["t"], after["t"]):
                continue
            verdict.repeated += 1
            if not _explained(faults, before["t"], after["t"]):
                unit, step = after["unit"], after["step"]
                verdict.unexplained.append(f"{unit}/{step} {task_id}: ran again {after['t'] - before['t']:.3f} s later")
    verdict.plain_repeated = sum(count - 1 for count in books.plain.values())


def _put_offs(books: Books) -> dict[str, list[float]]:
    moments = defaultdict(list)
    for line in books.put_off:
        moments[line["id"]].append(line["t"])
    return moments


def _put_off(moments: list[float], begin: float, end: float) -> bool:
    """Whether the first of two runs put itself off: then the second is none of its repeats."""
    return any(begin <= moment <= end for moment in moments)


def _judge_attempts(verdict: Verdict, books: Books) -> None:
    """Every attempt that was counted has run: who is put off, by himself, a pause, a limit or a circuit, uses none up."""
    runs = defaultdict(set)
    for line in books.ran:
        runs[line["id"]].add(line["retries"])
    for unit, ids in books.accepted.items():
        for step, task_id in ids:
            record, ran = books.records.get(task_id), runs.get(task_id)
            if record is not None and ran is not None and ran != set(range(record.generation + 1)):
                verdict.unexplained.append(
                    f"{unit}/{step} {task_id}: generation {record.generation}, ran as {sorted(ran)}"
                )


def _explained(faults: list[dict[str, Any]], begin: float, end: float) -> bool:
    """Whether a fault lies between two runs; it explains no other repeat of the same task."""
    for fault in faults:
        if fault["start"] <= end and fault["end"] + ORPHANS >= begin:
            faults.remove(fault)
            return True
    return False


def _took_part(books: Books) -> dict[str, int]:
    """What the cell had beside its fault."""
    counted = Counter(line["what"] for line in books.meanwhile)
    return {"pauses": counted["paused"], "openings": counted["opened"], "snoozes": len(books.put_off)}


def _recovery(books: Books) -> float | None:
    """From the first fault that hit a task, claimed or begun, to its end."""
    held: dict[str, float] = {}
    for line in [*books.claimed, *books.ran]:
        for task_id in line["ids"] if "ids" in line else [line["id"]]:
            held[task_id] = min(line["t"], held.get(task_id, line["t"]))
    starts = sorted(fault["start"] for fault in books.injected)
    waits = []
    for task_id, record in books.records.items():
        end = (record.finished_at or 0.0) + books.offset
        hits = [start for start in starts if task_id in held and held[task_id] <= start <= end]
        if hits:
            waits.append(end - hits[0])
    return sorted(waits)[min(len(waits) - 1, int(len(waits) * 0.99))] if waits else None
