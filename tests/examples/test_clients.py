"""What the shop makes of the gateway's answers, over real HTTP, and its mails, over real SMTP."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from celeriac.core.retry_after import retry_after
from tests.examples.conftest import RunningGateway


@contextmanager
def answering(code: int, body: bytes = b"{}", headers: dict[str, str] | None = None) -> Iterator[str]:
    """The URL of a server that always answers the same."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(code)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def charge(clients: ModuleType, url: str, order_id: int = 1) -> Any:
    return clients.charge(url, order_id, 250, f"charge:{order_id}")


def test_a_charge_has_a_name(clients: ModuleType, gateway: RunningGateway) -> None:
    assert charge(clients, gateway.url, gateway.order("none")) == "ch_1"


def test_a_lost_answer_is_a_connection_error_and_asking_again_charges_nothing(
    clients: ModuleType, gateway: RunningGateway
) -> None:
    order_id = gateway.order("answer-lost")
    with pytest.raises(ConnectionError, match="answer was lost"):
        charge(clients, gateway.url, order_id)
    assert charge(clients, gateway.url, order_id) == "ch_1"
    assert gateway.asked("SELECT count(*) FROM charge") == [(1,)]


def test_the_gateways_own_words_are_heard(clients: ModuleType, gateway: RunningGateway) -> None:
    with pytest.raises(clients.GatewayDown, match="503") as busy:
        charge(clients, gateway.url, gateway.order("busy"))
    assert retry_after(busy.value, 0.0) == 1.0
    with pytest.raises(clients.Declined):
        charge(clients, gateway.url, gateway.order("declined"))
    with pytest.raises(clients.GatewayRefused, match="unknown-account"):
        charge(clients, gateway.url, gateway.order("unknown-account"))


def test_no_answer_in_time_is_a_timeout(
    clients: ModuleType, gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "PATIENCE", 0.1)
    monkeypatch.setattr(gateway.module, "SLOWNESS", 1.0)
    with pytest.raises(TimeoutError, match=r"within 0\.1 s"):
        charge(clients, gateway.url, gateway.order("slow"))


@pytest.mark.parametrize("code", [500, 501, 502, 503, 504, 599, 408, 429])
def test_every_failure_of_the_gateway_is_asked_again(clients: ModuleType, code: int) -> None:
    with answering(code) as url, pytest.raises(clients.GatewayDown, match=str(code)) as down:
        charge(clients, url)
    assert isinstance(down.value, ConnectionError)
    assert retry_after(down.value, 0.0) is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"charge": null}', b"\xff"])
def test_an_answer_that_names_no_charge_is_none(clients: ModuleType, body: bytes) -> None:
    with answering(200, body) as url, pytest.raises(clients.GatewayDown, match="without naming a charge"):
        charge(clients, url)


@pytest.mark.parametrize(
    ("code", "body", "why"),
    [(422, json.dumps({"error": "closed"}).encode(), "closed"), (403, b"<html>", "403"), (302, b"", "302")],
)
def test_what_will_never_be_taken_is_refused(clients: ModuleType, code: int, body: bytes, why: str) -> None:
    with answering(code, body) as url, pytest.raises(clients.GatewayRefused, match=why):
        charge(clients, url)


def test_nobody_there_is_a_connection_error(clients: ModuleType) -> None:
    with answering(200) as url:
        pass
    with pytest.raises(ConnectionError):
        charge(clients, url)


def test_a_mail_arrives_and_each_repetition_is_booked(clients: ModuleType, mail: tuple[int, Path]) -> None:
    port, books = mail
    for _ in range(2):
        clients.send_confirmation("127.0.0.1", port, 7, "customer7@mail.example")
    with closing(sqlite3.connect(books)) as raw:
        found = raw.execute("SELECT message_id, recipient FROM mail").fetchall()
    assert found == [("<order-7@shop.example>", "customer7@mail.example")] * 2


def test_a_mail_without_a_name_is_not_taken(mail: tuple[int, Path]) -> None:
    import smtplib

    with smtplib.SMTP("127.0.0.1", mail[0], timeout=10) as smtp, pytest.raises(smtplib.SMTPDataError, match="554"):
        smtp.sendmail("a@mail.example", ["b@mail.example"], "Subject: x\r\n\r\nx")


def test_no_mail_server_is_an_os_error(clients: ModuleType) -> None:
    with answering(200) as url:
        port = int(url.rpartition(":")[2])
    with pytest.raises(OSError, match="refused"):
        clients.send_confirmation("127.0.0.1", port, 7, "customer7@mail.example")
