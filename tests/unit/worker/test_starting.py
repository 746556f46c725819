from __future__ import annotations

import logging
from pathlib import Path

import pytest

from celeriac import Celery
from celeriac.execution.opening import remembered
from celeriac.worker.starting import tell_of_the_ledger


def told(caplog: pytest.LogCaptureFixture, **options: object) -> list[tuple[str, str]]:
    with caplog.at_level(logging.INFO, "celeriac"):
        tell_of_the_ledger(Celery("shop", set_as_current=False, **options))  # type: ignore[arg-type]
    return [(record.levelname, record.getMessage()) for record in caplog.records]


@pytest.mark.parametrize(("defaults", "level"), [("safe", "WARNING"), ("celery", "INFO")])
def test_without_a_ledger_one_line_says_how_to_name_one(
    caplog: pytest.LogCaptureFixture, defaults: str, level: str
) -> None:
    [(said_at, said)] = told(caplog, broker="amqp://shop:secret@queue.internal", defaults=defaults)
    assert said_at == level
    assert "ledger=" in said
    assert "secret" not in said


def test_nothing_is_said_where_all_is_well(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    assert told(caplog, broker=f"sqlite:///{tmp_path}/shop.db") == []
    assert told(caplog, broker="redis://localhost", ledger=f"sqlite:///{tmp_path}/ledger.db") == []


def test_a_file_beside_a_broker_of_many_hosts(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    [(level, said)] = told(caplog, broker="redis://cache.internal", ledger=f"sqlite:///{tmp_path}/ledger.db")
    assert level == "WARNING"
    assert f"{tmp_path}/ledger.db" in said
    assert "redis://cache.internal" in said


def test_ends_are_remembered_for_as_long_as_copies_come(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    options = {"broker": "redis://localhost", "ledger": url, "result_expires": 60}
    [(level, said)] = told(caplog, **options)
    assert (level, "result_expires is 60 s" in said, "7200 s" in said) == ("WARNING", True, True)
    app = Celery("shop", set_as_current=False, **options)  # type: ignore[arg-type]
    assert app.execution_room.remembered == 7200
    app.conf.broker_transport_options = {"visibility_timeout": 20}
    assert remembered(app) == 60
