"""A task gives up under a real worker, and the command line brings it back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord

from celeriac import Celery
from tests.integration.dead_letters_app import DATABASE, shop
from tests.support import Worker, wait_for

ROOT = Path(__file__).resolve().parents[2]
APP = "tests.integration.dead_letters_app"

Dead = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def app(database: Path) -> Iterator[Celery]:
    made = shop(database)
    yield made
    made.store.close()


@pytest.fixture
def worker(worker_factory: Callable[..., Worker], database: Path) -> Worker:
    return worker_factory(APP, pool="solo", env={DATABASE: str(database)})


@pytest.fixture
def dead(database: Path) -> Dead:
    """``celery -A … dead …`` in a process of its own, as a user runs it."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "celery", "-A", APP, "dead", *arguments]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        env = os.environ | {"PYTHONPATH": path, DATABASE: str(database)}
        return subprocess.run(
            command, cwd=database.parent, env=env, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def listed(dead: Dead, *arguments: str) -> list[dict[str, Any]]:
    result = dead("list", "--json", *arguments)
    assert result.returncode == 0, result.stderr
    letters: list[dict[str, Any]] = json.loads(result.stdout)
    return letters


@pytest.mark.usefixtures("worker")
def test_a_task_that_gave_up_is_listed_redriven_and_succeeds(app: Celery, database: Path, dead: Dead) -> None:
    charge, confirm = app.tasks["shop.charge"], app.tasks["shop.confirm"]
    confirmed = chain(charge.s(7, currency="CHF"), confirm.s()).delay()
    charged = confirmed.parent
    wait_for(lambda: charged.state == "FAILURE")

    (letter,) = listed(dead, "--task", "shop.*")
    assert (letter["task_id"], letter["task"], letter["queue"]) == (charged.id, "shop.charge", "celery")
    assert (letter["args"], letter["kwargs"]) == ([7], {"currency": "CHF"})
    assert letter["error"] == "gateway refused order 7"
    assert [attempt["outcome"] for attempt in letter["attempts"]] == ["retry", "retry", "dead-lettered"]
    for attempt in letter["attempts"]:
        assert "gateway refused order 7" in attempt["traceback"]
        assert attempt["worker"].startswith("worker-")
    shown = dead("show", charged.id)
    assert "next shop.confirm" in shown.stdout, shown.stderr

    database.with_name("repaired").touch()
    result = dead("redrive", charged.id)
    assert (result.returncode, result.stdout) == (0, "1 redriven\n"), result.stderr
    wait_for(lambda: app.AsyncResult(charged.id).state == "SUCCESS")
    assert app.AsyncResult(charged.id).get(timeout=5) == "7 CHF, retries 0"
    wait_for(lambda: app.AsyncResult(confirmed.id).state == "SUCCESS")
    assert app.AsyncResult(confirmed.id).get(timeout=5) == "confirmed 7 CHF, retries 0", "the chain goes on"
    assert listed(dead) == []


@pytest.mark.usefixtures("worker")
def test_one_that_fails_again_has_its_retries_before_it_and_comes_back(app: Celery, dead: Dead) -> None:
    charged = app.tasks["shop.charge"].delay(8)
    wait_for(lambda: charged.state == "FAILURE")
    (first,) = listed(dead)
    assert dead("redrive", "--all").returncode == 0
    (second,) = wait_for(lambda: listed(dead))
    assert second["task_id"] == first["task_id"]
    assert second["id"] > first["id"]
    outcomes = [attempt["outcome"] for attempt in second["attempts"]]
    assert outcomes == ["retry", "retry", "dead-lettered"] * 2


@pytest.mark.usefixtures("worker")
def test_a_redriven_member_lets_its_chord_end(app: Celery, database: Path, dead: Dead) -> None:
    figure, total = app.tasks["reports.figure"], app.tasks["reports.total"]
    report = chord([figure.s(number) for number in range(4)], app=app)(total.s())
    wait_for(lambda: report.state == "FAILURE")
    (letter,) = listed(dead)
    shown = dead("show", str(letter["id"]))
    assert "body reports.total" in shown.stdout, shown.stderr

    database.with_name("repaired").touch()
    assert dead("redrive", str(letter["id"])).returncode == 0
    wait_for(lambda: app.AsyncResult(report.id).state == "SUCCESS")
    assert app.AsyncResult(report.id).get(timeout=5) == sum(range(4))


@pytest.mark.usefixtures("worker")
def test_a_key_that_another_task_holds_refuses_the_redrive(app: Celery, dead: Dead) -> None:
    capture = app.tasks["shop.capture"]
    failed = capture.delay(7)
    wait_for(lambda: failed.state == "FAILURE")
    holder = capture.apply_async((7,), countdown=3600)
    assert holder.id != failed.id, "the failure has freed the key"

    result = dead("redrive", failed.id)
    assert (result.returncode, result.stdout) == (1, "0 redriven, 1 refused\n")
    assert "capture:7" in result.stderr
    assert holder.id in result.stderr
    (letter,) = listed(dead)
    assert letter["task_id"] == failed.id, "what is refused stays"
    assert app.AsyncResult(holder.id).state == "PENDING", "and the holder is left alone"


def test_purged_ones_are_gone_for_every_process(app: Celery, worker: Worker, dead: Dead) -> None:
    failed = [app.tasks["shop.capture"].delay(order_id) for order_id in (1, 2, 3)]
    wait_for(lambda: all(result.state == "FAILURE" for result in failed))
    worker.terminate()
    refused = dead("purge", "--error", "no amount")
    assert refused.returncode == 1, "nobody is there to answer"
    assert "--yes" in refused.stderr
    assert len(listed(dead)) == len(failed)
    assert dead("purge", "--error", "no amount", "--yes").stdout == "3 purged\n"
    assert listed(dead) == []
