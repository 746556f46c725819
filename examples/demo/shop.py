"""The shop's processes, set up for celeriac or for stock Celery."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from examples.demo import EXAMPLES
from examples.demo.processes import Process, answers, free_port, listens, wait_until

#: Queue and concurrency of each worker.
WORKERS = {
    "orders": ("celery", 2),
    "payments": ("payments", 2),
    "notifications": ("notifications", 4),
    "reports": ("reports", 1),
}
#: Seconds a killed worker's tasks stay with it: short, so that a demo is.
LEASE, RENEW = 6, 2


class Shop:
    """Everything that runs, in one folder."""

    def __init__(self, folder: Path, *, stock_redis: str | None, seed: int) -> None:
        self.folder = folder
        self.stock = stock_redis is not None
        self.web_port, self.gateway_port, self.mail_port = free_port(), free_port(), free_port()
        self.gateway_books, self.mail_books = folder / "gateway.db", folder / "mail.db"
        self.env = self._environment(stock_redis)
        self.processes = {process.name: process for process in self._all(seed)}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    def _environment(self, redis: str | None) -> dict[str, str]:
        path = os.pathsep.join([str(EXAMPLES), str(EXAMPLES / "shop_fastapi"), str(EXAMPLES.parent / "src")])
        env = {
            **os.environ,
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            "CELERY_BROKER_URL": f"sqlite:///{self.folder / 'tasks.db'}",
            "SHOP_DATABASE": str(self.folder / "shop.db"),
            "SHOP_GATEWAY_URL": f"http://127.0.0.1:{self.gateway_port}",
            "SHOP_SMTP_PORT": str(self.mail_port),
            "CELERIAC_LEASE_SECONDS": str(LEASE),
            "CELERIAC_RENEW_SECONDS": str(RENEW),
        }
        if redis is not None:
            env |= {"SHOP_STOCK": "1", "CELERY_BROKER_URL": redis, "CELERY_RESULT_BACKEND": redis}
            # Others may use the server: no queue of theirs has this name.
            env["SHOP_QUEUE_PREFIX"] = f"{self.folder.name}."
        return env

    def _all(self, seed: int) -> list[Process]:
        found = [
            self._process(
                "gateway",
                "-m",
                "shop.gateway",
                "--port",
                str(self.gateway_port),
                "--books",
                str(self.gateway_books),
                "--seed",
                str(seed),
            ),
            self._process(
                "mail", "-m", "shop.mailserver", "--port", str(self.mail_port), "--books", str(self.mail_books)
            ),
            self._process(
                "web", "-m", "uvicorn", "app.main:app", "--port", str(self.web_port), "--log-level", "warning"
            ),
        ]
        for name, (queue, concurrency) in WORKERS.items():
            found.append(
                self._process(
                    f"worker-{name}",
                    *self._celery(
                        "worker", "-Q", self.env.get("SHOP_QUEUE_PREFIX", "") + queue, "-c", str(concurrency)
                    ),
                    "-n",
                    f"{name}@%h",
                    "-l",
                    "INFO",
                )
            )
        schedule = str(self.folder / "beat-schedule")
        return [*found, self._process("beat", *self._celery("beat", "-s", schedule, "-l", "INFO"))]

    def _celery(self, *arguments: str) -> list[str]:
        return ["-m", "celery", "-A", "app.core.celery", *arguments]

    def _process(self, name: str, *command: str) -> Process:
        return Process(name, list(command), self.folder, self.env)

    def start(self) -> None:
        """Start everything and wait until it serves.

        Raises RuntimeError with the end of the log of what did not start.
        """
        for process in self.processes.values():
            process.start()
        wait_until(lambda: answers(f"http://127.0.0.1:{self.gateway_port}/"), self.processes["gateway"])
        wait_until(lambda: listens(self.mail_port), self.processes["mail"])
        wait_until(lambda: answers(f"{self.url}/summary"), self.processes["web"])
        for name in WORKERS:
            self.wait_for_worker(name)

    def wait_for_worker(self, name: str, earlier: int = 0) -> None:
        """Wait until a worker is ready, once more than ``earlier`` times."""
        process = self.processes[f"worker-{name}"]
        wait_until(lambda: process.log.read_text(errors="replace").count(" ready.") > earlier, process)

    def kill_worker(self, name: str) -> None:
        """kill -9 for a worker and its children."""
        self.processes[f"worker-{name}"].kill()

    def restart_worker(self, name: str) -> None:
        """Start a killed worker again, and wait until it is ready."""
        process = self.processes[f"worker-{name}"]
        ready = process.log.read_text(errors="replace").count(" ready.")
        process.start()
        self.wait_for_worker(name, earlier=ready)

    def stop(self) -> None:
        """End everything."""
        for process in self.processes.values():
            process.signal(signal.SIGCONT)
            process.stop(patience=0.0 if process.name != "web" else 2.0)

    @contextmanager
    def without_mail(self) -> Iterator[None]:
        """The mail server is away, and listens again at the end."""
        mail = self.processes["mail"]
        mail.stop(patience=2.0)
        try:
            yield
        finally:
            mail.start()
            wait_until(lambda: listens(self.mail_port), mail)

    def stand_still(self, seconds: float) -> list[dict[str, Any]]:
        """Stop the gateway's process for so long; returns the circuits as they were seen last meanwhile."""
        gateway, until, seen = self.processes["gateway"], time.monotonic() + seconds, []
        gateway.signal(signal.SIGSTOP)
        try:
            while time.monotonic() < until:
                seen = self.circuits()
                time.sleep(0.2)
        finally:
            gateway.signal(signal.SIGCONT)
        return seen

    def circuits(self) -> list[dict[str, Any]]:
        """What is known of the shop's circuits; stock Celery has none."""
        if self.stock:
            return []
        found: list[dict[str, Any]] = json.loads(self.run("-m", "demo.circuits"))
        return found

    def dead_letters(self) -> list[dict[str, Any]]:
        """What gave up; stock Celery keeps none."""
        if self.stock:
            return []
        letters: list[dict[str, Any]] = json.loads(self.celery("dead", "list", "--json"))
        return letters

    def celery(self, *arguments: str) -> str:
        """What one of Celery's commands prints; see `run`."""
        return self.run(*self._celery(*arguments))

    def run(self, *arguments: str) -> str:
        """What Python prints, run beside the shop with these arguments.

        Raises RuntimeError with the end of its errors when it fails or takes longer than three minutes.
        """
        try:
            done = subprocess.run(
                [sys.executable, *arguments],
                cwd=self.folder,
                env=self.env,
                capture_output=True,
                text=True,
                check=False,
                timeout=180,
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"`python {' '.join(arguments)}` took longer than {error.timeout:g} s") from error
        if done.returncode:
            raise RuntimeError(f"`python {' '.join(arguments)}` failed:\n{done.stderr[-800:]}")
        return done.stdout
