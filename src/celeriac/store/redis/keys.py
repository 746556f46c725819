"""Idempotency keys at execution."""

from __future__ import annotations

from celeriac.core.message import IdempotencyKey, KeyHolder
from celeriac.store.redis.packing import full_key, number, plain, text
from celeriac.store.redis.part import Part


class KeysPart(Part):
    """The keys' side of the store."""

    def take_key(self, key: IdempotencyKey, task_id: str) -> KeyHolder:
        wanted = (plain(full_key(key)), plain(task_id), plain(key.digest), number(key.ttl))
        holder, digest, done = self.database.call("keys.take", wanted)
        return KeyHolder(text(holder), text(digest), bool(done))
