"""Idempotency keys."""

from __future__ import annotations

from typing import Protocol

from celeriac.core.message import IdempotencyKey, KeyHolder


class Keys(Protocol):
    """Idempotency keys at execution."""

    def take_key(self, key: IdempotencyKey, task_id: str) -> KeyHolder:
        """Take the key for ``task_id``, a task not yet settled, if it is free; returns who has it now."""
