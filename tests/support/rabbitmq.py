"""A RabbitMQ of a test's own: with a virtual host for each test, and nobody else to disturb."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from pathlib import Path

from tests.support.ports import free_port
from tests.support.program import Program
from tests.support.servers import ServerMissing
from tools.services.rabbitmq import PASSWORD, RABBITMQ, USER, control

_NEW_VHOST = """
rabbit_vhost:add(<<"{name}">>, <<"tests">>),
rabbit_auth_backend_internal:set_permissions(<<"{user}">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"tests">>).
"""


class RabbitMQServer(Program):
    """A node on a port of its own, which it keeps, with its data, when it is started again."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which(RABBITMQ.program, path=RABBITMQ.path(os.environ.get("PATH")))
        if program is None:
            raise ServerMissing(f"there is no {RABBITMQ.program} on this machine: `make services` installs it, as root")
        self.program, self.port = program, free_port()
        super().__init__(RABBITMQ.command(program, self.port, folder), folder, name="rabbitmq")

    def ready(self) -> bool:
        return RABBITMQ.answers(self.url("/"))

    def url(self, vhost: str, port: int | None = None) -> str:
        return f"amqp://{USER}:{PASSWORD}@127.0.0.1:{port or self.port}/{vhost}"

    def vhost(self) -> str:
        """The name of a new virtual host."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.control("eval", _NEW_VHOST.format(name=name, user=USER))
        return name

    def control(self, *arguments: str) -> str:
        """What `rabbitmqctl` says."""
        return control(self.program, self.port, self.folder, *arguments, seconds=60)

    def queues(self, vhost: str) -> dict[str, dict[str, str]]:
        """What there is of each queue."""
        facts = ("name", "type", "messages", "arguments")
        listed = self.control("--vhost", vhost, "list_queues", "--no-table-headers", *facts)
        rows = (line.split("\t") for line in listed.splitlines())
        return {row[0]: dict(zip(facts, row, strict=True)) for row in rows}

    def close_connections(self, reason: str = "a test") -> None:
        """Close every connection, as an operator does."""
        self.control("close_all_connections", "--global", reason)

    @property
    def version(self) -> tuple[int, ...]:
        found = re.search(r"(\d+)\.(\d+)\.(\d+)", self.control("version"))
        assert found is not None
        return tuple(map(int, found.groups()))
