"""How the shop talks to the gateway and the mail server."""

from __future__ import annotations

import os
import smtplib
from email.message import EmailMessage
from typing import Any

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


class GatewayDown(ConnectionError):
    """The gateway failed, or is busy; the money may have moved."""


class GatewayRefused(Exception):
    """The gateway will never take this charge."""


def charge(url: str, order_id: int, pence: int, key: str, customer: str = "") -> str:
    """Charge an order under a key; returns the gateway's name of the charge.

    Raises Declined and GatewayRefused, which are final. Any ConnectionError or TimeoutError means that no answer came,
    with the money moved or not: ask again under the same key.
    """
    try:
        answer = _client().post(
            f"{url}/charges",
            json={"order_id": order_id, "pence": pence, "customer": customer},
            headers={"Idempotency-Key": key},
        )
    except httpx.TimeoutException as error:
        raise TimeoutError(f"no answer from the gateway within {PATIENCE:g} s") from error
    except httpx.TransportError as error:
        raise ConnectionError(f"the gateway's answer was lost: {error}") from error
    _raise_for(answer, order_id)
    name = _field(answer, "charge")
    if not name:
        raise GatewayDown(f"order {order_id}: the gateway answered {answer.status_code} without naming a charge")
    return name


def _raise_for(answer: httpx.Response, order_id: int) -> None:
    code = answer.status_code
    if code == httpx.codes.PAYMENT_REQUIRED:
        raise Declined(f"order {order_id} was declined")
    if answer.is_server_error or code in {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.REQUEST_TIMEOUT}:
        try:
            answer.raise_for_status()
        except httpx.HTTPStatusError as error:
            # From this one, so that whoever asks again knows the answer's Retry-After.
            raise GatewayDown(f"order {order_id}: the gateway answered {code}") from error
    if not answer.is_success:
        raise GatewayRefused(f"order {order_id}: {_field(answer, 'error') or f'the gateway answered {code}'}")


def _field(answer: httpx.Response, name: str) -> str:
    """A field of a JSON answer; empty when there is none, or the answer is something else."""
    try:
        found = answer.json()
    except ValueError:
        return ""
    return str(found.get(name) or "") if isinstance(found, dict) else ""


def send_confirmation(host: str, port: int, order_id: int, recipient: str) -> None:
    """Mail a confirmation whose Message-ID is the order's; raises OSError when the server does not take it."""
    mail = EmailMessage()
    mail["From"], mail["To"] = "shop@shop.example", recipient
    mail["Message-ID"] = f"<order-{order_id}@shop.example>"
    mail["Subject"] = f"Your order {order_id}"
    mail.set_content(f"Thank you. Order {order_id} is on its way.")
    _send(host, port, mail)


def send_report(host: str, port: int, report: dict[str, Any]) -> None:
    """Mail a day's figures to the head office; raises OSError when the server does not take them."""
    mail = EmailMessage()
    mail["From"], mail["To"] = "shop@shop.example", "head.office@shop.example"
    mail["Message-ID"] = f"<report-{report['day']}@shop.example>"
    mail["Subject"] = f"{report['day']}: {report['orders']} orders, {report['pence']} pence"
    mail.set_content(
        "\n".join(f"{country}: {count} orders, {pence} pence" for country, count, pence in report["countries"])
    )
    _send(host, port, mail)


def _send(host: str, port: int, mail: EmailMessage) -> None:
    # Named: otherwise each mail asks for this machine's name, and where no name server answers that takes seconds.
    with smtplib.SMTP(host, port, local_hostname="shop.example", timeout=10) as smtp:
        smtp.send_message(mail)
