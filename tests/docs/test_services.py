"""The pages for web services, run as written: worker, web process and tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.docs.blocks import DOCS, commands, write
from tests.support import Program, Worker, free_port, wait_for

#: What every Django project has in its settings.
DJANGOS = """
SECRET_KEY = "only for this test"
INSTALLED_APPS = ["orders"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
"""


class Web(Program):
    """The page's API under uvicorn, as the page starts it but for the port."""

    def __init__(self, page: Path, folder: Path) -> None:
        [[app, *_]] = commands(page, "uvicorn")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__([sys.executable, "-m", "uvicorn", app, "--port", str(port)], folder, name="web")

    def ready(self) -> bool:
        return "Uvicorn running" in self.log_of_this_run()

    def ask(self, method: str, path: str) -> Any:
        with httpx.Client(base_url=self.url, trust_env=False, timeout=30) as http:
            return http.request(method, path).raise_for_status().json()


def _app_of_the_worker(page: Path) -> str:
    """What the page gives to `celery -A` for its worker."""
    [app] = {given[1] for given in commands(page, "celery") if given[2] == "worker"}
    return app


def _run(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_an_order_posted_twice_is_one_task_and_succeeds(tmp_path: Path) -> None:
    page = DOCS / "how-to" / "fastapi.md"
    write(page, tmp_path)
    with Worker(_app_of_the_worker(page), tmp_path), Web(page, tmp_path) as web:
        first, second = (web.ask("POST", "/orders/7")["task"] for _ in range(2))
        assert first == second
        wait_for(
            lambda: web.ask("GET", f"/tasks/{first}") == {"state": "SUCCESS"}, message="the order is not processed"
        )
        assert web.ask("POST", "/orders/7")["task"] == first


def test_the_django_page_runs_and_so_do_its_tests(tmp_path: Path) -> None:
    page = DOCS / "how-to" / "django.md"
    write(page, tmp_path)
    for package in ("orders", "orders/migrations"):
        (tmp_path / package).mkdir(exist_ok=True)
        (tmp_path / package / "__init__.py").touch()
    with (tmp_path / "config" / "settings.py").open("a") as settings:
        settings.write(DJANGOS)
    django = ("-m", "django")
    given = ("--settings", "config.settings", "--pythonpath", ".")
    _run(tmp_path, *django, "makemigrations", "orders", *given)
    assert "Ran 2 tests" in _run(tmp_path, *django, "test", *given)
    _run(tmp_path, *django, "migrate", *given)
    publish = (
        "import config, django; django.setup()\n"
        "from orders.models import Order; from orders.tasks import process_order\n"
        "order = Order.objects.create()\n"
        "print(process_order.delay(order.pk).get(timeout=30)); order.refresh_from_db(); print(order.processed)\n"
        "print(config.celery_app.own_settings.idempotency_ttl)"
    )
    with Worker(_app_of_the_worker(page), tmp_path):
        told = _run(tmp_path, "-c", publish)
    assert told.split() == ["processed", "True", "3600.0"]
