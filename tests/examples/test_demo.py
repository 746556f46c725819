"""The parts of the demo: what it reads, whom it kills and when, how long it waits, what it makes of dead letters."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from examples.demo.letters import about_orders, order_of
from examples.demo.processes import listens
from examples.demo.shop import Shop
from examples.demo.stock import own_database, redis_url
from tests.support import wait_for

demo_night: Any = import_module("examples.demo.night")
demo_run: Any = import_module("examples.demo.run")
source: Any = import_module("examples.demo.source")
orders: Any = import_module("shop.orders")
CHARGE = "app.tasks.orders.charge_payment"


def letter(order_id: object, task: str = CHARGE) -> dict[str, Any]:
    return {"task": task, "args": [order_id], "kwargs": {}, "error_type": "Refused", "error": "no"}


# -- dead letters


@pytest.mark.parametrize(
    ("found", "order_id"),
    [
        (letter(7), 7),
        ({**letter(7), "args": [], "kwargs": {"order_id": 8}}, 8),
        (letter("France", "app.tasks.reports.country_figures"), None),
        (letter([["France", 1, 250]], "app.tasks.reports.compile_report"), None),
        ({**letter(7), "args": None, "kwargs": None}, None),
        ({**letter(7), "args": []}, None),
        (letter(True), None),
        ({**letter(7), "task": None}, None),
    ],
)
def test_a_letter_is_about_an_order_or_about_none(found: dict[str, Any], order_id: int | None) -> None:
    assert order_of(found) == order_id
    assert list(about_orders([found])) == ([] if order_id is None else [order_id])


def test_a_letter_says_why() -> None:
    assert about_orders([letter(7)]) == {7: f"{CHARGE}: Refused: no"}
    assert "crashed" in about_orders([{**letter(7), "error_type": None, "reason": "crashed"}])[7]


# -- what it is told


@pytest.mark.parametrize("text", ["many", "0", "-1", "1.5", "٣", "9" * 30])
def test_a_number_that_is_none_ends_it(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("N", text)
    with pytest.raises(SystemExit, match=r"N=.*at least 1"):
        source.number("N")


def test_numbers_have_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("N", "12")
    monkeypatch.delenv("SEED", raising=False)
    assert (source.number("N"), source.number("SEED", 7), source.number("SEED")) == (12, 7, None)


def test_a_verdict_that_cannot_be_written_is_told_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JSON", str(tmp_path / "nowhere" / "v.json"))
    with pytest.raises(SystemExit, match="folder that exists"):
        source.verdict_path()
    monkeypatch.setenv("JSON", str(tmp_path / "v.json"))
    assert source.verdict_path() == tmp_path / "v.json"


def test_the_verdict_has_every_reason(tmp_path: Path) -> None:
    path = source.SAMPLE
    reading = source.read(path)
    facts = json.loads(json.dumps(source.as_facts(path, reading)))
    assert facts["good_orders"] == 200
    assert len(facts["reasons"]) == sum(facts["rejected"].values()) == len(reading.reasons)
    text = "\n".join(source.told(reading))
    for kind, count in facts["rejected"].items():
        assert f"{kind:<34}{count:>8}" in text


def test_a_file_without_orders_says_why(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    path.write_text(f"{header}\n1,A,B,1,2025-01-01,1,,X\n")
    with pytest.raises(SystemExit, match="holds no order") as told:
        source.read(path)
    assert "invoice 1 has no customer" in str(told.value)


# -- a run, with a shop that is told what to do


class FakeShop:
    """The shop's web address and database, without workers: orders move as `work` says, until it is killed."""

    def __init__(self, folder: Path, refuse: set[str]) -> None:
        self.folder, self.stock = folder, False
        self.repository = import_module("shop.repository").OrderRepository(folder / "shop.db")
        self.repository.create()
        self.letters: list[dict[str, Any]] = []
        self.killed_with: list[dict[int, str]] = []
        self.restarted = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(refuse))
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def _handler(self, refuse: set[str]) -> type[BaseHTTPRequestHandler]:
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                taken = body["invoice"] not in refuse
                order_id = shop.work(body["invoice"]) if taken else 0
                data = json.dumps({"order_id": order_id}).encode()
                self.send_response(202 if taken else 422)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def work(self, invoice: str) -> int:
        """Charge and confirm at once, but for what names its trouble."""
        order_id = int(self.repository.place(order(invoice)))
        way = (
            ["validated", "charging"]
            if invoice.startswith("stuck")
            else ["validated", "charging", "charged", "confirmed"]
        )
        for state in way if not invoice.startswith("left") else []:
            self.repository.advance(order_id, state)
        return order_id

    def kill_worker(self, name: str) -> None:
        assert name == "payments"
        self.killed_with.append(self.repository.ids())

    def restart_worker(self, name: str) -> None:
        self.restarted.set()

    def stand_still(self, seconds: float) -> list[dict[str, Any]]:
        return []

    def dead_letters(self) -> list[dict[str, Any]]:
        return self.letters

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def order(invoice: str) -> Any:
    lines = [orders.Line("A", 1, Decimal(250))]
    return orders.Order(invoice, "7", "France", datetime(2025, 1, 6, tzinfo=timezone.utc), lines)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[FakeShop]:
    made = FakeShop(tmp_path, refuse={"bad1", "bad2"})
    yield made
    made.close()


def a_run(shop: Any, invoices: list[str], wanted: int = 1000) -> Any:
    return demo_run.Run(shop, [order(invoice) for invoice in invoices], wanted)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_run, "STILL", 0.05)


def test_the_kill_comes_at_half_of_the_payments(shop: FakeShop) -> None:
    run = a_run(shop, [f"ok{number}" for number in range(20)])
    run.go()
    assert run.accepted == set(range(1, 21))
    assert run.paid_at_kill >= 10
    (seen,) = shop.killed_with
    assert sum(state in ("charged", "confirmed") for state in seen.values()) >= 10
    assert shop.restarted.is_set()


def test_the_number_counts_accepted_orders(shop: FakeShop) -> None:
    run = a_run(shop, ["bad1", "a", "bad2", "b", "c", "d"], wanted=3)
    run.go()
    assert {shop.repository.get(order_id)["invoice"] for order_id in run.accepted} == {"a", "b", "c"}
    assert sorted(told.split(":")[0] for told in run.refused) == ["invoice bad1", "invoice bad2"]


def test_without_payments_the_kill_comes_all_the_same_and_a_dead_letter_ends_the_wait(
    shop: FakeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_run, "KILL_PATIENCE", 0.5)
    shop.letters = [letter("France", "app.tasks.reports.country_figures"), letter(1), letter(2)]
    run, began = a_run(shop, ["stuck1", "stuck2"]), time.monotonic()
    run.go()
    assert time.monotonic() - began < demo_run.PATIENCE / 4
    assert (run.paid_at_kill, run.held, sorted(run.dead)) == (0, {1, 2}, [1, 2])
    assert run.recovered_after is not None


def test_what_never_moves_again_is_given_up_and_has_not_recovered(
    shop: FakeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_run, "KILL_PATIENCE", 3.0)
    monkeypatch.setattr(demo_run, "PATIENCE", 0.3)
    # Fewer than half are ever paid: the kill comes when its patience is over, and the stuck one is being charged by then.
    run = a_run(shop, ["stuck1", "left1", "left2", "a"])
    run.go()
    assert run.recovered_after is None
    assert run.held_still == run.held
    assert run.settled_after >= 0.3
    assert run.held == {order_id for order_id, state in shop.repository.ids().items() if state == "charging"}


def test_a_shop_that_fails_ends_the_run(shop: FakeShop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(order_: Any) -> int:
        raise OSError("the disk is full")

    monkeypatch.setattr(shop.repository, "place", broken)
    monkeypatch.setattr(shop.server, "handle_error", lambda *_: None)
    with pytest.raises(import_module("httpx").TransportError):
        a_run(shop, ["a", "b"]).go()


# -- the night


class Nights:
    """A shop in which reports become what the test says; what is done with it is kept."""

    def __init__(self, folder: Path, *told: Any, stock: bool = False) -> None:
        self.folder, self.stock, self.told = folder, stock, list(told)
        self.done: list[str] = []
        self.repository = import_module("shop.repository").OrderRepository(folder / "shop.db")
        self.repository.create()

    def confirmed(self) -> None:
        order_id = self.repository.place(order("1"))
        for state in ("validated", "charging", "charged", "confirmed"):
            self.repository.advance(order_id, state)

    @contextmanager
    def without_mail(self) -> Iterator[None]:
        self.done.append("mail away")
        try:
            yield
        finally:
            self.done.append("mail back")

    def run(self, *arguments: str) -> str:
        self.done.append(arguments[2])
        answer = self.told.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return f"{json.dumps(answer)}\n"

    def celery(self, *arguments: str) -> str:
        self.done.append(" ".join(arguments))
        return "drawn\n"


REPORT = {"orders": 1, "pence": 250, "countries": [["France", 1, 250]]}
BLOCKED = {"last": "t", "workflow": "w", "state": "blocked", "report": None}
THROUGH = {**BLOCKED, "state": "succeeded", "report": REPORT}


def test_a_blocked_report_is_shown_while_its_cause_lasts_and_resumed_after(tmp_path: Path, capsys: Any) -> None:
    shop = Nights(tmp_path, BLOCKED, THROUGH)
    shop.confirmed()
    night = demo_night.spend(shop)
    assert shop.done == ["mail away", "send", "workflow show w", "mail back", "workflow resume w", "wait"]
    assert (night.workflow, night.states) == ("w", ["blocked", "succeeded"])
    assert night.expected == {"figures of France", "compile", "mail", "close"}
    assert "nightly report: 1 orders, £2.50; most from France" in capsys.readouterr().out


def test_stock_celery_keeps_its_mail_server(tmp_path: Path, capsys: Any) -> None:
    shop = Nights(tmp_path, {**THROUGH, "workflow": None}, stock=True)
    shop.confirmed()
    night = demo_night.spend(shop)
    assert (shop.done, night.workflow, night.states) == (["send"], None, ["succeeded"])
    assert "nightly report: 1 orders" in capsys.readouterr().out


def test_without_orders_there_is_no_report(tmp_path: Path) -> None:
    shop = Nights(tmp_path, None)
    night = demo_night.spend(shop)
    assert shop.done == ["mail away", "send", "mail back"]
    assert (night.expected, night.steps, night.states) == (frozenset(), {}, [])


def test_a_report_that_fails_is_told_and_missing(tmp_path: Path, capsys: Any) -> None:
    shop = Nights(tmp_path, RuntimeError("no worker"))
    shop.confirmed()
    night = demo_night.spend(shop)
    assert shop.done == ["mail away", "send", "mail back"]
    assert "the nightly report failed: no worker" in capsys.readouterr().out
    assert (len(night.expected), night.steps) == (4, {})


def test_the_mail_server_goes_and_comes_back(tmp_path: Path) -> None:
    shop = Shop(tmp_path, stock_redis=None, seed=7)
    mail = shop.processes["mail"]
    mail.start()
    try:
        wait_for(lambda: listens(shop.mail_port))
        with shop.without_mail():
            assert not listens(shop.mail_port)
        assert listens(shop.mail_port)
    finally:
        mail.kill()


def test_what_is_run_beside_the_shop_says_why_it_failed(tmp_path: Path) -> None:
    shop = Shop(tmp_path, stock_redis=None, seed=7)
    assert shop.run("-c", "print(1)") == "1\n"
    with pytest.raises(RuntimeError, match=r"-c raise OSError.*failed:(?s:.*)the disk is full"):
        shop.run("-c", "raise OSError('the disk is full')")


# -- stock Celery's Redis


def test_stock_has_queues_of_its_own(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "demo-x", stock_redis="redis://127.0.0.1:6379/9", seed=7)
    queues = {command[command.index("-Q") + 1] for command in _commands(shop) if "-Q" in command}
    assert queues == {f"demo-x.{name}" for name in ("celery", "payments", "notifications", "reports")}
    assert shop.env["CELERY_BROKER_URL"].endswith("/9")
    assert shop.dead_letters() == []


def test_celeriac_needs_no_prefix(tmp_path: Path) -> None:
    shop = Shop(tmp_path, stock_redis=None, seed=7)
    queues = {command[command.index("-Q") + 1] for command in _commands(shop) if "-Q" in command}
    assert queues == {"celery", "payments", "notifications", "reports"}


def _commands(shop: Shop) -> list[list[str]]:
    return [process.command for process in shop.processes.values()]


def test_a_database_of_its_own_was_empty_and_is_empty_after(redis_url: str) -> None:
    from redis import Redis

    with own_database(redis_url) as first, Redis.from_url(first) as mine:
        mine.set("a", 1)
        with own_database(redis_url) as second:
            assert second != first
        assert mine.dbsize() == 1
    with Redis.from_url(first) as client:
        assert client.dbsize() == 0


def test_no_redis_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{probe.getsockname()[1]}/0"
    with pytest.raises(SystemExit, match="no Redis at 127"), own_database(url):
        pass
    monkeypatch.setenv("CELERIAC_REDIS_URL", url)
    assert redis_url() == url
