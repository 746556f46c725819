"""What is paused: left out by claims, set aside by them, and made waiting again."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import cast

from celeriac.core.message import Lease
from celeriac.core.pauses import Pause, Paused, PauseKind, WaitingFilter, WaitingMessage
from celeriac.store.redis.packing import number, pack, plain, text, unpack, unpack_text
from celeriac.store.redis.part import AT_ONCE, Part


def _field(kind: PauseKind, name: str) -> bytes:
    return plain(f"{kind}\n{name}")


class PausesPart(Part):
    """The pauses' side of the store."""

    def pause(self, kind: PauseKind, name: str, who: str, note: str) -> bool:
        return bool(self.database.call("pauses.pause", [_field(kind, name), pack(who), pack(note)]))

    def resume(self, kind: PauseKind, name: str) -> bool:
        found = bool(self.database.call("pauses.resume", [_field(kind, name)]))
        self.let_go()
        return found

    def paused(self) -> Paused:
        pairs = [text(field).split("\n", 1) for field in self.database.call("pauses.paused")]
        return {(kind, name) for kind, name in pairs}

    def pauses(self) -> list[Pause]:
        rows = self.database.call("pauses.list")
        found = [
            Pause(
                cast("PauseKind", text(kind)),
                text(name),
                float(at),
                unpack_text(who) or "",
                unpack_text(note) or "",
                waiting,
            )
            for kind, name, at, who, note, waiting in rows
        ]
        return sorted(found)

    def set_aside(self, lease: Lease) -> bool:
        return bool(self.database.call("pauses.hold", lease))

    def let_go(self) -> int:
        total = 0
        while gone := self.database.call("pauses.let_go", [AT_ONCE]):
            total += gone
        return total

    def waiting(self, chosen: WaitingFilter) -> Iterator[WaitingMessage]:
        before = None if chosen.older_than is None else self.now() - chosen.older_than
        # A scan may give one twice.
        cursor, seen = b"0", set[str]()
        while True:
            cursor, rows = self.database.call("pauses.waiting", [cursor, number(before), int(chosen.bodies)])
            for task, name, queue, sent, envelope, body in rows:
                found = WaitingMessage(
                    text(task), unpack_text(name), text(queue), float(sent), text(envelope), unpack(body)
                )
                if found.task_id not in seen and _matches(found, chosen):
                    seen.add(found.task_id)
                    yield found
            if cursor == b"0":
                return


def _matches(message: WaitingMessage, chosen: WaitingFilter) -> bool:
    task = chosen.task is None or fnmatchcase(message.name or "", chosen.task)
    return task and (chosen.queue is None or fnmatchcase(message.queue, chosen.queue))
