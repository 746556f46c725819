"""Which statements are news of what, and the names it is told under."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from celeriac.store.protocols import News

#: Something is there to claim, or falls due.
_WORK = (
    "queue.publish", "queue.publish_many", "queue.retry", "queue.release", "queue.hand_back", "queue.reclaim",
    "queue.unpark", "queue.relay_again", "queue.park", "limits.hold", "limits.wake", "ledger.hasten",
    "pauses.resume", "pauses.let_go",
)  # fmt: skip
#: Somebody may wait for a result, and this ends a task.
_RESULTS = ("ledger.record", "ledger.settle_plain", "ledger.rejected", "ledger.purged", "ledger.revoke")
#: By statement; all others are news to nobody.
NEWS: dict[str, int] = {
    **dict.fromkeys(_WORK, int(News.WORK)),
    **dict.fromkeys(_RESULTS, int(News.RESULTS)),
    "queue.broadcast": int(News.BROADCASTS),
}
_WORDS = {News.WORK: "work", News.RESULTS: "done", News.BROADCASTS: "all"}


def channels(schema: str) -> dict[int, str]:
    """The name of the channel for each kind of news; at most 63 bytes, as the server wants it."""
    return {int(kind): f"celeriac_{word}_{schema}" for kind, word in _WORDS.items()}


def command(verb: str, names: Iterable[str]) -> bytes:
    """``NOTIFY`` or ``LISTEN`` on all of these."""
    return "; ".join(f"{verb} {sql.Identifier(name).as_string(None)}" for name in names).encode()
