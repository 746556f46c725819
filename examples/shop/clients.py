"""How the shop talks to the gateway and the mail server."""

from __future__ import annotations

import os
import re
import smtplib
from datetime import datetime, timezone
from email.message import EmailMessage
from email.utils import parsedate_to_datetime

import httpx

#: Seconds the shop waits for the gateway.
PATIENCE = 1.5
#: Seconds the shop is ready to be sent away for: a gateway that says "next year" is asked again in an hour.
MOST_WAIT = 3600.0

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
    """Try again after ``seconds``, as the gateway itself says."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"the gateway is busy for {self.seconds:g} s"


class GatewayDown(ConnectionError):
    """The gateway failed and did not say for how long; the money may have moved."""


class GatewayRefused(Exception):
    """The gateway will never take this charge."""


def charge(url: str, order_id: int, pence: int, key: str) -> str:
    """Charge an order under a key; returns the gateway's name of the charge.

    Raises Declined and GatewayRefused, which are final. GatewayBusy, and any ConnectionError or TimeoutError, mean
    that no answer came, with the money moved or not: ask again under the same key.
    """
    try:
        answer = _client().post(
            f"{url}/charges", json={"order_id": order_id, "pence": pence}, headers={"Idempotency-Key": key}
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
        seconds = retry_after(answer.headers.get("Retry-After"), datetime.now(timezone.utc))
        if seconds is not None:
            raise GatewayBusy(seconds)
        raise GatewayDown(f"order {order_id}: the gateway answered {code}")
    if not answer.is_success:
        raise GatewayRefused(f"order {order_id}: {_field(answer, 'error') or f'the gateway answered {code}'}")


def _field(answer: httpx.Response, name: str) -> str:
    """A field of a JSON answer; empty when there is none, or the answer is something else."""
    try:
        found = answer.json()
    except ValueError:
        return ""
    return str(found.get(name) or "") if isinstance(found, dict) else ""


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait, from a Retry-After header with seconds or an HTTP date; None when it says neither."""
    text = (value or "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        return min(float(text), MOST_WAIT)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    seconds = (moment.replace(tzinfo=moment.tzinfo or timezone.utc) - now).total_seconds()
    return min(max(seconds, 0.0), MOST_WAIT)


def send_confirmation(host: str, port: int, order_id: int, recipient: str) -> None:
    """Mail a confirmation whose Message-ID is the order's; raises OSError when the server does not take it."""
    mail = EmailMessage()
    mail["From"], mail["To"] = "shop@shop.example", recipient
    mail["Message-ID"] = f"<order-{order_id}@shop.example>"
    mail["Subject"] = f"Your order {order_id}"
    mail.set_content(f"Thank you. Order {order_id} is on its way.")
    # Named: otherwise each mail asks for this machine's name, and where no name server answers that takes seconds.
    with smtplib.SMTP(host, port, local_hostname="shop.example", timeout=10) as smtp:
        smtp.send_message(mail)
