"""How the shop talks to the gateway and the mail server."""

from __future__ import annotations

import os
import smtplib
from email.message import EmailMessage

import httpx

#: Seconds the shop waits for the gateway.
PATIENCE = 1.5

_clients: dict[int, httpx.Client] = {}


def _client() -> httpx.Client:
    """One client a process: a forked worker must not share its parent's connections."""
    if os.getpid() not in _clients:
        _clients.clear()
        _clients[os.getpid()] = httpx.Client(timeout=PATIENCE, trust_env=False)
    return _clients[os.getpid()]


class Declined(Exception):
    """The customer's bank said no: an answer, not a failure."""


class GatewayBusy(Exception):
    """Try again after ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"the gateway is busy for {self.seconds:g} s"


class GatewayRefused(Exception):
    """The gateway will never take this charge."""


def charge(url: str, order_id: int, pence: int, key: str) -> str:
    """Charge an order under a key; returns the gateway's name of the charge.

    Raises Declined, GatewayBusy, GatewayRefused; ConnectionError or TimeoutError
    when no answer came, with the money moved or not.
    """
    try:
        answer = _client().post(
            f"{url}/charges", json={"order_id": order_id, "pence": pence}, headers={"Idempotency-Key": key}
        )
    except httpx.TimeoutException as error:
        raise TimeoutError(f"no answer from the gateway within {PATIENCE:g} s") from error
    except httpx.TransportError as error:
        raise ConnectionError(f"the gateway's answer was lost: {error}") from error
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        raise GatewayBusy(float(answer.headers.get("Retry-After", 1)))
    if answer.status_code == httpx.codes.PAYMENT_REQUIRED:
        raise Declined(f"order {order_id} was declined")
    if answer.is_client_error:
        raise GatewayRefused(f"order {order_id}: {answer.json()['error']}")
    answer.raise_for_status()
    return str(answer.json()["charge"])


def send_confirmation(host: str, port: int, order_id: int, recipient: str) -> None:
    """Mail a confirmation whose Message-ID is the order's."""
    mail = EmailMessage()
    mail["From"], mail["To"] = "shop@shop.example", recipient
    mail["Message-ID"] = f"<order-{order_id}@shop.example>"
    mail["Subject"] = f"Your order {order_id}"
    mail.set_content(f"Thank you. Order {order_id} is on its way.")
    with smtplib.SMTP(host, port, timeout=10) as smtp:
        smtp.send_message(mail)
