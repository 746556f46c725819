"""A store whose dead letters come from real settlements, and the command on it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from celery.bin.base import CLIContext
from click.testing import CliRunner, Result

from celeriac import Celery
from celeriac.cli.dead import dead
from celeriac.core.attempt import DeadLetter, DeadLetterFilter, Failure, Outcome, Record, Settlement
from celeriac.core.desk import By
from celeriac.core.message import KEY_HEADER, Delivery, TaskMessage
from celeriac.store.sqlite import SQLiteStore
from celeriac.transport.envelope import pack, task_columns

LEASE = 30.0
ME = By("tester@host")


class TimedStore(SQLiteStore):
    """A store whose clock can be set back, to let things have failed long ago."""

    seconds_ago = 0.0

    def now(self) -> float:
        return time.time() - self.seconds_ago


@dataclass
class Shop:
    """Publishes, claims and settles as a worker would."""

    store: TimedStore
    owner: str = "worker@host"
    published: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.app = Celery("shop", broker=f"sqlite:///{self.store.location}", set_as_current=False)
        self.app.__dict__["store"] = self.store

    def publish(
        self,
        name: str = "shop.charge",
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        queue: str = "payments",
        task_id: str | None = None,
        key: str | None = None,
        embed: dict[str, Any] | None = None,
        priority: int = 0,
        body: str | bytes | None = None,
        content: tuple[str, str] = ("application/json", "utf-8"),
        **headers: Any,
    ) -> str:
        task_id = task_id or str(uuid.uuid4())
        all_headers = {"lang": "py", "task": name, "id": task_id, "retries": 0, "eta": None, "expires": None, **headers}
        if key is not None:
            all_headers[KEY_HEADER] = {"key": key, "digest": "digest", "ttl": 3600.0}
        message = TaskMessage(
            queue=queue,
            envelope=pack(all_headers, {"correlation_id": task_id, "delivery_info": {}}, *content),
            body=json.dumps([args, kwargs or {}, embed or {}]) if body is None else body,
            priority=priority,
            **task_columns(all_headers),
        )
        assert self.store.publish([message])[0].duplicate_of is None
        return task_id

    def claim(self, queue: str = "payments") -> Delivery:
        (delivery,) = self.store.claim([queue], 1, owner=self.owner, lease=LEASE)
        return delivery

    def settle(self, delivery: Delivery, outcome: Outcome, failure: Failure | None = None, **more: Any) -> None:
        assert delivery.task_id is not None
        state = "SUCCESS" if outcome is Outcome.COMPLETED else "FAILURE"
        record = Record(delivery.task_id, delivery.generation, state, closed=True)
        settlement = Settlement(
            lease=delivery.lease,
            task_id=delivery.task_id,
            generation=delivery.generation,
            outcome=outcome,
            record=record,
            failure=failure,
            started_at=self.store.now() - 1.5,
            worker=self.owner,
            **more,
        )
        assert self.store.settle([settlement])[0].held

    def bury(self, delivery: Delivery, failure: Failure | None = None, **more: Any) -> DeadLetter:
        """Settle as a dead letter; returns it."""
        before = self.store.count_dead_letters(DeadLetterFilter())
        failure = failure or Failure("exhausted", "builtins.ConnectionError", "refused", "Traceback: refused")
        self.settle(delivery, Outcome.DEAD_LETTERED, failure, **more)
        letters = self.letters()
        assert len(letters) == before + 1
        return letters[-1]

    def fail(
        self,
        name: str = "shop.charge",
        args: tuple[Any, ...] = (),
        *,
        ago: float = 0.0,
        queue: str = "payments",
        failure: Failure | None = None,
        **options: Any,
    ) -> DeadLetter:
        """A task that was published, ran and gave up ``ago`` seconds ago."""
        self.store.seconds_ago = ago
        try:
            self.publish(name, args, queue=queue, **options)
            delivery = self.claim(queue)
            return self.bury(delivery, failure, **_freed_key(name, delivery))
        finally:
            self.store.seconds_ago = 0.0

    def letters(self) -> list[DeadLetter]:
        return list(self.store.dead_letters(DeadLetterFilter()))

    def ids(self) -> list[int]:
        return [letter.id for letter in self.letters()]


def _freed_key(name: str, delivery: Delivery) -> dict[str, Any]:
    columns = task_columns(json.loads(delivery.envelope)[0])
    return {"key": columns["key"]} if columns.get("key") else {}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    store = TimedStore(tmp_path / "shop.db")
    yield Shop(store)
    store.close()


Invoke = Callable[..., Result]


@pytest.fixture
def cli(shop: Shop) -> Invoke:
    """Run ``celery dead …``; ``input`` answers its question, ``app`` is another app."""

    def invoke(*arguments: str | int, app: Any = shop.app, answer: str | None = None, **options: Any) -> Result:
        context = CLIContext(app=app, no_color=options.pop("no_color", False), workdir=None)
        return CliRunner().invoke(dead, [str(part) for part in arguments], input=answer, obj=context, **options)

    return invoke
