"""Two workers and a client on hosts of their own, and a network that parts them from their server and heals.

What was accepted is settled, each once; the other worker takes over what the lost one held, and that one settles nothing
stale when it is back.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.far_servers import KINDS, FarServer
from tests.integration.sites import APP, SHORT
from tests.integration.tasks import lines, make_app
from tests.support import Program, Worker, wait_for
from tests.support.hosts import Hosts, NoHosts, Unprivileged
from tests.support.plugin import PROGRAMS

#: Publishes as many tasks as it is told, and writes down the id of each that was accepted.
CLIENT = """
import sys
from tests.integration.workerapp import app

journal, accepted, count, queue = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
for number in range(count):
    sent = app.tasks["take"].apply_async((journal, f"{queue}-{number}", 0.4), queue=queue)
    with open(accepted, "a") as file:
        file.write(f"{sent.id}\\n")
"""


class Network:
    """The hosts, the server on one of them, and what runs on the others."""

    def __init__(self, kind: str, hosts: Hosts, folder: Path, programs: list[Program]) -> None:
        self.hosts, self.folder, self._programs = hosts, folder, programs
        self.journal = str(folder / "journal")
        self.server: FarServer = KINDS[kind](hosts, folder)

    def open(self) -> None:
        """Start the server, and make its tables."""
        self._start(self.server)
        self.app = make_app(self.server.here, **SHORT)
        _ = self.app.store.uuid  # makes the tables
        self.server.watch()

    def _start(self, program: Any) -> Any:
        self._programs.append(program)
        program.start()
        return program

    @property
    def _env(self) -> dict[str, str]:
        return {"SITE_BROKER": self.server.url, "SITE_SETTINGS": json.dumps(SHORT)}

    def worker(self, host: str, *queues: str) -> Worker:
        folder = self.folder / host
        folder.mkdir()
        worker = Worker(APP, folder, pool="prefork", concurrency=2, queues=queues, env=self._env)
        worker.command = self.hosts.on(host, worker.command)
        self._start(worker)
        return worker

    def publish(self, count: int, queue: str) -> list[str]:
        """Send tasks from the client's host; the ids of those that were accepted, which are all."""
        accepted = self.folder / f"accepted-{queue}"
        command = [sys.executable, "-c", CLIENT, self.journal, str(accepted), str(count), queue]
        client = Program(self.hosts.on("client", command), self.folder, name=f"client-{queue}", env=self._env)
        self._programs.append(client)
        client.spawn()
        assert client.wait() == 0, client.tail()
        return accepted.read_text().split()

    def wait_settled(self, task_ids: list[str], timeout: float) -> None:
        wait_for(
            lambda: len(self._closed(task_ids)) == len(task_ids),
            timeout,
            lambda: f"{len(self._closed(task_ids))} of {len(task_ids)} are settled; {self.app.store.sizes()}",
        )

    def _closed(self, task_ids: list[str]) -> list[str]:
        records = self.app.store.records(task_ids)
        return [record.task_id for record in records.values() if record.closed]

    def close(self) -> None:
        if app := self.__dict__.get("app"):
            app.close()
            app.store.close()
        for program in reversed(self._programs):
            program.close()


@pytest.fixture(params=KINDS)
def network(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Network]:
    programs: list[Program] = []
    request.node.stash[PROGRAMS] = programs
    try:
        with Hosts("server", "client", "one", "two") as hosts:
            network = Network(request.param, hosts, tmp_path, programs)
            try:
                network.open()
                yield network
            finally:
                network.close()
    except NoHosts as lack:
        if os.environ.get("CI") and not isinstance(lack, Unprivileged):
            raise
        pytest.skip(str(lack))


@pytest.mark.parametrize("cut", ["unplug", "swallow"])
def test_a_worker_is_parted_from_its_server_and_comes_back(network: Network, cut: str) -> None:
    one = network.worker("one", "celery", "one")
    two = network.worker("two", "celery")
    accepted = network.publish(30, "celery")
    wait_for(lambda: "received" in one.log() and "received" in two.log() and len(lines(network.journal)) >= 4)
    getattr(network.hosts, cut)("one")
    cut_at = len(network.server.closings())
    network.wait_settled(accepted, 30)
    settled_without_one = network.server.closings()[cut_at:]
    taken_over = {task_id for task_id, _ in settled_without_one if f"[{task_id}] received" in one.log()}

    network.hosts.heal("one")
    later = network.publish(6, "one")
    network.wait_settled(later, 30)
    assert one.running
    assert taken_over
    closings = network.server.closings()
    assert Counter(task_id for task_id, _ in closings) == dict.fromkeys([*accepted, *later], 1)
    assert {worker for _, worker in settled_without_one} == {two.nodename}
    assert {worker for task_id, worker in closings if task_id in later} == {one.nodename}
    assert network.app.store.sizes() == []
