"""Dead letters sent again, many in one transaction: each is judged first, and of what is refused nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from celeriac.core.desk import By, Redrive, Verb
from celeriac.core.message import KeyHolder, TaskMessage
from celeriac.errors import DeadLetterError, RedriveRefused, RedriveSuperseded
from celeriac.store.relational import keys
from celeriac.store.relational.session import Session

#: Puts messages into their queues; says of each whether it was new there.
Insert = Callable[[Session, Sequence[TaskMessage], float], Sequence[bool]]


def act_on(raw: Session, by: By, verb: Verb, now: float, letters: Iterable[tuple[int, str]]) -> None:
    """Write a line of the log for each of these letters and its task."""
    raw.run("dead_letters.act_on", (now, by.who, verb.value, by.note, json.dumps(list(letters))))


def redrive_all(raw: Session, redrives: Sequence[Redrive], now: float, insert: Insert) -> list[DeadLetterError | None]:
    """Send these again, as far as each may be; says why one was not."""
    found: list[DeadLetterError | None] = [None] * len(redrives)
    for places in _apart(redrives):
        some = [redrives[place] for place in places]
        for place, error in zip(places, _redrive(raw, some, now, insert), strict=True):
            found[place] = error
    return found


def _apart(redrives: Sequence[Redrive]) -> list[list[int]]:
    """Their places, so that of one task, and of one key, each list has one, and an earlier list the earlier."""
    lists: list[list[int]] = []
    last: dict[tuple[str, str], int] = {}
    for place, item in enumerate(redrives):
        names = [("task", item.letter.task_id)]
        if item.message.key is not None:
            names.append(("key", keys.full_key(item.message.key)))
        turn = 1 + max(last.get(name, -1) for name in names)
        last.update(dict.fromkeys(names, turn))
        lists += [[]] if turn == len(lists) else []
        lists[turn].append(place)
    return lists


def _redrive(raw: Session, items: Sequence[Redrive], now: float, insert: Insert) -> list[DeadLetterError | None]:
    refused = _refused(raw, items, now)
    going = [item for item in items if item.letter.id not in refused]
    sent = _send(raw, going, now, insert) if going else []
    if sent:
        _take_leave(raw, sent, now)
    came = {item.letter.id for item in sent}
    # Somebody has sent the task between the look and the insert.
    refused.update((item.letter.id, _superseded(item)) for item in going if item.letter.id not in came)
    return [refused.get(item.letter.id) for item in items]


def _refused(raw: Session, items: Sequence[Redrive], now: float) -> dict[int, DeadLetterError]:
    """Why some of them may not go, by the ids of the letters."""
    there = {number for (number,) in raw.run("dead_letters.there", (_ids(items),)).fetchall()}
    holders = _holders(raw, [item for item in items if item.letter.id in there], now)
    live = {task_id for (task_id,) in raw.run("queue.in_queues", (_tasks(items),)).fetchall()}
    refused: dict[int, DeadLetterError] = {}
    for item in items:
        letter = item.letter
        if letter.id not in there:
            refused[letter.id] = DeadLetterError(f"dead letter {letter.id} is gone; somebody redrove or purged it")
        elif letter.id in holders:
            refused[letter.id] = _held(item, holders[letter.id])
        elif letter.task_id in live:
            refused[letter.id] = _superseded(item)
    return refused


def _holders(raw: Session, items: Sequence[Redrive], now: float) -> dict[int, KeyHolder]:
    """Who holds the keys of some of them, by the ids of the letters; all keys are locked, in one order."""
    found = {}
    keyed = [(item, item.message.key) for item in items if item.message.key is not None]
    for item, key in sorted(keyed, key=lambda one: keys.full_key(one[1])):
        holder = keys.holder(raw, key, now)
        if holder is not None and (holder.done or holder.task_id != item.letter.task_id):
            found[item.letter.id] = holder
    return found


def _held(item: Redrive, holder: KeyHolder) -> RedriveRefused:
    letter, key = item.letter, item.message.key
    assert key is not None  # only keys are held
    return RedriveRefused(letter.name or "?", letter.task_id, key.value, holder.task_id)


def _superseded(item: Redrive) -> RedriveSuperseded:
    letter = item.letter
    return RedriveSuperseded(letter.name or "?", letter.id, letter.task_id, letter.generation + 1, "waiting or running")


def _send(raw: Session, items: Sequence[Redrive], now: float, insert: Insert) -> list[Redrive]:
    """Put their messages into the queues; gives those that were."""
    next_ = dict(raw.run("queue.next_generations", (_tasks(items),)).fetchall())
    messages = [
        replace(item.message, generation=max(item.letter.generation + 1, next_.get(item.letter.task_id, 0)))
        for item in items
    ]
    sent = [item for item, new in zip(items, insert(raw, messages, now), strict=True) if new]
    for item in sent:
        if item.message.key is not None:
            keys.take(raw, item.message.key, item.letter.task_id)
    return sent


def _take_leave(raw: Session, items: Sequence[Redrive], now: float) -> None:
    """What there is of the letters goes, or goes on with their tasks, and the log has what was done."""
    tasks = _tasks(items)
    raw.run("dead_letters.delete", (_ids(items),))
    for snoozes in {item.letter.snoozes for item in items} - {0}:
        alike = _tasks(item for item in items if item.letter.snoozes == snoozes)
        raw.run("dead_letters.keep_snoozes", (snoozes, alike))
    # The letters have kept their chords from being pruned; now these have their time once more to end.
    raw.run("dead_letters.keep_chords", (now, tasks))
    raw.run("failures.read_all", (tasks,))
    if anew := [item for item in items if item.from_start]:
        raw.run("checkpoints.from_start", (_tasks(anew),))
    for by in dict.fromkeys(item.by for item in items):
        letters = ((item.letter.id, item.letter.task_id) for item in items if item.by == by)
        act_on(raw, by, Verb.REDRIVEN, now, letters)


def _ids(items: Iterable[Redrive]) -> str:
    return json.dumps([item.letter.id for item in items])


def _tasks(items: Iterable[Redrive]) -> str:
    return json.dumps([item.letter.task_id for item in items])
