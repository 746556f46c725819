"""The shop's web process and tasks, in this process, on a database and a broker file of the test's own."""

from __future__ import annotations

import socket
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn

from tests.examples.conftest import RunningGateway
from tests.support import wait_for

ORDER = {
    "invoice": "S1",
    "customer": "7",
    "country": "France",
    "lines": [{"article": "A", "quantity": 8, "pence": "12.5"}, {"article": "B", "quantity": 1, "pence": 200}],
}


def forget() -> None:
    """The settings are read once, at import."""
    for name in [name for name in sys.modules if name == "app" or name.startswith("app.")]:
        del sys.modules[name]


@pytest.fixture
def shop(
    tmp_path: Path, gateway: RunningGateway, clients: Any, mail: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The web app, the tasks and the repository, with real strangers and no worker."""
    state: Any = import_module("celery._state")
    # A task goes to every app that is made later, until its finalizer is taken back.
    current, finalizers = getattr(state._tls, "current_app", None), set(state._on_app_finalizers)
    for name, value in {
        "CELERY_BROKER_URL": f"sqlite:///{tmp_path / 'tasks.db'}",
        "SHOP_DATABASE": str(tmp_path / "shop.db"),
        "SHOP_GATEWAY_URL": gateway.url,
        "SHOP_SMTP_PORT": str(mail[0]),
    }.items():
        monkeypatch.setenv(name, value)
    forget()
    main, tasks = import_module("app.main"), import_module("app.tasks.orders")
    main.repository.create()
    app = import_module("app.core.celery").celery_app
    yield SimpleNamespace(main=main, tasks=tasks, repository=main.repository, app=app, mail=mail[1])
    app.close()
    state._tls.current_app = current
    state._on_app_finalizers.intersection_update(finalizers)
    forget()


@pytest.fixture
def web(shop: Any) -> Iterator[httpx.Client]:
    """A client of the web process's own server, in a thread."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(shop.main.app, log_level="warning", lifespan="on"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        wait_for(lambda: server.started, 20)
        with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", trust_env=False) as client:
            yield client
        server.should_exit = True
        thread.join()


DAY = "2026-01-02"


def placed(shop: Any, order_id: int, status: str = "validated") -> int:
    """An order of this number, in this state."""
    with closing(sqlite3.connect(shop.repository.path)) as raw, raw:
        raw.execute(
            "INSERT INTO shop_order (id, invoice, customer, country, pence, status, changed_at) VALUES (?,?,?,?,?,?,0)",
            (order_id, f"S{order_id}", "7", "France", 250, status),
        )
    return order_id


def status(shop: Any, order_id: int) -> str:
    return str(shop.repository.get(order_id)["status"])


# -- the API


def test_an_order_is_accepted_and_on_its_way(shop: Any, web: Any) -> None:
    answer = web.post("/orders", json=ORDER)
    assert answer.status_code == 202
    order_id = answer.json()["order_id"]
    shown = web.get(f"/orders/{order_id}").json()
    assert (shown["status"], shown["pence"], shown["invoice"]) == ("placed", 300, "S1")
    with shop.app.connection_for_read() as connection:
        assert connection.default_channel.queue_declare("celery", passive=True).message_count == 1


def test_the_same_order_again_is_the_same_and_another_under_its_name_is_a_conflict(web: Any) -> None:
    first, second = (web.post("/orders", json=ORDER).json()["order_id"] for _ in range(2))
    assert first == second
    answer = web.post("/orders", json={**ORDER, "customer": "8"})
    assert (answer.status_code, "is order 1 already" in answer.json()["detail"]) == (409, True)


@pytest.mark.parametrize(
    "change",
    [
        {"lines": []},
        {"customer": ""},
        {"customer": "7\nBcc: x@mail.example"},
        {"invoice": ""},
        {"lines": [{"article": "A", "quantity": -1, "pence": 5}]},
        {"lines": [{"article": "A", "quantity": 1, "pence": "nan"}]},
        {"lines": [{"article": "A", "quantity": 1, "pence": "0.1"}]},
        {"lines": [{"article": "A", "quantity": 1_000_000, "pence": 100_000_000}]},
    ],
)
def test_what_must_not_be_charged_is_not_accepted(web: Any, change: dict[str, Any]) -> None:
    assert web.post("/orders", json={**ORDER, **change}).status_code == 422
    assert web.get("/summary").json() == {"counts": {}, "latest": []}


def test_the_page_and_what_it_asks_for(web: Any) -> None:
    web.post("/orders", json=ORDER)
    page = web.get("/")
    assert page.headers["content-type"].startswith("text/html")
    states = import_module("shop.orders")
    for state in {states.PLACED, *states.BEFORE}:
        assert f'"{state}"' in page.text, "the page does not know this state"
        assert f"--{state}:" in page.text, "the page has no colour for this state"
    summary = web.get("/summary").json()
    assert summary["counts"] == {"placed": 1}
    assert {"id", "invoice", "country", "pence", "status"} <= summary["latest"][0].keys()


def test_an_order_that_is_none_is_not_found(web: Any) -> None:
    answer = web.get("/orders/99")
    assert (answer.status_code, answer.json()["detail"]) == (404, "there is no order 99")


# -- the tasks


def test_an_order_is_validated_charged_and_confirmed(shop: Any, gateway: RunningGateway) -> None:
    order_id = placed(shop, gateway.order("none"), "placed")
    for task, after in (
        (shop.tasks.validate_order, "validated"),
        (shop.tasks.charge_payment, "charged"),
        (shop.tasks.confirm_order, "confirmed"),
    ):
        assert task(order_id) == order_id
        assert status(shop, order_id) == after
    # All of it again, as after a redelivery: nothing is charged or mailed twice, and no state goes back.
    for task in (shop.tasks.validate_order, shop.tasks.charge_payment, shop.tasks.confirm_order):
        assert task(order_id) == order_id
    assert status(shop, order_id) == "confirmed"
    assert gateway.asked("SELECT order_id, pence FROM charge") == [(order_id, 250)]
    with closing(sqlite3.connect(shop.mail)) as raw:
        assert raw.execute("SELECT count(*) FROM mail").fetchone() == (1,)


def test_an_order_whose_charge_was_not_answered_cannot_expire(shop: Any, gateway: RunningGateway) -> None:
    order_id = placed(shop, gateway.order("answer-lost"))
    with pytest.raises(ConnectionError):
        shop.tasks.charge_payment(order_id)
    assert status(shop, order_id) == "charging"
    assert shop.repository.expire(-1.0) == 0
    assert shop.tasks.charge_payment(order_id) == order_id
    assert status(shop, order_id) == "charged"
    assert gateway.asked("SELECT count(*) FROM charge") == [(1,)]


def test_an_order_that_expired_is_not_charged(shop: Any, gateway: RunningGateway) -> None:
    order_id = placed(shop, gateway.order("none"))
    assert shop.tasks.expire_abandoned_orders() == 1
    with pytest.raises(import_module("shop.orders").InvalidOrder, match=f"order {order_id} is expired"):
        shop.tasks.charge_payment(order_id)
    assert gateway.asked("SELECT count(*) FROM call") == [(0,)]


def test_a_busy_gateway_is_asked_again(shop: Any, gateway: RunningGateway, clients: Any) -> None:
    order_id = placed(shop, gateway.order("busy"))
    with pytest.raises(clients.GatewayDown):
        shop.tasks.charge_payment(order_id)
    assert status(shop, order_id) == "charging"
    assert shop.tasks.charge_payment(order_id) == order_id


@pytest.mark.parametrize(
    ("trouble", "error", "after"),
    [("declined", "Declined", "declined"), ("unknown-account", "GatewayRefused", "refused")],
)
def test_an_answer_that_is_no_stays_no(
    shop: Any, gateway: RunningGateway, clients: Any, trouble: str, error: str, after: str
) -> None:
    order_id = placed(shop, gateway.order(trouble))
    # The second time it is known without asking.
    for _ in range(2):
        with pytest.raises(getattr(clients, error)):
            shop.tasks.charge_payment(order_id)
    assert status(shop, order_id) == after
    assert gateway.asked("SELECT count(*) FROM call") == [(1,)]


@pytest.mark.parametrize("task", ["validate_order", "charge_payment", "confirm_order"])
def test_an_order_that_does_not_exist_is_an_error_for_good(shop: Any, task: str) -> None:
    with pytest.raises(
        import_module("shop.orders").InvalidOrder, match=r"order 99 does not exist in .*shop\.db"
    ) as told:
        getattr(shop.tasks, task)(99)
    assert not isinstance(told.value, OSError), "an OSError would be tried again"


def test_only_what_was_charged_is_confirmed(shop: Any) -> None:
    placed(shop, 1, "charging")
    with pytest.raises(import_module("shop.orders").InvalidOrder, match="only a charged order"):
        shop.tasks.confirm_order(1)


def test_a_prefix_stands_before_every_queue(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_QUEUE_PREFIX", "mine.")
    names = [name for name in shop.app.tasks if name.startswith("app.tasks.")]
    sys.modules.pop("app.core.config")
    sys.modules.pop("app.core.celery")
    app = import_module("app.core.celery").celery_app
    routed = {app.amqp.router.route({}, name)["queue"].name for name in names}
    app.close()
    assert routed == {"mine.celery", "mine.payments", "mine.notifications", "mine.reports"}


def test_the_report_adds_up(shop: Any) -> None:
    reports = import_module("app.tasks.reports")
    assert reports.nightly_report() is None
    placed(shop, 1, "confirmed")
    figures = [reports.country_figures(country, DAY) for country in ("France", "Norway")]
    assert reports.compile_report(figures, DAY) == {
        "day": DAY,
        "orders": 1,
        "pence": 250,
        "countries": [["France", 1, 250], ["Norway", 0, 0]],
    }


def test_the_report_is_one_workflow_of_its_own_name(shop: Any) -> None:
    reports = import_module("app.tasks.reports")
    placed(shop, 1, "confirmed")
    sent = shop.app.workflows.get(reports.nightly_report(DAY))
    assert sent.name == f"nightly report of {DAY}"
    names = [one.node.task.rpartition(".")[2] for one in sent.nodes]
    assert names == ["country_figures", "compile_report", "mail_report", "close_day"]


def test_the_report_is_of_yesterday_unless_a_day_is_named(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = import_module("app.tasks.reports")

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(2026, 1, 1, 2, 0, tzinfo=tz)

    monkeypatch.setattr(reports, "datetime", Clock)
    placed(shop, 1, "confirmed")
    assert shop.app.workflows.get(reports.nightly_report()).name == "nightly report of 2025-12-31"


def test_the_report_is_mailed_and_the_day_closed_and_each_step_noted(shop: Any) -> None:
    reports = import_module("app.tasks.reports")
    placed(shop, 1, "confirmed")
    report = reports.compile_report([reports.country_figures("France", DAY)], DAY)
    assert reports.close_day(reports.mail_report(report)) == report
    with closing(sqlite3.connect(shop.mail)) as raw:
        found = raw.execute("SELECT message_id, recipient, subject FROM mail").fetchall()
    subject = f"{DAY}: 1 orders, 250 pence"
    assert found == [(f"<report-{DAY}@shop.example>", "head.office@shop.example", subject)]
    assert shop.repository.steps(DAY) == {"figures of France": 1, "compile": 1, "mail": 1, "close": 1}


def test_a_report_that_could_not_be_mailed_is_not_noted(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = import_module("app.tasks.reports")
    monkeypatch.setattr(reports, "settings", SimpleNamespace(SHOP_SMTP_HOST="127.0.0.1", SHOP_SMTP_PORT="1"))
    with pytest.raises(ConnectionRefusedError):
        reports.mail_report(reports.compile_report([], DAY))
    assert "mail" not in shop.repository.steps(DAY)
