"""How careful teams use Celery, block by block, on celeriac with the one import changed, against real workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery
from tests.support import Program, Worker, wait_for

HERE = Path(__file__).parent


class Service:
    """The FastAPI service: its environment, and a client process for each question."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = f"sqlite:///{folder / 'tasks.db'}"
        self.env = {
            "PYTHONPATH": os.pathsep.join([str(HERE / "patterns_fastapi"), str(HERE.parents[1] / "src")]),
            "PATTERNS_BROKER": self.broker,
            "PATTERNS_FOLDER": str(folder),
        }
        self._programs: list[Program] = []

    def worker(self, queue: str, concurrency: int) -> None:
        """``celery -A app worker -Q queue -c concurrency``."""
        worker = Worker("app.core.celery", self.folder, queues=[queue], concurrency=concurrency, env=self.env)
        self._programs.append(worker)
        worker.start()

    def beat(self) -> None:
        """``celery -A app beat``."""
        command = [sys.executable, "-m", "celery", "-A", "app.core.celery", "beat", "-s", str(self.folder / "beat")]
        beat = Program(command, self.folder, name="beat", env=self.env)
        self._programs.append(beat)
        beat.spawn()

    def close(self) -> None:
        for program in self._programs:
            program.close()

    def ask(self, code: str) -> Any:
        """Run a block in a web process of its own; it leaves its answer in ``answer``."""
        before = "import json\nfrom celery import chain, group, chord\nfrom app.tasks import *\n"
        done = subprocess.run(
            [sys.executable, "-c", f"{before}{code}\nprint(json.dumps(answer))"],
            env={**os.environ, **self.env},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def lines(self) -> list[str]:
        journal = self.folder / "journal"
        return journal.read_text().splitlines() if journal.exists() else []


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("patterns"))
    try:
        # Start workers per queue
        service.worker("notifications", 4)
        service.worker("payments", 2)
        service.worker("reports", 1)
        service.worker("celery", 2)
        yield service
    finally:
        service.close()


def test_a_task_that_is_safe_to_repeat(service: Service) -> None:
    code = "answer = [process_order.delay(1).get(timeout=60) for _ in range(3)] + [process_order.delay(404).get(timeout=60)]"
    assert service.ask(code) == [None] * 4
    assert service.lines().count("processed 1") == 1


def test_retries_with_backoff_and_jitter(service: Service) -> None:
    service.ask("answer = send_notification.delay(2).get(timeout=60)")
    assert service.lines().count("notify tried 2") == 2
    assert service.lines().count("notified 2") == 1


def test_a_manual_retry(service: Service) -> None:
    assert service.ask("answer = charge_payment.delay(3).get(timeout=60)") == 3
    assert service.lines().count("charge tried 3") == 2


def test_routing_to_a_worker_per_queue(service: Service) -> None:
    code = "a, b = process_payment.delay(4), generate_report.delay('monday')\nanswer = [a.get(timeout=60), b.get(timeout=60), a.id, b.id]"
    paid, reported, *ids = service.ask(code)
    assert (paid, reported) == ("paid 4", "report of monday")
    records = Celery("look", broker=service.broker).store.records(ids)
    assert [records[task_id].queue for task_id in ids] == ["payments", "reports"]


def test_a_sequential_pipeline(service: Service) -> None:
    code = """
order_id = 5
# Sequential pipeline
pipeline = chain(
    validate_order.s(order_id),
    charge_payment.s(),
    send_confirmation.s(),
)
answer = pipeline.apply_async().get(timeout=60)
"""
    assert service.ask(code) == "confirmed 5"
    assert service.ask("answer = chain(fetch.s('x'), parse.s(), store.s()).apply_async().get(timeout=60)") == 3


def test_parallel_processing(service: Service) -> None:
    code = """
item_ids = range(20)
# Parallel processing
batch = group(process_item.s(item_id) for item_id in item_ids)
answer = batch.apply_async().get(timeout=60)
"""
    assert service.ask(code) == [item * 2 for item in range(20)]


def test_fan_out_then_aggregate(service: Service) -> None:
    code = """
symbols = ["A", "BB", "CCC"]
# Fan-out then aggregate
workflow = chord(
    group(fetch_price.s(symbol) for symbol in symbols),
    aggregate_prices.s(),
)
answer = workflow.apply_async().get(timeout=60)
"""
    assert service.ask(code) == 6


def test_beat(service: Service) -> None:
    service.beat()
    wait_for(lambda: service.lines().count("cleaned up") >= 2, 90, "beat sends nothing that is run")


def test_django_with_delay_on_commit(tmp_path: Path) -> None:
    project = HERE / "patterns_django"
    env = {
        "PYTHONPATH": os.pathsep.join([str(project), str(HERE.parents[1] / "src")]),
        "PATTERNS_BROKER": f"sqlite:///{tmp_path / 'tasks.db'}",
        "PATTERNS_DJANGO_DATABASE": str(tmp_path / "django.db"),
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    done = subprocess.run(
        [sys.executable, str(project / "drive.py")],
        env={**os.environ, **env},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert (answers["before the commit"], answers["after the commit"], answers["after a rollback"]) == (0, 1, 1)
    assert ".pk" in answers["a model as argument"]
    with Worker("config", tmp_path, env=env):
        result = Celery("look", broker=env["PATTERNS_BROKER"]).AsyncResult(answers["id"])
        assert result.get(timeout=60) == "a lamp"
