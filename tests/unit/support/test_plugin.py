"""The plugin is tried in a pytest of its own, since what it does is to fail the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import Program, wait_for
from tests.support.processes import MARK, alive
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[3]
Nested = Callable[[str], Program]

#: Starts a process and writes its pid to a file, with the test's own start method in place of START.
LEAVING = """
import os, subprocess, sys, time, warnings
from pathlib import Path

def test_leaving():
    {start}
    Path("pid").write_text(str(pid))
    {then}
"""
A_CHILD = "pid = subprocess.Popen(['sleep', '600']).pid; warnings.simplefilter('ignore')"
#: Its parent has ended, its session is its own: only the mark tells where it is from.
A_DAEMON = (
    "pid = int(subprocess.run(['sh', '-c', 'setsid sleep 600 >/dev/null 2>&1 & echo $!'],"
    " stdout=subprocess.PIPE, check=True).stdout)"
)
A_FORK = "pid = os.fork() or time.sleep(600)"


@pytest.fixture
def nested(tmp_path: Path) -> Iterator[Nested]:
    """Starts a pytest with the plugin, on one test module."""
    started: list[Program] = []

    def run(module: str) -> Program:
        (tmp_path / "test_nested.py").write_text(module)
        plugins = ["-p", "tests.support.plugin", "-p", "no:cacheprovider"]
        command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", ".", *plugins, "test_nested.py"]
        # Shortens the moment that what is just ending is given, and the start.
        env = {PATIENCE: "0.3", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        program = Program(command, tmp_path, name="nested", env=env)
        started.append(program)
        program.spawn()
        return program

    yield run
    for program in started:
        program.close()


@pytest.mark.parametrize("start", [A_CHILD, A_DAEMON, A_FORK], ids=["child", "daemon", "fork"])
def test_a_survivor_fails_the_run_is_named_and_killed(nested: Nested, tmp_path: Path, start: str) -> None:
    program = nested(LEAVING.format(start=start, then="assert True"))
    assert program.wait() == 1
    pid = (tmp_path / "pid").read_text()
    assert f"still alive after the last test:\nE         pid {pid}: " in program.log()
    assert "1 passed, 1 error" in program.log()
    assert not psutil.pid_exists(int(pid)) or not alive(psutil.Process(int(pid)))


def test_the_survivor_is_told_with_the_test_that_started_it(nested: Nested) -> None:
    program = nested(LEAVING.format(start=A_DAEMON, then=""))
    program.wait()
    assert "(started in test_nested.py::test_leaving (call))" in program.log(), program.log()


def test_what_is_just_ending_is_let_end(nested: Nested) -> None:
    start = A_DAEMON.replace("600", "0.5")
    program = nested(LEAVING.format(start=start, then=""))
    assert program.wait() == 0, program.log()


def _pid(tmp_path: Path) -> int:
    path = tmp_path / "pid"
    wait_for(lambda: path.exists() and path.read_text(), message="the nested test did not start its process")
    return int(path.read_text())


@pytest.mark.parametrize("start", [A_CHILD, A_DAEMON], ids=["child", "daemon"])
def test_nothing_outlives_a_run_that_was_killed(nested: Nested, tmp_path: Path, start: str) -> None:
    program = nested(LEAVING.format(start=start, then="time.sleep(600)"))
    left = psutil.Process(_pid(tmp_path))
    assert alive(left)
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    wait_for(lambda: not alive(left), message="the process outlived its killed session")


def test_a_fork_that_holds_the_pipe_open_does_not_keep_the_guardian_waiting(nested: Nested, tmp_path: Path) -> None:
    start = f"{A_DAEMON}; os.fork() or time.sleep(600)"
    program = nested(LEAVING.format(start=start, then="time.sleep(600)"))
    left = psutil.Process(_pid(tmp_path))
    os.kill(program.pid, signal.SIGKILL)
    wait_for(lambda: not alive(left), message="the guardian waited for the pipe")


FAILING = """
import sys
from tests.support import Program

def test_failing(worker_factory, tmp_path):
    worker_factory.start(Program([sys.executable, "-c", "print('about to break', flush=True); input()"], tmp_path))
    while "about" not in next(tmp_path.glob("*.log")).read_text():
        pass
    assert {result}
"""


def test_a_failure_shows_the_logs_of_its_programs(nested: Nested) -> None:
    program = nested(FAILING.format(result=False).replace("input()", "__import__('time').sleep(600)"))
    assert program.wait() == 1
    assert "log of program" in program.log()
    assert program.log().count("about to break") >= 2  # the source line, and the log


def test_a_success_shows_none(nested: Nested) -> None:
    program = nested(FAILING.format(result=True).replace("input()", "__import__('time').sleep(600)"))
    assert program.wait() == 0
    assert "log of program" not in program.log()


def test_programs_of_other_sessions_are_left_alone(nested: Nested) -> None:
    other = os.environ | {MARK: "another session"}
    with subprocess.Popen(["sleep", "600"], env=other) as sleeper:
        program = nested("def test_nothing(): pass")
        assert program.wait() == 0, program.log()
        assert sleeper.poll() is None
        sleeper.kill()


def test_each_test_is_marked_by_its_folder(request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("unit")
    assert not request.node.get_closest_marker("faults")


REDIS = "def test_redis(redis_url): assert redis_url == 'redis://here'"


@pytest.mark.parametrize(
    ("environment", "code", "said"),
    [
        ({"CELERIAC_REDIS_URL": "redis://here"}, 0, "1 passed"),
        ({"CELERIAC_REDIS_URL": "redis://there"}, 1, "1 failed"),
    ],
)
def test_redis_is_where_the_environment_says(
    nested: Nested, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], code: int, said: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    program = nested(REDIS)
    assert program.wait() == code
    assert said in program.log()
