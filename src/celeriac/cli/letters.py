"""Dead letters as a table, as a page and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import indent
from typing import Any

import click

from celeriac.cli.ages import ago, iso, utc
from celeriac.cli.text import GAP, Column, harmless, one_line, spread
from celeriac.core.attempt import AttemptRecord, DeadLetter
from celeriac.core.chains import reference, stands_for_rest
from celeriac.core.checkpoint import Checkpoint, progress_of
from celeriac.core.desk import Action
from celeriac.core.fingerprints import fingerprint
from celeriac.desk.contents import Contents, contents

#: The burial of a task whose process kept dying is written as an attempt, but nothing ran.
_BURIAL = "celeriac.errors.PoisonTask"


def _red(text: str) -> str:
    return click.style(text, fg="red")


def _dim(text: str) -> str:
    return click.style(text, dim=True)


_FACTS = (
    Column("ID", right=True, style=lambda text: click.style(text, bold=True)),
    Column("FAILED"),
    Column("TASK", least=14, keep_end=True),
    Column("QUEUE", least=8),
    Column("REASON", style=lambda text: click.style(text, fg="yellow")),
    Column("ATTEMPTS", right=True),
)
#: An error cut shorter says nothing.
_ERROR = Column("ERROR", least=30, style=_red)
#: Headers that the facts above them have told.
_TOLD = frozenset({"task", "id", "expires", "argsrepr", "kwargsrepr", "group", "group_index", "root_id", "parent_id"})


def ran(letter: DeadLetter) -> list[AttemptRecord]:
    """The attempts that were made to run it, over all its generations, oldest first."""
    return [attempt for attempt in letter.attempts if attempt.error_type != _BURIAL]


def listing(letters: Sequence[DeadLetter], now: float, width: int | None) -> list[str]:
    """A table of the letters, ``width`` cells wide where that can be."""
    facts = [_row(letter, now) for letter in letters]
    errors = [_error(letter.error_type, letter.error) for letter in letters]
    numbers = max((len(row[0]) for row in facts), default=0)
    return spread(_FACTS, _ERROR, facts, errors, width, indented=max(numbers, len("ID")) + GAP)


def _row(letter: DeadLetter, now: float) -> list[str]:
    return [
        str(letter.id),
        ago(now - letter.failed_at),
        one_line(letter.name or "?"),
        one_line(letter.queue),
        one_line(letter.reason),
        str(len(ran(letter))),
    ]


def _error(error_type: str | None, error: str | None) -> str:
    name = (error_type or "?").rpartition(".")[2]
    return one_line(f"{name}: {error}" if error else name)


# -- one page


def page(letter: DeadLetter, now: float, actions: Sequence[Action] = (), checkpoint: Checkpoint | None = None) -> str:
    """Everything that is known of one dead letter, for people."""
    said = contents(letter)
    facts = [*_facts(letter, said, now), *_progress(checkpoint), *_arguments(said), *_canvas(letter, said)]
    lines = [click.style(f"Dead letter {letter.id}", bold=True), *_aligned(facts)]
    lines += ["", click.style("Headers", bold=True), *_aligned(_rest(said))]
    count = len(ran(letter))
    lines += ["", click.style(f"Attempts: {count}" if count else "Attempts: none, it never ran", bold=True)]
    for attempt in letter.attempts:
        lines += _attempt(attempt, now)
    if letter.traceback and all(attempt.traceback != letter.traceback for attempt in letter.attempts):
        lines += ["", click.style("Traceback", bold=True), _traceback(letter.traceback)]
    if actions:
        lines += ["", click.style("Log", bold=True), *(_logged(action, letter, now) for action in actions)]
    return "\n".join(lines)


def _aligned(facts: Sequence[tuple[str, str]]) -> Iterator[str]:
    width = max((len(name) for name, _ in facts), default=0)
    for name, value in facts:
        yield f"  {_dim(one_line(name).ljust(width))}  {value}"


def _facts(letter: DeadLetter, said: Contents, now: float) -> Iterator[tuple[str, str]]:
    yield "task", one_line(letter.name or "?")
    yield "task id", one_line(letter.task_id)
    yield "generation", str(letter.generation)
    yield "failed", _moment(letter.failed_at, now)
    yield "reason", one_line(letter.reason)
    yield "error", _red(one_line(f"{letter.error_type}: {letter.error}"))
    yield "group", letter.fingerprint or fingerprint(letter.error_type, letter.error)
    if letter.acked_at is not None:
        why = f": {one_line(letter.note)}" if letter.note else ""
        yield "acknowledged", f"{_moment(letter.acked_at, now)} by {one_line(letter.acked_by or '?')}{why}"
    yield "queue", f"{one_line(letter.queue)}, priority {letter.priority}"
    if letter.snoozes:
        yield (
            "put off",
            f"{letter.snoozes:,} times, none of them an attempt" if letter.snoozes > 1 else "once, which is no attempt",
        )
    if letter.worker:
        yield "worker", one_line(letter.worker)
    if said.key is not None:
        yield "key", one_line(said.key)
    if said.headers.get("expires"):
        yield "expires", one_line(str(said.headers["expires"]))


def _progress(checkpoint: Checkpoint | None) -> Iterator[tuple[str, str]]:
    found = progress_of(checkpoint)
    if checkpoint is None or found is None:
        return
    of = "" if found.total is None else f" of {found.total:,}"
    yield "progress", f"{found.done:,}{of} done" + (f", {one_line(found.note)}" if found.note else "")
    if checkpoint.cursors is not None:
        yield "redrive", "goes on from its checkpoint, also with other arguments; --from-start begins anew"


def _arguments(said: Contents) -> Iterator[tuple[str, str]]:
    if said.unread is None:
        yield "args", harmless(repr(said.args))
        yield "kwargs", harmless(repr(said.kwargs))
        return
    yield "args", f"{one_line(str(said.headers.get('argsrepr')))}  (as the sender showed them)"
    yield "kwargs", one_line(str(said.headers.get("kwargsrepr")))
    yield "body", one_line(said.unread)


def _canvas(letter: DeadLetter, said: Contents) -> Iterator[tuple[str, str]]:
    headers = said.headers
    if said.chain:
        yield "chain", f"next {_names(said.chain, ', then ')}"
    if headers.get("group"):
        yield "group", one_line(f"{headers['group']}, member {headers.get('group_index')}")
    if said.chord:
        yield "chord", f"body {_names([said.chord])}"
    if said.callbacks:
        yield "callbacks", _names(said.callbacks)
    if said.errbacks:
        yield "errbacks", _names(said.errbacks)
    for name in ("root_id", "parent_id"):
        if headers.get(name) not in (None, letter.task_id):
            yield name.replace("_", " "), one_line(str(headers[name]))


def _names(signatures: Sequence[Any], separator: str = ", ") -> str:
    return one_line(separator.join(_name(signature) for signature in signatures))


def _name(signature: Any) -> str:
    if stands_for_rest(signature):
        more = reference(signature)[1] + 1
        return f"{more:,} more step{'' if more == 1 else 's'}, kept in the ledger"
    return str(signature.get("task", "?")) if isinstance(signature, dict) else str(signature)


def _rest(said: Contents) -> list[tuple[str, str]]:
    """The headers that say anything more, and how the body is written."""
    headers = sorted(said.headers.items())
    told = {name: value for name, value in headers if name not in _TOLD and value not in (None, [], {}, [None, None])}
    told["content type"] = said.content_type
    return [(name, one_line(str(value))) for name, value in told.items()]


def _attempt(attempt: AttemptRecord, now: float) -> Iterator[str]:
    worker = one_line(attempt.worker or "an unknown worker")
    if attempt.error_type == _BURIAL:
        yield f"  {_moment(attempt.finished_at, now)}  buried by {worker}"
        return
    took = "" if attempt.started_at is None else f" after {max(attempt.finished_at - attempt.started_at, 0.0):.3f} s"
    yield f"  {_moment(attempt.finished_at, now)}  {attempt.outcome}{took}"
    yield f"    on {worker}, generation {attempt.generation}"
    yield f"    {_red(one_line(f'{attempt.error_type}: {attempt.error}'))}"
    if attempt.traceback:
        yield _traceback(attempt.traceback)


def _logged(action: Action, letter: DeadLetter, now: float) -> str:
    which = f" as {action.letter_id}" if action.letter_id not in (None, letter.id) else ""
    said = f": {one_line(action.note)}" if action.note else ""
    return f"  {_moment(action.at, now)}  {action.verb.value}{which} by {one_line(action.who)}{said}"


def _traceback(text: str) -> str:
    lines = (_dim(line) if line.strip() else "" for line in harmless(text).strip("\n").split("\n"))
    return indent("\n".join(lines), "      ")


def _moment(moment: float, now: float) -> str:
    return f"{utc(moment)} ({ago(now - moment)})"


# -- JSON


def document(letter: DeadLetter, *, whole: bool = False) -> dict[str, Any]:
    """One dead letter as JSON data; ``whole`` adds the message's headers, properties and canvas.

    Moments are ISO 8601, UTC. ``args`` and ``kwargs`` are null where the body
    is not decoded; ``unread`` says why, and the reprs are the sender's.
    """
    said = contents(letter)
    data = {
        "id": letter.id,
        "task_id": letter.task_id,
        "generation": letter.generation,
        "task": letter.name,
        "queue": letter.queue,
        "priority": letter.priority,
        "reason": letter.reason,
        "error_type": letter.error_type,
        "error": letter.error,
        "group": letter.fingerprint or fingerprint(letter.error_type, letter.error),
        "traceback": letter.traceback,
        "worker": letter.worker,
        "acknowledged_at": iso(letter.acked_at),
        "acknowledged_by": letter.acked_by,
        "note": letter.note,
        "snoozes": letter.snoozes,
        "failed_at": iso(letter.failed_at),
        "key": said.key,
        "args": said.args,
        "kwargs": said.kwargs,
        "argsrepr": said.headers.get("argsrepr"),
        "kwargsrepr": said.headers.get("kwargsrepr"),
        "unread": said.unread,
        "attempts": [_attempt_data(attempt) for attempt in letter.attempts],
    }
    return {**data, **_message_data(said)} if whole else data


def _attempt_data(attempt: AttemptRecord) -> dict[str, Any]:
    return {
        "generation": attempt.generation,
        "started_at": iso(attempt.started_at),
        "finished_at": iso(attempt.finished_at),
        "worker": attempt.worker,
        "outcome": attempt.outcome,
        "error_type": attempt.error_type,
        "error": attempt.error,
        "traceback": attempt.traceback,
    }


def _message_data(said: Contents) -> dict[str, Any]:
    return {
        "content_type": said.content_type,
        "headers": said.headers,
        "properties": said.properties,
        "chain": said.chain,
        "chord": said.chord,
        "callbacks": said.callbacks,
        "errbacks": said.errbacks,
    }


def progress_data(checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    """How far the task has come; ``continues`` says that a redrive goes on from there."""
    found = progress_of(checkpoint)
    if checkpoint is None or found is None:
        return None
    return {**found._asdict(), "at": iso(found.at), "continues": checkpoint.cursors is not None}
