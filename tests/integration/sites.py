"""One store, an app on it in the test's own process, and its workers."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import redis

from celeriac.core.attempt import AttemptRecord, DeadLetter, DeadLetterFilter, Record
from celeriac.core.message import QueueSize
from celeriac.store.protocols import Store
from tests.conformance.redis import drop_prefix, store_url
from tests.integration.tasks import lines, make_app
from tests.support import Worker, wait_for
from tests.support.plugin import server
from tests.support.worker import Pool

__all__ = ["SHORT", "Site", "counts", "lines", "open_gate", "wait_line"]
APP = "tests.integration.workerapp"
#: Seconds after which a dead worker's messages are another's, and between looks at what is left over.
SHORT = {"celeriac_lease_seconds": 1.5, "celeriac_renew_seconds": 0.3, "celeriac_maintenance_seconds": 0.5}


class Site:
    """A folder with the store, or a schema on a server, the journals of what tasks did, and the logs of the workers."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.url = self._make_url()
        self.settings = SHORT | settings
        self.app = make_app(self.url, **self.settings)
        self.workers: list[Worker] = []
        # A task that no worker has.
        self.app.task(name="only_here", idempotency_key="{key}")(_nothing)

    def _make_url(self) -> str:
        return f"sqlite:///{self.folder}/site.db"

    @property
    def store(self) -> Store:
        store: Store = self.app.store
        return store

    def __getattr__(self, name: str) -> Any:
        """A task, by its name."""
        try:
            return self.app.tasks[name]
        except KeyError:
            raise AttributeError(name) from None

    def file(self, stem: str = "journal") -> str:
        """A path nobody has used yet."""
        return str(self.folder / f"{stem}-{uuid.uuid4().hex[:8]}")

    def worker(self, pool: Pool = "solo", *, wait: bool = True, break_at: str = "", **options: Any) -> Worker:
        """A worker on this store, ready unless `wait` is false; it dies at the point `break_at`."""
        env = {"SITE_BROKER": self.url, "SITE_SETTINGS": json.dumps(self.settings)}
        if break_at:
            env |= {"SITE_BREAK_AT": break_at, "SITE_BROKEN": self.file("broken")}
        worker = Worker(APP, self.folder, pool=pool, env=env | options.pop("env", {}), **options)
        self.workers.append(worker)
        worker.start() if wait else worker.spawn()
        return worker

    @contextmanager
    def working(self, pool: Pool = "solo", **options: Any) -> Iterator[Worker]:
        """A worker for the time of a block."""
        worker = self.worker(pool, **options)
        try:
            yield worker
        finally:
            worker.close()

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        self.app.close()
        self.store.close()

    # -- looking

    def record(self, task_id: str) -> Record | None:
        return self.store.records([task_id]).get(task_id)

    def state(self, task_id: str) -> str:
        record = self.record(task_id)
        return record.state if record else "UNKNOWN"

    def ended(self, task_ids: Iterable[str]) -> dict[str, Record]:
        """Those of the tasks whose generation is over."""
        known = self.store.records(sorted(task_ids))
        return {task_id: record for task_id, record in known.items() if record.closed}

    def wait_ended(self, task_ids: Sequence[str], timeout: float = 60.0) -> dict[str, Record]:
        """The records of the tasks, once all have ended and nothing is left in any queue."""
        left = set(task_ids)

        def none_is_left() -> bool:
            # To read hundreds of records over and over keeps a core busy.
            left.difference_update(self.ended(left) if left else ())
            return not left and len(self.ended(task_ids)) == len(set(task_ids))

        wait_for(none_is_left, timeout, lambda: self._missing(task_ids))
        wait_for(lambda: not self.queues(), timeout, lambda: f"still queued: {self.queues()}")
        return self.ended(task_ids)

    def _missing(self, task_ids: Sequence[str]) -> str:
        ended = self.ended(task_ids)
        return f"{len(ended)} of {len(set(task_ids))} have ended; queues: {self.queues()}"

    def queues(self) -> dict[str, QueueSize]:
        """What is in the queues of tasks."""
        return {size.queue: size for size in self.store.sizes() if ".pidbox" not in size.queue}

    def letters(self, **conditions: Any) -> list[DeadLetter]:
        return list(self.store.dead_letters(DeadLetterFilter(**conditions)))

    def letter(self, task_id: str) -> DeadLetter:
        """The task's one dead letter."""
        (letter,) = [letter for letter in self.letters() if letter.task_id == task_id]
        return letter

    def leases(self) -> list[float]:
        """When the lease of each message that is held runs out."""
        with self.store.database.reading() as session:  # type: ignore[attr-defined]  # both SQL stores have one
            execute = getattr(session, "raw", session).execute
            return [row[0] for row in execute("SELECT lease_until FROM message WHERE status = 2").fetchall()]

    def attempts(self, task_id: str) -> list[AttemptRecord]:
        return self.store.attempts(task_id)


class PostgresSite(Site):
    """The store is a schema of its own on a server."""

    def __init__(self, folder: Path, server: str, **settings: Any) -> None:
        self._server, self._schema = server, f"site_{uuid.uuid4().hex[:12]}"
        super().__init__(folder, **settings)

    def _make_url(self) -> str:
        return f"{self._server}?schema={self._schema}"

    def close(self) -> None:
        super().close()
        with closing(psycopg.connect(self._server, autocommit=True)) as raw:
            raw.execute(f"DROP SCHEMA IF EXISTS {self._schema} CASCADE".encode())


class BesideSite(Site):
    """A ledger beside a broker that others use too: queues and keys of its own."""

    def __init__(self, folder: Path, broker: str, ledger: str, **settings: Any) -> None:
        self.broker, self.name = broker, f"site-{uuid.uuid4().hex[:12]}"
        self._server, self._schema = ledger, f"site_{uuid.uuid4().hex[:12]}"
        super().__init__(folder, **(self._of_its_own(folder) | settings))

    @property
    def database(self) -> str:
        """Where the ledger is, unless it is a file."""
        return self._server

    @classmethod
    def of(cls, folder: Path, broker: str, ledger: str, **settings: Any) -> BesideSite:
        """Of the kinds that are named: a test without a server is skipped."""
        broker_url = server(f"CELERIAC_{broker.upper()}_URL")
        return cls(folder, broker_url, "" if ledger == "sqlite" else server("CELERIAC_POSTGRES_URL"), **settings)

    def _of_its_own(self, folder: Path) -> dict[str, Any]:
        """Settings under which nobody else sees its messages."""
        ledger = f"{self._server}?schema={self._schema}" if self._server else f"sqlite:///{folder}/ledger.db"
        own: dict[str, Any] = {"celeriac_ledger": ledger, "task_default_queue": self.name}
        if self.broker.startswith("redis"):
            own["broker_transport_options"] = {"global_keyprefix": f"{self.name}:", "socket_timeout": 4.0}
        else:  # sent is not arrived
            own["broker_transport_options"] = {"confirm_publish": True}
        return own

    def _make_url(self) -> str:
        return self.broker

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        self.drop_queue()
        super().close()
        if self._server:
            with closing(psycopg.connect(self._server, autocommit=True)) as raw:
                raw.execute(f"DROP SCHEMA IF EXISTS {self._schema} CASCADE".encode())

    def drop_queue(self) -> None:
        """All the broker has of it."""
        with self.app.connection_for_write() as connection:
            for queue in {self.name, *(name for name in self.app.amqp.queues if name.startswith(self.name))}:
                connection.default_channel.queue_delete(queue)
        if self.broker.startswith("redis"):
            with closing(redis.Redis.from_url(self.broker)) as client:
                for key in client.scan_iter(f"{self.name}:*"):
                    client.delete(key)

    def in_broker(self) -> int:
        """Messages that wait in the broker's queue."""
        with self.app.connection_for_write() as connection:
            queue = self.app.amqp.queues[self.name](connection.default_channel)
            return int(queue.queue_declare().message_count)


class RedisSite(Site):
    """The store is under a prefix of its own on a server."""

    def __init__(self, folder: Path, server: str, **settings: Any) -> None:
        self._server, self._prefix = server, f"site-{uuid.uuid4().hex[:12]}"
        super().__init__(folder, **settings)

    def _make_url(self) -> str:
        return store_url(self._server, self._prefix)

    def leases(self) -> list[float]:
        with closing(redis.Redis.from_url(self._server)) as raw:
            held: Any = raw.zrange(f"{{{self._prefix}}}:leases", 0, -1, withscores=True)
        return [until for _, until in held]

    def close(self) -> None:
        super().close()
        drop_prefix(self._server, self._prefix)


def _nothing(key: str) -> str:
    return key


def counts(journal: str) -> Mapping[str, int]:
    """How often each line was noted."""
    return Counter(lines(journal))


def open_gate(gate: str) -> None:
    Path(gate).touch()


def wait_line(journal: str, line: str, timeout: float = 30.0) -> None:
    wait_for(lambda: line in lines(journal), timeout, lambda: f"no {line!r} in {lines(journal)}")
