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
from tests.support.tls import HERE, Authority
from tools.services.rabbitmq import MORE, PASSWORD, RABBITMQ, USER, control

_NEW_VHOSTS = """
lists:foreach(
    fun(Name) ->
        rabbit_vhost:add(Name, <<"tests">>),
        rabbit_auth_backend_internal:set_permissions(<<"{user}">>, Name, <<".*">>, <<".*">>, <<".*">>, <<"tests">>)
    end,
    [{names}]
).
"""
#: How many are made together: to ask for one costs a hundred times what it costs the server.
VHOSTS = 8


class RabbitMQServer(Program):
    """A node on a port of its own, which it keeps, with its data, when it is started again.

    With an authority it speaks TLS on a second port.
    """

    def __init__(self, folder: Path, authority: Authority | None = None) -> None:
        program = shutil.which(RABBITMQ.program, path=RABBITMQ.path(os.environ.get("PATH")))
        if program is None:
            raise ServerMissing(f"there is no {RABBITMQ.program} on this machine: `make services` installs it, as root")
        self.program, self.port = program, free_port()
        self._vhosts: list[str] = []
        self.tls_port = 0 if authority is None else self._secure(folder, authority)
        super().__init__(RABBITMQ.command(program, self.port, folder), folder, name="rabbitmq")

    @staticmethod
    def _secure(folder: Path, authority: Authority) -> int:
        port, (certificate, key) = free_port(), authority.issue("rabbitmq", f"IP:{HERE}")
        settings = {
            "listeners.ssl.1": f"{HERE}:{port}", "ssl_options.certfile": certificate, "ssl_options.keyfile": key,
            "ssl_options.cacertfile": authority.certificate,
        }  # fmt: skip
        (folder / MORE).write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        return port

    def ready(self) -> bool:
        return RABBITMQ.answers(self.url("/"))

    def url(self, vhost: str, port: int | None = None) -> str:
        scheme = "amqps" if port and port == self.tls_port else "amqp"
        return f"{scheme}://{USER}:{PASSWORD}@127.0.0.1:{port or self.port}/{vhost}"

    def vhost(self) -> str:
        """The name of a virtual host that nobody has used."""
        if not self._vhosts:
            self._vhosts = [f"test-{uuid.uuid4().hex[:12]}" for _ in range(VHOSTS)]
            names = ", ".join(f'<<"{name}">>' for name in self._vhosts)
            self.control("eval", _NEW_VHOSTS.format(names=names, user=USER))
        return self._vhosts.pop()

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
