"""A virtual host of RabbitMQ's, an app on it in the test's own process, and its workers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import amqp

from celeriac import Celery
from tests.integration.sites import APP
from tests.integration.tasks import lines, make_app
from tests.support import Worker, wait_for
from tests.support.rabbitmq import RabbitMQServer
from tests.support.worker import Pool
from tools.services.rabbitmq import PASSWORD, USER


class RabbitMQSite:
    """`port` is where its app and its workers look for the server, if not at the server's own."""

    def __init__(self, folder: Path, server: RabbitMQServer, *, port: int | None = None, **settings: Any) -> None:
        self.folder, self.server, self.settings = folder, server, settings
        self.vhost = server.vhost()
        self.url = server.url(self.vhost, port)
        self.app = make_app(self.url, **settings)
        self.workers: list[Worker] = []

    def other(self, **settings: Any) -> Celery:
        """Another app on the same virtual host."""
        return make_app(self.url, **settings)

    def __getattr__(self, name: str) -> Any:
        """A task, by its name."""
        try:
            return self.app.tasks[name]
        except KeyError:
            raise AttributeError(name) from None

    def file(self, stem: str = "journal") -> str:
        """A path nobody has used yet."""
        return str(self.folder / f"{stem}-{uuid.uuid4().hex[:8]}")

    def worker(self, pool: Pool = "prefork", **options: Any) -> Worker:
        env = {"SITE_BROKER": self.url, "SITE_SETTINGS": json.dumps(self.settings)}
        worker = Worker(APP, self.folder, pool=pool, env=env | options.pop("env", {}), **options)
        self.workers.append(worker)
        worker.start()
        return worker

    @contextmanager
    def channel(self) -> Iterator[Any]:
        """A channel of the bare client's."""
        connection = amqp.Connection(
            host=f"127.0.0.1:{self.server.port}",
            userid=USER,
            password=PASSWORD,
            virtual_host=self.vhost,
            confirm_publish=True,
        )
        connection.connect()
        with connection:
            yield connection.channel()

    def waiting(self, queue: str) -> int:
        """How many messages wait in a queue."""
        with self.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).message_count)

    def get(self, queue: str) -> Any:
        """The next message of a queue, once there is one."""
        with self.channel() as channel:
            found: Any = wait_for(lambda: channel.basic_get(queue, no_ack=True), message=f"nothing arrives in {queue}")
        return found

    def queues(self) -> Mapping[str, Mapping[str, str]]:
        """All queues but those of the delays and of remote control."""
        queues = self.server.queues(self.vhost)
        return {name: facts for name, facts in queues.items() if "celery_delayed" not in name and "pidbox" not in name}

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        self.app.close()


def wait_lines(journal: str, count: int, timeout: float = 60.0) -> list[str]:
    """The lines of a journal, once there are so many."""
    wait_for(lambda: len(lines(journal)) >= count, timeout, lambda: f"{count} lines wanted: {lines(journal)}")
    return lines(journal)
