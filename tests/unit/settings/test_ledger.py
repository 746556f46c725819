from __future__ import annotations

from pathlib import Path

import pytest

from celeriac import Celery
from celeriac.errors import SettingsError
from celeriac.settings import ledger_beside, on_one_host_only

REDIS, POSTGRES = "redis://localhost", "postgresql://db/shop"


def app(**options: object) -> Celery:
    return Celery("shop", set_as_current=False, **options)  # type: ignore[arg-type]


def test_a_keyword_a_setting_and_a_variable_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    by_keyword = app(broker=REDIS, ledger=POSTGRES)
    by_setting = app(broker=REDIS)
    by_setting.conf.celeriac_ledger = POSTGRES
    monkeypatch.setenv("CELERIAC_LEDGER", "postgresql://elsewhere/shop")
    by_variable = app(broker=REDIS, ledger=POSTGRES)
    assert by_variable.ledger_beside == "postgresql://elsewhere/shop"
    monkeypatch.delenv("CELERIAC_LEDGER")
    for each in (by_keyword, by_setting):
        assert (each.ledger_beside, each.has_store, each.has_ledger) == (POSTGRES, False, True)
        assert each.conf.result_backend == POSTGRES
        assert each.conf.task_acks_late is True
        assert each.conf.worker_consumer == "celeriac.worker.consumer:Consumer"


def test_without_one_another_broker_has_none() -> None:
    plain = app(broker=REDIS)
    assert (plain.ledger_beside, plain.has_store, plain.has_ledger) == (None, False, False)
    assert plain.conf.worker_consumer == "celery.worker.consumer:Consumer"


def test_a_broker_that_is_a_store_is_its_own_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    same = app(broker="sqlite:///shop.db", ledger=f"sqlite:///{tmp_path.resolve()}/shop.db")
    assert (same.ledger_beside, same.has_store, same.has_ledger) == (None, True, True)


def test_another_store_than_the_broker_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"celeriac_ledger: .* is another store than the broker") as caught:
        ledger_beside({"celeriac_ledger": "postgresql://shop:secret@db/shop"}, "sqlite:////srv/shop.db")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://localhost", "amqp://", "mysql://db", "shop.db"])
def test_what_is_no_store_is_refused(url: str) -> None:
    with pytest.raises(
        SettingsError, match=r"names no store of celeriac's\. There are: postgresql, redis\+streams, sqlite"
    ):
        ledger_beside({"celeriac_ledger": url}, REDIS)


@pytest.mark.parametrize("value", [7, "", True])
def test_what_is_no_url_is_refused(value: object) -> None:
    with pytest.raises(SettingsError, match="is not a URL, nor None"):
        ledger_beside({"celeriac_ledger": value}, REDIS)


def test_a_path_that_means_no_file_names_the_setting() -> None:
    with pytest.raises(SettingsError, match="setting celeriac_ledger"):
        ledger_beside({"celeriac_ledger": "sqlite://shop.db"}, REDIS)


def test_a_ledger_named_later_brings_its_own_defaults() -> None:
    later = app(broker=REDIS)
    assert later.conf.task_acks_late is False
    later.conf.celeriac_ledger = POSTGRES
    assert later.has_ledger
    assert later.conf.task_acks_late is True


@pytest.mark.parametrize(
    ("ledger", "broker", "expected"),
    [
        ("sqlite:////srv/ledger.db", "redis://cache.internal", True),
        ("sqlite:////srv/ledger.db", "redis://:password@10.0.0.7:6379/0", True),
        ("sqlite:////srv/ledger.db", "redis://localhost", False),
        ("sqlite:////srv/ledger.db", "redis://127.0.0.1:6379/0", False),
        ("sqlite:////srv/ledger.db", "redis+socket:///run/redis.sock", False),
        ("sqlite:////srv/ledger.db", ["amqp://queue.internal"], True),
        (POSTGRES, "redis://cache.internal", False),
    ],
)
def test_a_file_is_the_ledger_of_one_host(ledger: str, broker: object, expected: bool) -> None:
    assert on_one_host_only(ledger, broker) is expected
