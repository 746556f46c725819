"""Dead letters looked into, sent again and dropped: what the command line and the dashboard do with them."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from itertools import islice
from typing import Any

from kombu.compression import decompress
from kombu.serialization import loads

from celeriac.core.attempt import DeadLetter, DeadLetterFilter, Record
from celeriac.core.message import DELIVERY_HEADER, KEY_HEADER, TaskMessage
from celeriac.errors import DeadLetterError, RedriveRefused, RedriveSuperseded
from celeriac.store.protocols import Store
from celeriac.transport.envelope import epoch, pack, task_columns

#: Dead letters read, or purged in one transaction.
PAGE = 200
#: What is decoded to be looked at. Pickle runs code, so it stays closed.
READABLE = frozenset({"application/json", "application/x-yaml", "application/x-msgpack"})

#: An id as a store counts them, in 64 bits.
_NUMBER = re.compile("[0-9]{1,18}")


class UnknownDeadLetter(DeadLetterError):
    """``references`` are neither ids of dead letters nor of tasks that have one."""

    def __init__(self, references: Sequence[str]) -> None:
        super().__init__(tuple(references))
        self.references = tuple(references)

    def __str__(self) -> str:
        return (
            f"no dead letter has the id or the task id {', '.join(self.references)}; it may have been redriven or purged. "
            "Nothing was done. `dead list` shows those there are"
        )


class RedriveExpired(DeadLetterError):
    """Its ``expires`` is over, so a worker would discard it; ``expired_at`` is in seconds since the epoch."""

    def __init__(self, task: str, letter_id: int, expired_at: float) -> None:
        super().__init__(task, letter_id, expired_at)
        self.task, self.letter_id, self.expired_at = task, letter_id, expired_at

    def __str__(self) -> str:
        moment = datetime.fromtimestamp(self.expired_at, timezone.utc).isoformat(timespec="seconds")
        return (
            f"task {self.task}: dead letter {self.letter_id} is not redriven, since it was to run before {moment} (expires). "
            "If it is still wanted, redrive it with --ignore-expiry; otherwise purge it"
        )


# -- looked into


@dataclass(slots=True, frozen=True)
class Contents:
    """What a dead letter's message says.

    ``args`` and ``kwargs`` are None where the body was not decoded, and
    ``unread`` says why. The canvas lists hold signatures as dictionaries, in
    the order in which they would run.
    """

    headers: dict[str, Any]
    properties: dict[str, Any]
    content_type: str
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    unread: str | None = None
    callbacks: list[Any] = field(default_factory=list)
    errbacks: list[Any] = field(default_factory=list)
    chain: list[Any] = field(default_factory=list)
    chord: dict[str, Any] | None = None

    @property
    def key(self) -> str | None:
        """The idempotency key it was published under."""
        return (self.headers.get(KEY_HEADER) or {}).get("key")


def contents(letter: DeadLetter) -> Contents:
    """Read the message; whatever cannot be read is said, not raised."""
    headers, properties, content_type, encoding = json.loads(letter.envelope)
    headers.pop(DELIVERY_HEADER, None)
    parts, unread = _parts(letter.body, headers.get("compression"), content_type, encoding)
    return Contents(headers, properties, content_type, unread=unread, **parts)


def _parts(
    body: str | bytes, compression: str | None, content_type: str, encoding: str
) -> tuple[dict[str, Any], str | None]:
    if content_type not in READABLE:
        return {}, f"{content_type} is not decoded, since that could run code"
    try:
        data = decompress(body, compression) if compression else body
        return _fields(loads(data, content_type, encoding, accept=READABLE)), None
    except Exception as error:  # noqa: BLE001  # whatever a decoder makes of a damaged body
        return {}, f"{content_type} could not be decoded: {error}"


def _fields(decoded: Any) -> dict[str, Any]:
    if isinstance(decoded, dict):  # Celery's first protocol
        args, kwargs, embed = decoded["args"], decoded["kwargs"], decoded
    else:
        args, kwargs, embed = decoded
    return {
        "args": list(args),
        "kwargs": dict(kwargs),
        "callbacks": embed.get("callbacks") or [],
        "errbacks": embed.get("errbacks") or [],
        # Celery takes a chain's next step from the end.
        "chain": list(reversed(embed.get("chain") or [])),
        "chord": embed.get("chord"),
    }


# -- chosen


def find(store: Store, references: Sequence[str]) -> dict[str, list[int]]:
    """The ids of the dead letters that each reference, an id or a task id, means.

    Raises:
        UnknownDeadLetter: naming every reference that means nothing.
    """
    numbers = {text: int(text) for text in references if _NUMBER.fullmatch(text)}
    by_id = DeadLetterFilter(ids=tuple(numbers.values()))
    existing = {letter.id for letter in store.dead_letters(by_id)} if numbers else set()
    found = {text: [number] for text, number in numbers.items() if number in existing}
    others = frozenset(references) - found.keys()
    if others:
        for letter in store.dead_letters(DeadLetterFilter()):
            if letter.task_id in others:
                found.setdefault(letter.task_id, []).append(letter.id)
    unknown = [text for text in dict.fromkeys(references) if text not in found]
    if unknown:
        raise UnknownDeadLetter(unknown)
    return found


def as_of(chosen: DeadLetterFilter, seconds_ago: float) -> DeadLetterFilter:
    """What the filter matched that long ago: nothing that failed since."""
    newer, shift = chosen.newer_than, max(seconds_ago, 0.0)
    return replace(
        chosen,
        older_than=(chosen.older_than or 0.0) + shift,
        newer_than=None if newer is None else newer + shift,
    )


# -- acted on


@dataclass(slots=True, frozen=True)
class Refusal:
    """A dead letter that stays, and why."""

    letter: DeadLetter
    error: DeadLetterError


@dataclass(slots=True, frozen=True)
class Step:
    """What became of the next dead letters; ``gone`` ones were redriven or purged by somebody else."""

    done: int = 0
    gone: int = 0
    refused: Refusal | None = None


def redrive(
    store: Store, chosen: DeadLetterFilter, *, ignore_expiry: bool = False, dry_run: bool = False
) -> Generator[Step, None, None]:
    """Send what matches again, oldest first, one transaction and one step each.

    What fails anew in the meantime is left alone. A dry run sends nothing and
    so does not find out whether keys are free.
    """
    for page in _pages(store.dead_letters(as_of(chosen, 0.0), batch=PAGE)):
        records = store.records([letter.task_id for letter in page])
        for letter in page:
            yield _redrive_one(store, letter, records.get(letter.task_id), ignore_expiry, dry_run)


def _redrive_one(store: Store, letter: DeadLetter, record: Record | None, ignore_expiry: bool, dry_run: bool) -> Step:
    try:
        message = message_again(letter, record, now=store.now(), ignore_expiry=ignore_expiry)
        if not dry_run:
            store.redrive(letter, message)
    except (RedriveRefused, RedriveExpired, RedriveSuperseded) as error:
        return Step(refused=Refusal(letter, error))
    except DeadLetterError:
        return Step(gone=1)
    return Step(done=1)


def message_again(letter: DeadLetter, record: Record | None, *, now: float, ignore_expiry: bool = False) -> TaskMessage:
    """The message of a redrive: due now, its retries before it, one generation higher.

    ``record`` is what the ledger says of the task id, ``now`` is in seconds
    since the epoch.

    Raises:
        RedriveSuperseded: the task id was sent again since.
        RedriveExpired: it is past its ``expires``, and ``ignore_expiry`` is false.
    """
    if record is not None and record.generation > letter.generation:
        raise RedriveSuperseded(letter.name or "?", letter.id, letter.task_id, record.generation, record.state)
    headers, properties, content_type, encoding = json.loads(letter.envelope)
    headers.pop(DELIVERY_HEADER, None)  # a retry copies its predecessor's
    headers.update(retries=0, eta=None, expires=_expires(letter, headers, now, ignore_expiry))
    return TaskMessage(
        queue=letter.queue,
        envelope=pack(headers, properties, content_type, encoding),
        body=letter.body,
        priority=letter.priority,
        generation=letter.generation + 1,
        **task_columns(headers),
    )


def _expires(letter: DeadLetter, headers: dict[str, Any], now: float, ignore_expiry: bool) -> str | None:
    expires: str | None = headers.get("expires")
    moment = epoch(expires)
    if moment is None or moment > now:
        return expires
    if not ignore_expiry:
        raise RedriveExpired(letter.name or "?", letter.id, moment)
    return None


def purge(store: Store, chosen: DeadLetterFilter, *, dry_run: bool = False) -> Generator[Step, None, None]:
    """Drop what matches, a page a transaction and step; what fails in the meantime is left alone."""
    if dry_run:
        yield Step(done=store.count_dead_letters(as_of(chosen, 0.0)))
        return
    for page in _pages(store.dead_letters(as_of(chosen, 0.0), batch=PAGE)):
        done = store.purge_dead_letters([letter.id for letter in page])
        yield Step(done=done, gone=len(page) - done)


def _pages(letters: Iterable[DeadLetter]) -> Iterator[list[DeadLetter]]:
    remaining = iter(letters)
    while page := list(islice(remaining, PAGE)):
        yield page
