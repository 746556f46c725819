from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import free_port
from tests.support.processes import alive
from tools.services import __main__ as services
from tools.services import debian, docker, processes, service
from tools.services.finder import Finder
from tools.services.redis import REDIS
from tools.services.service import Running, Unavailable

#: Answers PING as Redis does; its arguments are a port and a password, or none.
FAKE = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        client, _ = server.accept()
        with client, client.makefile("rwb") as words:
            known = not sys.argv[2:]
            for line in words:
                if line.split()[0] == b"AUTH":
                    known = line.split()[1:] == [sys.argv[2].encode()]
                words.write(b"+PONG\\r\\n" if known else b"-NOAUTH\\r\\n")
                words.flush()
"""


class Fake:
    """Redis, as far as these tests are concerned, on a machine that has none."""

    name, variable, program, package, port = "fake", "FAKE_URL", "fake-server", "no-such-package", 6379
    ends_with = "SIGTERM"
    url, answers = staticmethod(REDIS.url), staticmethod(REDIS.answers)

    def path(self, path: str | None) -> str | None:
        return path

    def command(self, program: str, port: int, folder: Path) -> list[str]:
        return [program, str(port)]


class Machine:
    """A place with the programs that a test puts on its PATH, and nothing else."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.folder = folder / ".services"
        self.folder.mkdir()
        self.environment = {"PATH": str(self.programs)}
        monkeypatch.setenv("PATH", str(self.programs))

    def install(self, name: str, source: str) -> None:
        path = self.programs / name
        path.write_text(f"#!{sys.executable}\n{source}")
        path.chmod(0o755)

    def start(self, **environment: str) -> int:
        return services.start([Fake()], self.folder, self.environment | environment)

    def stop(self) -> int:
        return services.stop([Fake()], self.folder)

    @property
    def written(self) -> str:
        return (self.folder / "env").read_text()

    @property
    def running(self) -> Running:
        running = Running.load(self.folder / "fake")
        assert running is not None
        return running


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr(service, "PATIENCE", 10.0)
    machine = Machine(tmp_path, monkeypatch)
    yield machine
    machine.stop()


def _alive(pid: int | None) -> bool:
    return pid is not None and psutil.pid_exists(pid) and alive(psutil.Process(pid))


def test_a_program_on_the_machine_is_started_and_written_down(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.install("fake-server", FAKE)
    assert machine.start() == 0
    assert machine.written == f"FAKE_URL={machine.running.url}\n"
    assert REDIS.answers(machine.running.url)
    assert f"fake at {machine.running.url} ({machine.programs / 'fake-server'})" in capsys.readouterr().out


def test_what_was_started_earlier_is_used_again(machine: Machine) -> None:
    machine.install("fake-server", FAKE)
    machine.start()
    first = machine.running
    machine.start()
    assert machine.running == first


def test_one_that_has_died_is_replaced(machine: Machine) -> None:
    machine.install("fake-server", FAKE)
    machine.start()
    first = machine.running
    assert processes.stop(first)
    machine.start()
    assert machine.running.pid != first.pid
    assert REDIS.answers(machine.running.url)


def test_stop_ends_it_and_forgets_it(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.install("fake-server", FAKE)
    machine.start()
    running = machine.running
    assert machine.stop() == 0
    assert not _alive(running.pid)
    assert not (machine.folder / "env").exists()
    assert "stopped fake" in capsys.readouterr().out
    assert machine.stop() == 0
    assert "stopped" not in capsys.readouterr().out


def test_one_that_ignores_the_signal_is_killed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.install("fake-server", "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FAKE)
    machine.start()
    running = machine.running
    monkeypatch.setattr(processes, "PATIENCE", 0.05)
    machine.stop()
    assert not _alive(running.pid)


def test_stop_spares_a_process_that_was_given_the_pid_later(tmp_path: Path) -> None:
    assert not processes.stop(Running("redis://127.0.0.1:1", "x", os.getpid(), "another time"))


def test_one_that_ends_at_once_is_not_waited_for(machine: Machine) -> None:
    machine.install("fake-server", "raise SystemExit('no memory')")
    with pytest.raises(Unavailable, match="did not come up; its output is in"):
        processes.start(Fake(), str(machine.programs / "fake-server"), machine.folder)
    assert (machine.folder / "log").read_text().count("no memory") == processes.TRIES


def test_one_that_lost_its_port_to_another_tries_the_next(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.install("fake-server", FAKE)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        ports = [taken.getsockname()[1], free_port()]
        monkeypatch.setattr(processes, "_free_port", iter(ports).__next__)
        machine.start()
    assert str(ports[1]) in machine.running.url


class Stranger:
    """A server of somebody else, which answers every line as Redis does."""

    def __init__(self, answer: bytes = b"+PONG\r\n") -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.answer = answer
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        while True:
            client, _ = self.server.accept()
            with client, client.makefile("rb") as lines:
                if lines.readline() == b"":
                    return
                client.sendall(self.answer)

    def __enter__(self) -> int:
        self.thread.start()
        return int(self.server.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        socket.create_connection(self.server.getsockname()).close()
        self.thread.join()
        self.server.close()


def test_the_environment_comes_first_and_is_not_ours_to_stop(machine: Machine) -> None:
    machine.install("fake-server", FAKE)
    with Stranger() as port:
        url = f"redis://127.0.0.1:{port}/3"
        assert machine.start(FAKE_URL=url) == 0
        assert machine.written == f"FAKE_URL={url}\n"
        assert Running.load(machine.folder / "fake") is None
        machine.stop()
        assert REDIS.answers(url)


def test_an_address_that_does_not_answer_is_passed_over(machine: Machine) -> None:
    machine.install("fake-server", FAKE)
    machine.start(FAKE_URL=f"redis://127.0.0.1:{free_port()}")
    assert machine.running.source == str(machine.programs / "fake-server")


def test_without_any_the_reasons_are_told_and_written(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.start() == 0
    reasons = "FAKE_URL is not set; none was started earlier; there is no fake-server on PATH; there is no apt-get; there is no docker"
    assert machine.written == f"FAKE_URL_MISSING={reasons}\n"
    assert f"no fake: {reasons}" in capsys.readouterr().err


def test_without_any_ci_fails(machine: Machine) -> None:
    assert machine.start(CI="true") == 1


def test_servers_are_started_side_by_side(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    met = threading.Barrier(2, timeout=10)

    def find(finder: Finder) -> Running:
        met.wait()
        return Running(f"redis://127.0.0.1/{finder.service.name}", "here")

    monkeypatch.setattr(Finder, "find", find)
    one, other = Fake(), Fake()
    other.name, other.variable = "other", "OTHER_URL"
    assert services.start([one, other], machine.folder, {}) == 0
    assert machine.written == "FAKE_URL=redis://127.0.0.1/fake\nOTHER_URL=redis://127.0.0.1/other\n"


def test_packages_are_installed_one_after_the_other(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = threading.Lock()

    def install(package: str, folder: Path) -> None:
        assert inside.acquire(blocking=False)
        threading.Event().wait(0.05)
        inside.release()
        raise Unavailable("tried")

    monkeypatch.setattr(debian, "install", install)
    others = [Fake() for _ in range(4)]
    for number, other in enumerate(others):
        other.name = other.variable = f"OTHER_{number}"
    assert services.start(others, machine.folder, machine.environment) == 0
    assert machine.written.count("tried") == 4


def test_programs_are_installed_where_they_are_missing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def install(package: str, folder: Path) -> None:
        asked.append(package)
        raise Unavailable("no root")

    monkeypatch.setattr(debian, "install", install)
    machine.install("there", "pass")
    services.install({"there": "one", "missing": "another"}, machine.folder)
    assert asked == ["another"]
    assert "no missing: no root" in capsys.readouterr().err


def test_a_password_is_written_down_and_not_shown(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    fake, url = Fake(), "amqp://me:secret@127.0.0.1:5/0"
    fake.answers = lambda url: True
    assert services.start([fake], machine.folder, {"FAKE_URL": url}) == 0
    assert machine.written == f"FAKE_URL={url}\n"
    fake.answers = lambda url: False
    assert services.start([fake], machine.folder, {"FAKE_URL": url, "PATH": ""}) == 0
    told = capsys.readouterr()
    assert "secret" not in told.out + told.err + machine.written
    assert "fake at amqp://me:***@127.0.0.1:5/0 (FAKE_URL)" in told.out
    assert "nothing answers at FAKE_URL=amqp://me:***@127.0.0.1:5/0" in told.err


class TestDebian:
    @pytest.fixture
    def policy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(debian, "POLICY", tmp_path / "policy-rc.d")
        return tmp_path / "policy-rc.d"

    def apt(self, machine: Machine, installing: str) -> None:
        machine.install(
            "apt-get", f"import os, shutil, sys\nprint(sys.argv)\nif 'install' in sys.argv:\n    {installing}"
        )

    def test_only_root_installs(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.apt(machine, "pass")
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(Unavailable, match=r"only root may install it \(apt-get install pkg\)"):
            debian.install("pkg", machine.folder)

    def test_root_gets_the_program_and_no_service(
        self, machine: Machine, policy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        program = machine.programs.parent / "unpacked"
        program.write_text(f"#!{sys.executable}\n{FAKE}")
        program.chmod(0o755)
        installing = f"shutil.copy({str(program)!r}, {str(machine.programs / 'fake-server')!r}); shutil.copy({str(policy)!r}, {str(policy) + '.seen'!r})"
        self.apt(machine, installing)
        assert machine.start() == 0
        assert machine.running.source == str(machine.programs / "fake-server")
        assert policy.with_name("policy-rc.d.seen").read_text() == debian.FORBIDDEN
        assert not policy.exists()

    def test_a_policy_of_the_machine_is_kept(
        self, machine: Machine, policy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        policy.write_text("its own")
        self.apt(machine, "pass")
        debian.install("pkg", machine.folder)
        assert policy.read_text() == "its own"

    def test_a_failure_names_its_log(self, machine: Machine, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        self.apt(machine, "raise SystemExit('E: broken')")
        with pytest.raises(Unavailable, match="could not install pkg; its output is in"):
            debian.install("pkg", machine.folder)
        assert "E: broken" in (machine.folder / "apt.log").read_text()
        assert not policy.exists()


class TestDocker:
    def docker(self, machine: Machine, cases: str) -> None:
        source = "import sys\nfrom pathlib import Path\nwords = ' '.join(sys.argv[1:])\n"
        machine.install(
            "docker", source + f"print(words, file=Path({str(machine.folder / 'calls')!r}).open('a'))\n" + cases
        )

    def test_a_client_without_an_engine_is_no_server(self, machine: Machine) -> None:
        self.docker(machine, "raise SystemExit('warning\\nCannot connect to the Docker daemon')")
        with pytest.raises(Unavailable, match=r"no Docker engine answers \(Cannot connect to the Docker daemon\)"):
            docker.start(Fake())

    def test_a_container_is_started_asked_for_its_port_and_removed(self, machine: Machine) -> None:
        with Stranger() as port:
            self.docker(machine, f"if ' port ' in words: print('127.0.0.1:{port}')")
            assert machine.start() == 0
            assert machine.running == Running(f"redis://127.0.0.1:{port}/0", "docker compose", compose=True)
            machine.stop()
        calls = [call.split(".yml ")[-1].strip() for call in (machine.folder / "calls").read_text().splitlines()]
        assert calls == ["info", "up --detach --wait fake", "port fake 6379", "rm --stop --force --volumes fake"]

    def test_the_compose_file_has_every_service(self) -> None:
        text = Path(docker.__file__).with_name("compose.yml").read_text()
        for each in services.SERVICES:
            assert f"\n  {each.name}:\n" in text
            assert f'"127.0.0.1::{each.port}"' in text


class TestRedis:
    @pytest.fixture
    def serve(self, tmp_path: Path) -> Iterator[Callable[..., int]]:
        """Starts the fake with the arguments given; returns its port."""
        started: list[Running] = []

        def start(*arguments: str) -> int:
            program = tmp_path / "server"
            program.write_text(f"#!{sys.executable}\n{FAKE}")
            program.chmod(0o755)
            fake = Fake()
            fake.command = lambda program, port, folder: [program, str(port), *arguments]  # type: ignore[method-assign]
            fake.answers = _listens
            running = processes.start(fake, str(program), tmp_path)
            started.append(running)
            return int(running.url.rpartition(":")[2].split("/")[0])

        yield start
        for running in started:
            processes.stop(running)

    def test_nobody_is_no_server(self) -> None:
        assert not REDIS.answers(f"redis://127.0.0.1:{free_port()}/0")

    def test_another_protocol_is_no_server(self) -> None:
        with Stranger(b"HTTP/1.1 400 Bad Request\r\n") as port:
            assert not REDIS.answers(f"redis://127.0.0.1:{port}/0")

    def test_a_password_is_given(self, serve: Callable[..., int]) -> None:
        port = serve("pass word".replace(" ", "-"))
        assert REDIS.answers(f"redis://:pass%2Dword@127.0.0.1:{port}/0")
        assert not REDIS.answers(f"redis://127.0.0.1:{port}/0")

    @pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server on this machine")
    def test_a_real_one_is_started_and_stopped(self, tmp_path: Path) -> None:
        finder = Finder(REDIS, tmp_path, {"PATH": os.environ["PATH"]})
        running = finder.from_machine()
        running.save(tmp_path)
        assert REDIS.answers(running.url)
        assert finder.stop()
        assert not REDIS.answers(running.url)


def _listens(url: str) -> bool:
    port = int(url.rpartition(":")[2].split("/")[0])
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_an_unknown_word_shows_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert services.main(["restart"]) == 2
    assert "usage: python -m tools.services start|stop" in capsys.readouterr().err
