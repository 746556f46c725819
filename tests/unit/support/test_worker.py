from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from celery import Celery

from tests.support import wait_for
from tests.support.plugin import WorkerFactory
from tests.support.processes import alive
from tests.support.worker import Pool

APP = "tests.support.tiny"
Send = Callable[[str, str], None]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "queue").mkdir()
    return {"TINY_FOLDER": str(tmp_path)}


@pytest.fixture
def send(tmp_path: Path, env: dict[str, str]) -> Send:
    """Publishes a task of the tiny app, with the name of the file it is to write."""
    app = Celery("sender", broker="filesystem://")
    app.conf.broker_transport_options = {
        "data_folder_in": str(tmp_path / "queue"),
        "data_folder_out": str(tmp_path / "queue"),
        "control_folder": str(tmp_path / "control"),
    }

    def publish(task: str, name: str) -> None:
        with app.connection_for_write() as connection:
            app.send_task(f"{APP}.{task}", args=[name], connection=connection)

    return publish


def _read_pid(path: Path) -> int:
    wait_for(lambda: path.exists() and path.read_text(), message=f"no {path.name}")
    return int(path.read_text())


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_a_ready_worker_does_what_is_sent(
    worker_factory: WorkerFactory, env: dict[str, str], send: Send, tmp_path: Path, pool: Pool
) -> None:
    worker = worker_factory(APP, pool=pool, env=env)
    send("note", "done")
    pid = _read_pid(tmp_path / "done")
    assert pid in worker.children() if pool == "prefork" else pid == worker.pid


def test_the_pool_has_as_many_processes_as_asked_for(worker_factory: WorkerFactory, env: dict[str, str]) -> None:
    worker = worker_factory(APP, concurrency=3, env=env)
    assert len(worker.children()) == 3
    assert {process.pid for process in worker.processes()} == {worker.pid, *worker.children()}


def test_kill_child_kills_one_and_the_worker_replaces_it(worker_factory: WorkerFactory, env: dict[str, str]) -> None:
    worker = worker_factory(APP, concurrency=2, env=env)
    before = worker.children()
    killed = worker.kill_child(before[1])
    assert killed == before[1]
    wait_for(lambda: len(worker.children()) == 2)
    assert before[0] in worker.children()
    assert killed not in worker.children()
    assert worker.running


def test_kill_child_takes_the_oldest_unless_told(worker_factory: WorkerFactory, env: dict[str, str]) -> None:
    worker = worker_factory(APP, concurrency=2, env=env)
    assert worker.children()[0] == worker.kill_child()


def test_kill_child_kills_no_other_process(worker_factory: WorkerFactory, env: dict[str, str]) -> None:
    worker = worker_factory(APP, env=env)
    with pytest.raises(AssertionError, match=f"has no pool process {os.getpid()}"):
        worker.kill_child(os.getpid())


def test_kill_child_without_any_is_an_error(worker_factory: WorkerFactory, env: dict[str, str]) -> None:
    worker = worker_factory(APP, pool="solo", env=env)
    with pytest.raises(AssertionError, match=r"has no pool process None, only \[\]"):
        worker.kill_child()


def test_kill_ends_a_task_that_is_running(
    worker_factory: WorkerFactory, env: dict[str, str], send: Send, tmp_path: Path
) -> None:
    worker = worker_factory(APP, env=env)
    send("linger", "begun")
    child = psutil.Process(_read_pid(tmp_path / "begun"))
    worker.kill()
    assert not alive(child)
    assert worker.children() == []


def test_terminate_lets_a_running_task_end(
    worker_factory: WorkerFactory, env: dict[str, str], send: Send, tmp_path: Path
) -> None:
    worker = worker_factory(APP, env=env)
    send("linger", "begun")
    _read_pid(tmp_path / "begun")
    (tmp_path / "release").touch()
    assert worker.terminate() == 0
    assert "succeeded" in worker.log()


def test_it_reads_the_queues_it_was_given(worker_factory: WorkerFactory, env: dict[str, str], tmp_path: Path) -> None:
    worker = worker_factory(APP, pool="solo", queues=["payments", "mail"], env=env)
    assert all(f".> {queue} " in worker.log() for queue in ("payments", "mail"))


def test_two_of_them_have_names_of_their_own(worker_factory: WorkerFactory, env: dict[str, str]) -> None:
    first = worker_factory(APP, pool="solo", env=env)
    second = worker_factory(APP, pool="solo", env=env)
    assert first.nodename != second.nodename
    assert first.log_path != second.log_path


def test_one_that_cannot_start_says_why(worker_factory: WorkerFactory) -> None:
    with pytest.raises(AssertionError, match="no_such_module"):
        worker_factory("no_such_module")


def test_other_arguments_reach_the_command(worker_factory: WorkerFactory, env: dict[str, str]) -> None:
    worker = worker_factory(APP, pool="solo", env=env, arguments=["--purge"], quiet=False)
    assert "--purge" in worker.command
    assert not any(word.startswith("--without") for word in worker.command)
