from __future__ import annotations

from typing import Any

import pytest

from celeriac.transport.rabbitmq.deaths import Death, death_of


def record(reason: str, queue: str, count: int = 1) -> dict[str, Any]:
    return {"reason": reason, "queue": queue, "count": count, "exchange": "celeriac", "routing-keys": ["mail"]}


@pytest.mark.parametrize(
    ("headers", "death"),
    [
        ({"x-death": [record("rejected", "mail")]}, Death("rejected", "mail")),
        ({"x-death": [record("delivery_limit", "mail", 3)]}, Death("delivery_limit", "mail")),
        (
            {"x-death": [record("rejected", "mail"), record("expired", "celery_delayed_2")]},
            Death("rejected", "mail"),
        ),
        ({}, Death("unknown", "")),
        ({"x-death": "somebody else's"}, Death("unknown", "")),
        ({"x-death": [3]}, Death("unknown", "")),
    ],
)
def test_the_last_death_counts(headers: dict[str, Any], death: Death) -> None:
    assert death_of(headers) == death


def test_it_is_told_in_words() -> None:
    assert "queue 'mail': it was delivered too often" in Death("delivery_limit", "mail").text
    assert "queue 'mail': anything" in Death("anything", "mail").text
