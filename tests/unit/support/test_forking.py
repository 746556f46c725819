"""A fork is the program that it stands for: each test compares one with the same command as it is usually started."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import Program, wait_for
from tests.support.forking import Forked, ForkServer, environment
from tests.support.processes import MARK, alive, describe, marked
from tests.support.waiting import PATIENCE

#: An app that tells what a program can know of itself, and ends as it is told to.
PROBE = """
import gc, json, os, signal, sys, threading, time, warnings
from pathlib import Path

status = dict(line.split(":\\t") for line in Path("/proc/self/status").read_text().splitlines() if ":\\t" in line)
facts = {
    "environment": dict(os.environ),
    "folder": os.getcwd(),
    "arguments": sys.argv,
    "path": sys.path,
    "main": sys.modules["__main__"].__spec__.name,
    "flags": str(sys.flags),
    "warnings": [str(each[:2] + each[3:]) for each in warnings.filters],
    "signals": {name: status[name] for name in ("SigBlk", "SigIgn", "SigCgt")},
    "handlers": {number.name: str(signal.getsignal(number)) for number in signal.Signals if number.name != "SIGINT"},
    "files": {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in ("0", "1", "2")},
    "open": len(os.listdir("/proc/self/fd")),
    "encodings": [(each.encoding, each.errors, each.line_buffering) for each in (sys.stdout, sys.stderr)],
    "threads": threading.active_count(),
    "umask": status["Umask"],
    "collector": [gc.isenabled(), gc.get_threshold()],
    "leads": (os.getpid() == os.getpgid(0) == os.getsid(0)),
    "command": Path("/proc/self/cmdline").read_text().rstrip("\\0").split("\\0"),
}
Path("facts").write_text(json.dumps(facts))
print("out", flush=True)
print("err", file=sys.stderr)
exec(os.environ["THEN"])
"""


class Probe(Program):
    """`celery -A probe report`, which then does what it is told."""

    def __init__(self, folder: Path, then: str = "raise SystemExit(7)", *words: str, **env: str) -> None:
        (folder / "probe.py").write_text(PROBE)
        command = [sys.executable, "-m", "celery", "-A", "probe", "report", *words]
        super().__init__(command, folder, name="probe", env={"THEN": then, **env})

    @property
    def forked(self) -> bool:
        return isinstance(self._process, Forked)

    def facts(self) -> dict[str, Any]:
        told = self.folder / "facts"
        wait_for(told.exists, 60, self.tail)
        facts: dict[str, Any] = json.loads(told.read_text())
        return facts


class Usual(Probe):
    forks = None


@pytest.fixture
def probes(tmp_path: Path) -> Iterator[list[Program]]:
    """Those of a test, which are closed with it."""
    started: list[Program] = []
    yield started
    for program in started:
        program.close()


def spawned(probes: list[Program], probe: Probe) -> Probe:
    probes.append(probe)
    probe.spawn()
    assert probe.forked == (probe.forks is not None)
    return probe


def test_it_knows_of_itself_what_the_usual_program_knows(probes: list[Program], tmp_path: Path) -> None:
    told = []
    for kind in (Probe, Usual):
        probe = spawned(probes, kind(tmp_path, "raise SystemExit(7)", "--an", "argument", COLOUR="green"))
        assert probe.wait() == 7, probe.tail()
        told.append(probe.facts())
    fork, usual = told
    assert fork == usual
    assert fork["environment"]["COLOUR"] == "green"
    assert fork["leads"]


@pytest.mark.parametrize(
    ("then", "code"),
    [
        ("raise SystemExit", 0),
        ("raise SystemExit(3)", 3),
        ("os._exit(4)", 4),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("os.abort()", -signal.SIGABRT),
    ],
)
def test_its_end_is_told(probes: list[Program], tmp_path: Path, then: str, code: int) -> None:
    probe = spawned(probes, Probe(tmp_path, then))
    assert probe.wait() == code
    assert not probe.running
    assert probe.log().split()[:2] == ["out", "err"]
    assert ("Fatal Python error: Aborted" in probe.log()) == (code == -signal.SIGABRT)


def test_what_it_does_at_its_end_is_done(probes: list[Program], tmp_path: Path) -> None:
    then = "import atexit; atexit.register(print, 'over'); sys.stdout.write('buffered '); raise SystemExit"
    assert spawned(probes, Probe(tmp_path, then)).wait() == 0
    assert probes[0].log().endswith("buffered over\n")


def test_it_keeps_its_pid_until_it_is_asked(probes: list[Program], tmp_path: Path) -> None:
    probe = spawned(probes, Probe(tmp_path))
    ended = psutil.Process(probe.pid)
    wait_for(lambda: ended.status() == psutil.STATUS_ZOMBIE)
    assert probe.processes() == []
    assert probe.wait() == 7
    assert not ended.is_running()


def test_it_is_killed_with_its_group(probes: list[Program], tmp_path: Path) -> None:
    probe = spawned(probes, Probe(tmp_path, "os.fork(); time.sleep(600)"))
    wait_for(lambda: len(probe.processes()) == 2, 60, probe.tail)
    probe.kill()
    assert probe.processes() == []
    assert probe.wait() == -signal.SIGKILL


def test_who_looks_at_it_sees_what_it_is(probes: list[Program], tmp_path: Path, request: pytest.FixtureRequest) -> None:
    probe = spawned(probes, Probe(tmp_path, "os.fork(); time.sleep(600)"))
    wait_for(lambda: len(probe.processes()) == 2, 60, probe.tail)
    for process in probe.processes():
        assert describe(process).startswith(f"pid {process.pid}: {' '.join(probe.command)}")
        assert request.node.name in describe(process)
        assert process in marked(os.environ[MARK])


@pytest.fixture
def server() -> Iterator[ForkServer]:
    made = ForkServer()
    yield made
    made.close()


@pytest.mark.parametrize(
    "env",
    [
        {"MP_LOG": "1"},  # Celery reads it as it is imported
        {"PYTHONWARNINGS": "ignore"},
        {"PYTHONPATH": "/nowhere"},
        {"TZ": "Asia/Tokyo"},
    ],
    ids="".join,
)
def test_it_is_not_forked_where_a_variable_was_read_before(env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "celery", "-A", "probe", "report"]
    forks = Program.forks
    assert forks is not None
    assert forks.fits(command, environment() | {"COLOUR": "green"})
    assert not forks.fits(command, environment() | env)


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-m", "celery", "worker", "-P", "gevent"],
        [sys.executable, "-m", "celery", "worker", "--pool=eventlet"],
        [sys.executable, "-W", "error", "-m", "celery", "worker"],
        [sys.executable, "-m", "flower"],
        ["ip", "netns", "exec", "there", sys.executable, "-m", "celery", "worker"],
        ["true"],
    ],
    ids=" ".join,
)
def test_no_other_program_is_forked(command: list[str]) -> None:
    assert not ForkServer().fits(command, environment())


def test_a_server_that_is_closed_leaves_what_it_forked(server: ForkServer, tmp_path: Path) -> None:
    probe = Probe(tmp_path, "time.sleep(600)")
    assert server.fits(probe.command, environment())
    with probe.log_path.open("ab") as log:
        fork = server.start(probe.command, tmp_path, environment() | probe.env, log)
    left = psutil.Process(fork.pid)
    process = psutil.Process(left.ppid())
    server.close()
    assert not process.is_running()
    assert alive(left)
    left.kill()


#: A test whose worker is left to itself, and the pids of that and of what forked it.
LEAVING = """
import time
from pathlib import Path
import psutil
from tests.support import Worker

def test_leaving(tmp_path):
    (tmp_path / "queue").mkdir()
    worker = Worker("tests.support.tiny", tmp_path, env={"TINY_FOLDER": str(tmp_path)})
    worker.start()
    pids = [worker.pid, *worker.children(), psutil.Process(worker.pid).ppid()]
    Path("pids.part").write_text(" ".join(map(str, pids)))
    Path("pids.part").rename("pids")
    THEN
"""


def nested(folder: Path, then: str) -> tuple[Program, list[psutil.Process]]:
    """A pytest with such a test, and what it has started."""
    (folder / "test_nested.py").write_text(LEAVING.replace("THEN", then))
    plugins = ["-p", "tests.support.plugin", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", ".", *plugins, "test_nested.py"]
    env = {PATIENCE: "0.3", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    program = Program(command, folder, name="nested", env=env)
    program.spawn()
    pids = folder / "pids"
    wait_for(lambda: pids.exists() or not program.running, 60, program.tail)
    left = [psutil.Process(int(pid)) for pid in pids.read_text().split()] if pids.exists() else []
    return program, left


def test_a_worker_that_outlives_its_session_is_named_and_killed(probes: list[Program], tmp_path: Path) -> None:
    program, left = nested(tmp_path, "")
    probes.append(program)
    assert program.wait() == 1
    assert "-m celery -A tests.support.tiny worker -n worker-" in program.log()
    assert "(started in test_nested.py::test_leaving (call))" in program.log(), program.log()
    wait_for(lambda: not any(map(alive, left)), message="it lives on")


def test_nothing_outlives_a_session_that_was_killed(probes: list[Program], tmp_path: Path) -> None:
    program, left = nested(tmp_path, "time.sleep(600)")
    probes.append(program)
    assert len(left) == 3
    assert all(map(alive, left))
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    wait_for(lambda: not any(map(alive, left)), message=f"they live on: {left}")
