"""What kombu hands over and gets back, and what the store keeps of it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from kombu.compression import compress
from kombu.message import Message as KombuMessage

from celeriac.core.message import DELIVERY_HEADER, KEY_HEADER, Delivery, DeliveryFacts, Lease
from celeriac.transport.envelope import clamp_priority, epoch, foreign_message, to_message, to_task_message


def prepared(**headers: Any) -> dict[str, Any]:
    return {
        "body": "[[1], {}, {}]",
        "headers": {"task": "shop.charge", "id": "t1", **headers},
        "properties": {"priority": 4, "delivery_info": {"exchange": "", "routing_key": "q"}, "correlation_id": "t1"},
        "content-type": "application/json",
        "content-encoding": "utf-8",
    }


def delivered(message: Any, **changes: Any) -> Delivery:
    facts: dict[str, Any] = {"generation": 2, "crashes": 1, "suspect": True, "revoked": False, "settled": False}
    return Delivery(
        Lease(7, 3), "q", message.envelope, message.body, "t1", claimed_at=5.0, priority=4, **{**facts, **changes}
    )


def test_headers_and_body_come_back_as_they_went() -> None:
    sent = to_task_message("q", prepared(root_id="r"))
    got = to_message(delivered(sent), channel=None)
    assert got.headers["root_id"] == "r"
    assert got.decode() == [[1], {}, {}]
    assert got.properties["correlation_id"] == "t1"
    assert (got.content_type, got.content_encoding) == ("application/json", "utf-8")


def test_the_delivery_header_carries_every_fact() -> None:
    sent = to_task_message("q", prepared())
    facts = DeliveryFacts.from_header(to_message(delivered(sent), channel=None).headers[DELIVERY_HEADER])
    assert facts == DeliveryFacts(Lease(7, 3), 2, 1, True, False, False, 5.0, "q", 1)


def test_the_eta_is_kept_in_the_store_and_not_handed_to_the_worker() -> None:
    due = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    sent = to_task_message("q", prepared(eta=due.isoformat()))
    assert sent.run_at == due.timestamp()
    assert to_message(delivered(sent), channel=None).headers["eta"] is None


def test_a_second_delivery_says_so() -> None:
    sent = to_task_message("q", prepared())
    assert to_message(delivered(sent), channel=None).delivery_info["redelivered"] is True


def test_messages_that_are_no_tasks_have_no_task_columns() -> None:
    message = prepared()
    message["headers"] = {"hostname": "h"}
    sent = to_task_message("q", message)
    assert (sent.task_id, sent.name, sent.key) == (None, None, None)
    assert DELIVERY_HEADER not in to_message(delivered(sent), channel=None).headers


@pytest.mark.parametrize(("given", "expected"), [(None, 0), (0, 0), (9, 9), (-3, 0), (12, 9), ("7", 7)])
def test_ten_priorities(given: Any, expected: int) -> None:
    assert clamp_priority(given) == expected


def test_times_with_any_offset() -> None:
    moment = datetime(2030, 1, 2, 3, 4, 5, 600, tzinfo=timezone.utc)
    assert epoch(moment.isoformat()) == moment.timestamp()
    assert epoch("2030-01-02T03:04:05.000600Z") == moment.timestamp()
    assert epoch(moment.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat()) == moment.timestamp()
    assert epoch("2030-01-02T03:04:05.000600") == moment.timestamp()  # Celery's naive times are UTC
    assert epoch(None) is None


# -- from another broker


def foreign(**fields: Any) -> KombuMessage:
    headers = {"id": "a", "task": "charge", **fields.pop("headers", {})}
    return KombuMessage(
        body=fields.pop("body", b"[[], {}, {}]"),
        headers=headers,
        content_type="application/json",
        content_encoding="utf-8",
        **fields,
    )


def test_a_foreign_message_is_as_one_of_ours() -> None:
    message = foreign(
        properties={"correlation_id": "a", "priority": 3, "body_encoding": "base64", "delivery_tag": "t"},
        headers={"x-death": [{}], "x-mine": 1, "expires": "2026-01-01T00:00:00+00:00"},
    )
    packed = foreign_message("mails", message)
    headers, properties, content_type, encoding = json.loads(packed.envelope)
    assert (packed.queue, packed.task_id, packed.name, packed.priority) == ("mails", "a", "charge", 3)
    assert packed.body == "[[], {}, {}]"
    assert packed.expires_at == 1767225600.0
    assert headers == {"id": "a", "task": "charge", "x-mine": 1, "expires": "2026-01-01T00:00:00+00:00"}
    assert properties == {
        "correlation_id": "a",
        "priority": 3,
        "delivery_info": {"exchange": "", "routing_key": "mails"},
    }
    assert (content_type, encoding) == ("application/json", "utf-8")


def test_a_foreign_message_was_decompressed_by_kombu() -> None:
    body, compression = compress(b"[[], {}, {}]", "gzip")
    packed = foreign_message("mails", foreign(body=body, headers={"compression": compression}))
    assert packed.body == "[[], {}, {}]"
    assert "compression" not in json.loads(packed.envelope)[0]


def test_a_foreign_message_that_cannot_be_decompressed_stays_as_it_is() -> None:
    packed = foreign_message("mails", foreign(body=b"\xff\x00", headers={"compression": "application/x-gzip"}))
    assert packed.body == b"\xff\x00"
    assert json.loads(packed.envelope)[0]["compression"] == "application/x-gzip"


@pytest.mark.parametrize("headers", [{"eta": "soon"}, {"expires": 7}, {KEY_HEADER: "k"}, {KEY_HEADER: {}}])
def test_what_a_foreign_client_got_wrong_is_read_by_who_runs_it(headers: dict[str, Any]) -> None:
    packed = foreign_message("mails", foreign(headers=headers))
    assert (packed.task_id, packed.name, packed.run_at) == ("a", "charge", None)
    assert not packed.key
