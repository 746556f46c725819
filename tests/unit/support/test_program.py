from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import Program, TimedOut, wait_for
from tests.support.processes import alive, group

#: Starts a child that sleeps, says so, and waits until it is told to end, which it does with 7.
PARENT = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
time.sleep(600)
"""


class Parent(Program):
    """A program with one child."""

    def __init__(self, folder: Path) -> None:
        super().__init__([sys.executable, "-W", "ignore", "-c", PARENT], folder, name="parent")

    def ready(self) -> bool:
        return "child" in self.log_of_this_run()

    @property
    def child(self) -> psutil.Process:
        return psutil.Process(int(self.log_of_this_run().split()[1]))


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Parent]:
    with Parent(tmp_path) as program:
        yield program


def test_the_group_is_the_program_and_its_child(parent: Parent) -> None:
    assert {process.pid for process in parent.processes()} == {parent.pid, parent.child.pid}


def test_kill_ends_all_of_it(parent: Parent) -> None:
    child = parent.child
    parent.kill()
    assert (parent.running, alive(child), parent.processes()) == (False, False, [])
    assert parent.wait() == -signal.SIGKILL


def test_kill_parent_leaves_the_child(parent: Parent) -> None:
    parent.kill_parent()
    assert not parent.running
    assert [process.pid for process in parent.processes()] == [parent.child.pid]


def test_close_reaps_what_a_dead_parent_left(parent: Parent) -> None:
    child = parent.child
    parent.kill_parent()
    parent.close()
    assert not alive(child)


def test_terminate_tells_the_exit_code(parent: Parent) -> None:
    assert parent.terminate() == 7


def test_what_ignores_sigterm_is_not_waited_for_for_ever(parent: Parent) -> None:
    parent.stop()
    with pytest.raises(TimedOut, match="parent does not end"):
        parent.terminate(timeout=0.05)


def _states(parent: Parent) -> set[str]:
    return {process.status() for process in parent.processes()}


def test_abort_has_each_process_say_where_it_stands(parent: Parent) -> None:
    child = parent.child
    parent.abort()
    assert (parent.running, alive(child)) == (False, False)
    assert "Fatal Python error: Aborted" in parent.log()


def test_stop_holds_the_whole_group_and_cont_lets_it_go(parent: Parent) -> None:
    parent.stop()
    wait_for(lambda: _states(parent) == {psutil.STATUS_STOPPED})
    parent.cont()
    wait_for(lambda: psutil.STATUS_STOPPED not in _states(parent))


def test_what_is_stopped_can_be_killed(parent: Parent) -> None:
    parent.stop()
    parent.kill()
    assert parent.processes() == []


def test_it_can_be_started_again_and_keeps_both_logs(parent: Parent) -> None:
    first = parent.child.pid
    parent.kill()
    parent.start()
    assert parent.child.pid != first
    assert parent.log().count("child") == 2


def test_it_cannot_be_started_while_part_of_it_lives(parent: Parent) -> None:
    parent.kill_parent()
    with pytest.raises(AssertionError, match="parent has not ended"):
        parent.start()


def test_after_its_end_nothing_is_sent_to_its_pid(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    parent.kill()
    sent: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda pid, number: sent.append(pid))
    parent.kill()
    parent.stop()
    parent.cont()
    parent.close()
    assert sent == []


def test_leaving_the_block_with_an_error_closes_it(tmp_path: Path) -> None:
    program = Parent(tmp_path)
    with pytest.raises(ZeroDivisionError), program:
        raise ZeroDivisionError
    assert not program.running


def test_ending_too_early_is_told_with_the_log(tmp_path: Path) -> None:
    program = Program([sys.executable, "-c", "print('no such setting'); raise SystemExit(3)"], tmp_path)
    program.ready = lambda: False  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match=r"program ended with 3 before it was ready:\nno such setting"), program:
        pass


def test_what_does_not_become_ready_is_told_with_the_log_and_closed(tmp_path: Path) -> None:
    program = Parent(tmp_path)
    program.ready = lambda: False  # type: ignore[method-assign]
    program.spawn()
    wait_for(lambda: "child" in program.log())
    with pytest.raises(TimedOut, match=r"parent is not ready:\nchild \d+"):
        program.wait_ready(timeout=0.01)
    program.close()
    assert not program.running


def test_closing_what_was_never_started_does_nothing(tmp_path: Path) -> None:
    program = Program(["true"], tmp_path)
    program.close()
    assert not program.running
    assert program.log() == ""


def test_asking_what_was_never_started_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="shop was not started"):
        Program(["true"], tmp_path, name="shop").kill()


def test_it_gets_its_environment_and_its_folder(tmp_path: Path) -> None:
    show = "import os, tests.support; print(os.environ['COLOUR'], os.getcwd())"
    program = Program([sys.executable, "-c", show], tmp_path, env={"COLOUR": "green"})
    program.spawn()
    assert program.wait() == 0
    assert program.log().split() == ["green", str(tmp_path)]


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen(["true"]) as process:
        zombie = psutil.Process(process.pid)
        wait_for(lambda: zombie.status() == psutil.STATUS_ZOMBIE)
        assert not alive(zombie)
        assert group(os.getpgid(0)) != []
        assert zombie not in group(os.getpgid(0))
