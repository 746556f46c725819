"""The gateway over real HTTP: it misbehaves as announced, and its books are right all the same."""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from typing import Any

import httpx
import pytest

from tests.examples.conftest import SEED, RunningGateway


def post(gateway: RunningGateway, order_id: int, pence: int = 250, key: str | None = "k") -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    with httpx.Client(trust_env=False) as client:
        body = {"order_id": order_id, "pence": pence}
        return client.post(f"{gateway.url}/charges", json=body, headers=headers, timeout=10)


def outcomes(gateway: RunningGateway) -> list[str]:
    return [row[0] for row in gateway.asked("SELECT outcome FROM call ORDER BY id")]


def charges(gateway: RunningGateway) -> int:
    return int(gateway.asked("SELECT count(*) FROM charge")[0][0])


def test_a_charge(gateway: RunningGateway) -> None:
    answer = post(gateway, gateway.order("none"))
    assert (answer.status_code, answer.json()) == (200, {"charge": "ch_1"})
    assert charges(gateway) == 1


def test_busy_says_for_how_long_and_then_charges(gateway: RunningGateway) -> None:
    order_id = gateway.order("busy")
    first = post(gateway, order_id)
    assert (first.status_code, first.headers["Retry-After"]) == (503, "1")
    assert charges(gateway) == 0
    assert post(gateway, order_id).status_code == 200
    assert outcomes(gateway) == ["busy", "charged"]


def test_a_lost_answer_has_moved_the_money_once(gateway: RunningGateway) -> None:
    order_id = gateway.order("answer-lost")
    with pytest.raises(httpx.TransportError):
        post(gateway, order_id)
    assert charges(gateway) == 1
    assert post(gateway, order_id).json() == {"charge": "ch_1"}
    assert (charges(gateway), outcomes(gateway)) == (1, ["answer-lost", "absorbed"])


def test_without_a_key_the_same_call_charges_twice(gateway: RunningGateway) -> None:
    order_id = gateway.order("none")
    assert [post(gateway, order_id, key=None).json()["charge"] for _ in range(2)] == ["ch_1", "ch_2"]


def test_a_key_of_another_charge_is_refused(gateway: RunningGateway) -> None:
    order_id = gateway.order("none")
    post(gateway, order_id)
    answer = post(gateway, order_id, pence=251)
    assert (answer.status_code, answer.json()["error"], charges(gateway)) == (422, "key-reused", 1)


@pytest.mark.parametrize(("trouble", "code"), [("declined", 402), ("unknown-account", 422)])
def test_a_refusal_stays_one(gateway: RunningGateway, trouble: str, code: int) -> None:
    order_id = gateway.order(trouble)
    assert [post(gateway, order_id).status_code for _ in range(2)] == [code, code]
    assert (charges(gateway), set(outcomes(gateway))) == (0, {trouble})


def test_a_slow_call_ends_without_an_answer_and_without_a_charge(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.module, "SLOWNESS", 0.01)
    order_id = gateway.order("slow")
    with pytest.raises(httpx.TransportError):
        post(gateway, order_id)
    assert charges(gateway) == 0
    assert post(gateway, order_id).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"order_id": 1, "pence": 0}', b'{"order_id": 1e999, "pence": 1}']
)
def test_what_is_no_charge_is_told(gateway: RunningGateway, body: bytes) -> None:
    answer = httpx.post(f"{gateway.url}/charges", content=body, trust_env=False)
    assert answer.status_code == 400
    assert "order_id and pence" in answer.json()["error"]


def test_another_address_is_told(gateway: RunningGateway) -> None:
    assert httpx.post(f"{gateway.url}/refunds", content=b"{}", trust_env=False).status_code == 404
    assert httpx.get(f"{gateway.url}/", trust_env=False).json() == {"ok": True}


def test_troubles_are_drawn_from_the_seed_in_their_shares() -> None:
    module: Any = import_module("shop.gateway")
    drawn = [module.trouble(SEED, order_id) for order_id in range(20_000)]
    assert drawn == [module.trouble(SEED, order_id) for order_id in range(20_000)]
    assert drawn != [module.trouble(SEED + 1, order_id) for order_id in range(20_000)]
    counted = Counter(drawn)
    for name, share in (("declined", module.DECLINED), ("busy", module.BUSY), ("answer-lost", module.ANSWER_LOST)):
        assert counted[name] / 20 == pytest.approx(share, rel=0.25)
