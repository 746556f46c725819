"""Values as the scripts take and give them: bytes, and nothing at all for what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from redis.exceptions import DataError

from celeriac.core.attempt import AttemptRecord, ChordPart, Record
from celeriac.core.chains import Chains
from celeriac.core.desk import By
from celeriac.core.message import IdempotencyKey, Join, Lease, TaskMessage
from celeriac.core.workflow import Workflow

Argument = bytes | str | int
_TEXT, _BYTES = b"t", b"b"


def pack(value: str | bytes | None) -> bytes:
    """Text or bytes with a letter in front that says which, or nothing.

    Raises:
        DataError: it is neither.
    """
    if value is None:
        return b""
    if isinstance(value, str):
        return _TEXT + value.encode("utf-8", "surrogatepass")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _BYTES + bytes(value)
    raise DataError(f"{type(value).__name__} is neither text nor bytes")


def unpack(raw: bytes | None) -> str | bytes | None:
    """What was packed."""
    if not raw:
        return None
    return _decoded(raw[1:]) if raw[:1] == _TEXT else raw[1:]


def unpack_text(raw: bytes) -> str | None:
    """What was packed and can only be text."""
    return _decoded(raw[1:]) if raw else None


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def plain(value: str | None) -> bytes:
    """A name, or nothing.

    Raises:
        DataError: half a character is in it, which no name has.
    """
    try:
        return value.encode() if value else b""
    except UnicodeEncodeError as error:
        raise DataError(f"{value!r} cannot be written as UTF-8") from error


def text(raw: bytes) -> str:
    """Text that was sent plain."""
    return raw.decode()


def number(value: float | None) -> str:
    """A number to its last digit, or nothing."""
    return "" if value is None else repr(value)


def to_number(raw: bytes) -> float | None:
    """A number, if there is one."""
    return float(raw) if raw else None


def full_key(key: IdempotencyKey) -> str:
    """A key is scoped by the task's name."""
    return f"{key.task}\x1f{key.value}"


# -- what is sent


def message_arguments(message: TaskMessage) -> tuple[Argument, ...]:
    """One message, in the order in which the scripts read it."""
    key = message.key
    return (
        plain(message.queue),
        message.priority,
        number(message.run_at),
        number(message.expires_at),
        plain(message.task_id),
        pack(message.name),
        "" if message.generation is None else message.generation,
        b"" if key is None else plain(full_key(key)),
        b"" if key is None else plain(key.digest),
        "" if key is None else number(key.ttl),
        ("a" if message.awaited else "") + ("f" if message.follow_up else ""),
        plain(message.grows),
        plain(message.limits),
        chains_argument(message.chains),
        plain(message.envelope),
        pack(message.body),
        b"" if message.opens is None else _workflow(message.opens),
        len(message.joins) or b"",
        *chain.from_iterable(map(_join, message.joins)),
    )


def _join(join: Join) -> tuple[Argument, ...]:
    size = b"" if join.size is None else join.size
    return plain(join.group_id), size, pack(join.tree), number(join.expires_at)


def _workflow(workflow: Workflow) -> bytes:
    row = [workflow.id, workflow.name, workflow.shape(), workflow.on_failure, workflow.parent or ""]
    return json.dumps(row).encode()


def chains_argument(chains: Chains | None) -> str:
    """The rests of chains that something brings along or needs, or nothing."""
    return "" if chains is None else json.dumps({"kept": chains.kept, "needs": chains.needs})


def messages_arguments(messages: Sequence[TaskMessage]) -> Iterator[Argument]:
    """How many, and each."""
    yield len(messages)
    for message in messages:
        yield from message_arguments(message)


def record_arguments(record: Record) -> tuple[Argument, ...]:
    """A task's record without its id."""
    return (
        record.generation,
        "1" if record.closed else "0",
        record.state,
        pack(record.name),
        pack(record.queue),
        pack(record.worker),
        record.retries,
        number(record.started_at),
        number(record.finished_at),
        pack(record.result),
        pack(record.traceback),
        pack(record.meta),
        number(record.expires_at),
        "1" if record.told else "0",
        pack(record.error_type or "?"),
        pack(record.error or ""),
    )


def named_record(record: Record) -> tuple[Argument, ...]:
    """A task's record behind its id."""
    return plain(record.task_id), *record_arguments(record)


def part_arguments(part: ChordPart) -> tuple[Argument, ...]:
    """A chord member's contribution."""
    return (
        plain(part.group_id),
        plain(part.task_id),
        part.position,
        "-1" if part.cancelled else "1" if part.succeeded else "0",
        pack(part.result),
        plain(part.body),
    )


def leases_arguments(leases: Iterable[Lease]) -> list[Argument]:
    """How many, and each one's message and token."""
    flat: list[Argument] = [fact for lease in leases for fact in lease]
    return [len(flat) // 2, *flat]


def texts_arguments(texts: Iterable[str]) -> list[Argument]:
    """How many, and each."""
    encoded = [plain(each) for each in texts]
    return [len(encoded), *encoded]


def by_arguments(by: By) -> tuple[Argument, ...]:
    """Who it is, and what they say."""
    return pack(by.who), pack(by.note)


# -- what comes back


def to_record(task_id: bytes, fields: Sequence[bytes]) -> Record:
    """A record as it was kept."""
    (generation, closed, state, name, queue, worker, retries, started, finished, result, traceback, meta, expires) = (
        fields
    )
    return Record(
        text(task_id),
        int(generation),
        text(state),
        closed == b"1",
        unpack_text(name),
        unpack_text(queue),
        unpack_text(worker),
        int(retries),
        to_number(started),
        to_number(finished),
        unpack(result),
        unpack_text(traceback),
        unpack_text(meta),
        to_number(expires),
    )


def to_attempt(task_id: str, fields: Sequence[bytes]) -> AttemptRecord:
    """A line of a task's history."""
    generation, started, finished, worker, outcome, error_type, error, traceback = fields
    return AttemptRecord(
        task_id,
        int(generation),
        to_number(started),
        float(finished),
        unpack_text(worker),
        text(outcome),
        unpack_text(error_type),
        unpack_text(error),
        unpack_text(traceback),
    )


def to_leases(flat: Sequence[bytes | int]) -> list[Lease]:
    """Messages and tokens, taken in pairs."""
    return [Lease(int(row), int(token)) for row, token in zip(flat[::2], flat[1::2], strict=True)]
