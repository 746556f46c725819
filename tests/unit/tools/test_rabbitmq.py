from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import amqp
import psutil
import pytest

from tools.services import processes, rabbitmq
from tools.services.rabbitmq import RABBITMQ, control
from tools.services.service import Running

PROGRAM = shutil.which(RABBITMQ.program, path=RABBITMQ.path(os.environ.get("PATH")))
needs_server = pytest.mark.skipif(PROGRAM is None, reason="there is no rabbitmq-server on this machine")
#: What RabbitMQ says to a client: the head of a frame that opens a connection.
START = b"\x01\x00\x00\x00\x00\x01\xf2\x00\x0a\x00\x0a\x00\x09"


class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "ready"),
        [
            pytest.param(START, True, id="it opens the connection"),
            pytest.param(b"AMQP\x00\x00\x09\x01", False, id="it speaks another version"),
            pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", False, id="it is a web server"),
            pytest.param(b"", False, id="it hangs up"),
        ],
    )
    def test_only_a_server_that_opens_a_connection_is_one(self, answer: bytes, ready: bool) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            stranger = threading.Thread(target=_answer, args=(server, answer))
            stranger.start()
            assert RABBITMQ.answers(f"amqp://a:b@127.0.0.1:{server.getsockname()[1]}//") is ready
            stranger.join()

    def test_where_nobody_listens_there_is_none(self) -> None:
        assert not RABBITMQ.answers("amqp://127.0.0.1:1//")


def _answer(server: socket.socket, answer: bytes) -> None:
    client, _ = server.accept()
    with client:
        client.recv(8)
        client.sendall(answer)


class TestEnvironment:
    @pytest.fixture
    def seen(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
        """What the server's script finds in its environment."""
        monkeypatch.setenv("RABBITMQ_MNESIA_DIR", "/var/lib/another")
        monkeypatch.setenv("ERL_EPMD_PORT", "4369")
        script = tmp_path / "rabbitmq-server"
        script.write_text("#!/bin/sh\nexec env\n")
        script.chmod(0o755)
        told = subprocess.run(RABBITMQ.command(str(script), 5, tmp_path), capture_output=True, text=True, check=True)
        return dict(line.partition("=")[::2] for line in told.stdout.splitlines())

    def test_what_is_set_for_another_node_does_not_reach_ours(self, seen: dict[str, str]) -> None:
        assert "RABBITMQ_MNESIA_DIR" not in seen
        assert "ERL_EPMD_PORT" not in seen

    def test_all_it_writes_is_in_its_folder(self, seen: dict[str, str], tmp_path: Path) -> None:
        files = {name for name, value in seen.items() if name.startswith("RABBITMQ_") and value.startswith("/")}
        assert {"RABBITMQ_CONF_ENV_FILE", "RABBITMQ_CONFIG_FILE", "RABBITMQ_MNESIA_BASE"} <= files
        assert all(Path(seen[name]).is_relative_to(tmp_path) for name in {*files, "HOME"})

    def test_the_data_of_a_port_is_kept_and_that_of_others_removed(self, tmp_path: Path) -> None:
        for port in (5, 6):
            (tmp_path / f"node-{port}").mkdir()
            (tmp_path / f"node-{port}" / "kept").touch()
        rabbitmq._prepared("6", tmp_path)
        assert [path.parent.name for path in tmp_path.rglob("kept")] == ["node-6"]


@needs_server
class TestServer:
    @pytest.fixture
    def start(self, tmp_path: Path) -> Iterator[Callable[[], Running]]:
        started: list[Running] = []

        def start() -> Running:
            started.append(processes.start(RABBITMQ, str(PROGRAM), tmp_path))
            return started[-1]

        yield start
        for running in started:
            processes.stop(running)

    def test_it_is_alone_on_loopback_and_leaves_nothing_behind(
        self, start: Callable[[], Running], tmp_path: Path
    ) -> None:
        daemons = _daemons()
        running = start()
        server = psutil.Process(running.pid)
        family = [server, *server.children(recursive=True)]
        listening = {each.laddr.ip for each in server.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}
        assert server.uids().real == os.getuid()
        assert control(str(PROGRAM), _port(running), tmp_path, "list_vhosts", "name") == "/\n"
        assert processes.stop(running)
        assert not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
        assert not RABBITMQ.answers(running.url)
        assert _daemons() <= daemons

    def test_it_takes_quorum_queues_and_knows_its_user(self, start: Callable[[], Running]) -> None:
        running = start()
        client = {"host": f"127.0.0.1:{_port(running)}", "userid": rabbitmq.USER}
        with amqp.Connection(**client, password=rabbitmq.PASSWORD) as connection:
            channel = connection.channel()
            channel.queue_declare("q", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
            channel.basic_publish(amqp.Message("kept", delivery_mode=2), routing_key="q")
        with pytest.raises(amqp.AccessRefused), amqp.Connection(**client, password="wrong"):
            pass


def _port(running: Running) -> int:
    return int(running.url.rpartition(":")[2].strip("/"))


def _daemons() -> set[int]:
    """Erlang's daemons, anybody's."""
    return {each.pid for each in psutil.process_iter(["name"]) if each.info["name"] == "epmd"}


def test_its_program_is_the_one_that_changes_no_user() -> None:
    assert RABBITMQ.path("/usr/sbin").split(os.pathsep) == ["/usr/lib/rabbitmq/bin", "/usr/sbin"]
    assert RABBITMQ.command("server", 1, Path("/var/x"))[0] == sys.executable
