from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from celeriac.core.attempt import Failure, Outcome
from celeriac.core.message import DELIVERY_HEADER
from celeriac.desk import redrive as actions
from celeriac.desk.refusals import RedriveExpired

from .conftest import LEASE, Invoke, Shop


def envelope(text: str) -> dict[str, Any]:
    headers: dict[str, Any] = json.loads(text)[0]
    return headers


def in_(**delta: float) -> str:
    return (datetime.now(timezone.utc) + timedelta(**delta)).isoformat()


def summary(result: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(result.stdout)
    return document


# -- what is sent


def test_a_redriven_task_runs_again_as_it_was_published(shop: Shop, cli: Invoke) -> None:
    letter = shop.fail("shop.charge", (7,), kwargs={"a": 1}, priority=4, retries=3, eta=in_(hours=-1), custom="kept")
    result = cli("redrive", letter.id)
    assert (result.exit_code, result.stdout) == (0, "1 redriven\n")
    assert shop.letters() == []
    delivery = shop.claim()
    assert (delivery.task_id, delivery.queue, delivery.priority) == (letter.task_id, "payments", 4)
    assert json.loads(str(delivery.body)) == [[7], {"a": 1}, {}]
    assert delivery.generation == letter.generation + 1
    assert not delivery.settled, "its failure is of the generation before"
    headers = envelope(delivery.envelope)
    assert (headers["retries"], headers["eta"], headers["custom"]) == (0, None, "kept")


def test_an_eta_that_is_still_ahead_does_not_hold_it_up(shop: Shop, cli: Invoke) -> None:
    shop.publish("shop.odd", eta=in_(hours=5))
    with closing(sqlite3.connect(shop.store.location)) as raw, raw:
        raw.execute("UPDATE message SET status = 0")
    letter = shop.bury(shop.claim())
    cli("redrive", letter.id)
    assert shop.claim().task_id == letter.task_id


def test_the_header_of_an_earlier_delivery_is_dropped(shop: Shop, cli: Invoke) -> None:
    leaked: dict[str, Any] = {DELIVERY_HEADER: [1, 2, 0, 0, 0, 0, 0, 0.0, "payments", 1]}
    letter = shop.fail(**leaked)
    cli("redrive", letter.id)
    assert DELIVERY_HEADER not in envelope(shop.claim().envelope)


def test_its_crashes_are_forgotten(shop: Shop, cli: Invoke) -> None:
    shop.publish("shop.crash")
    for _ in range(3):
        delivery = shop.claim()
        assert shop.store.start(delivery.lease)
        shop.store.release([delivery.lease], crashed=True, error="signal 9")
    delivery = shop.claim()
    assert delivery.crashes == 3
    letter = shop.bury(delivery, Failure("poison", "celeriac.errors.PoisonTask", "buried"))
    cli("redrive", letter.id)
    again = shop.claim()
    assert (again.crashes, again.suspect) == (0, False)


def test_its_generation_counts_on_when_the_ledger_has_forgotten_it(shop: Shop, cli: Invoke) -> None:
    first = shop.fail()
    cli("redrive", first.id)
    second = shop.bury(shop.claim())
    shop.store.forget(second.task_id)
    cli("redrive", second.id)
    assert shop.claim().generation == 2


def test_a_redriven_task_that_succeeds_is_recorded_as_such(shop: Shop, cli: Invoke) -> None:
    letter = shop.fail()
    cli("redrive", letter.id)
    shop.settle(shop.claim(), Outcome.COMPLETED)
    assert shop.store.records([letter.task_id])[letter.task_id].state == "SUCCESS"


def test_history_goes_on_after_a_redrive(shop: Shop, cli: Invoke) -> None:
    letter = shop.fail()
    cli("redrive", letter.id)
    shop.bury(shop.claim())
    (again,) = json.loads(cli("list", "--json").stdout)
    assert [item["generation"] for item in again["attempts"]] == [0, 1]


# -- what is refused


def test_a_key_that_another_task_holds_refuses_that_one_alone(shop: Shop, cli: Invoke) -> None:
    before = shop.fail("shop.mail")
    keyed = shop.fail("shop.charge", (7,), key="charge:7")
    after = shop.fail("shop.mail")
    holder = shop.publish("shop.charge", (7,), key="charge:7")
    result = cli("redrive", "--all", "--yes")
    assert result.exit_code == 1
    assert result.stdout == "2 redriven, 1 refused\n"
    assert "'charge:7'" in result.stderr
    assert holder in result.stderr
    assert shop.ids() == [keyed.id]
    assert {before.task_id, after.task_id, holder} == _waiting(shop)


def _waiting(shop: Shop) -> set[str | None]:
    return {item.task_id for item in shop.store.claim(["payments"], 10, owner="other", lease=LEASE)}


def test_a_key_whose_holder_succeeded_refuses_too(shop: Shop, cli: Invoke) -> None:
    keyed = shop.fail("shop.charge", (7,), key="charge:7")
    shop.publish("shop.charge", (7,), key="charge:7")
    delivery = shop.claim()
    key = actions.message_again(keyed, None, now=0.0).key
    shop.settle(delivery, Outcome.COMPLETED, key=key)
    assert cli("redrive", keyed.id).exit_code == 1
    assert shop.ids() == [keyed.id]


def test_a_free_key_is_taken_again(shop: Shop, cli: Invoke) -> None:
    keyed = shop.fail("shop.charge", (7,), key="charge:7")
    assert cli("redrive", keyed.id).exit_code == 0
    key = actions.message_again(keyed, None, now=0.0).key
    assert key is not None
    assert shop.store.take_key(key, "somebody else").task_id == keyed.task_id


def test_what_has_expired_is_refused_with_the_remedy(shop: Shop, cli: Invoke) -> None:
    expired = shop.fail("shop.remind", expires=in_(minutes=-5))
    fresh = shop.fail("shop.remind", expires=in_(minutes=5))
    result = cli("redrive", "--all", "--yes")
    assert (result.exit_code, result.stdout) == (1, "1 redriven, 1 refused\n")
    assert "--ignore-expiry" in result.stderr
    assert shop.ids() == [expired.id]
    delivery = shop.claim()
    assert delivery.task_id == fresh.task_id
    assert envelope(delivery.envelope)["expires"] is not None
    assert cli("redrive", expired.id, "--ignore-expiry").exit_code == 0
    assert envelope(shop.claim().envelope)["expires"] is None


def test_a_task_that_was_sent_again_since_is_not_run_twice(shop: Shop, cli: Invoke) -> None:
    stale = shop.fail("shop.charge", (7,), task_id="order-7")
    shop.publish("shop.charge", (7,), task_id="order-7")
    shop.settle(shop.claim(), Outcome.COMPLETED)
    result = cli("redrive", stale.id)
    assert (result.exit_code, result.stdout) == (1, "0 redriven, 1 refused\n")
    assert "order-7" in result.stderr
    assert "SUCCESS" in result.stderr
    assert shop.ids() == [stale.id]
    assert shop.store.size("payments") == 0


def test_of_two_under_one_task_id_the_newest_is_sent(shop: Shop, cli: Invoke) -> None:
    older = shop.fail("shop.charge", (1,), task_id="order-7")
    shop.fail("shop.charge", (2,), task_id="order-7")
    assert cli("redrive", "order-7", "--yes").stdout == "1 redriven, 1 refused\n"
    assert shop.ids() == [older.id]
    assert json.loads(str(shop.claim().body))[0] == [2]


def test_many_refusals_are_told_briefly_and_all_of_them_in_json(shop: Shop, cli: Invoke) -> None:
    letters = [shop.fail(expires=in_(minutes=-5)) for _ in range(25)]
    result = cli("redrive", "--all", "--yes")
    assert result.stdout == "0 redriven, 25 refused\n"
    assert len(result.stderr.splitlines()) == 21
    assert "5 dead letters more" in result.stderr
    document = summary(cli("redrive", "--all", "--yes", "--json"))
    assert [item["id"] for item in document["refused"]] == [letter.id for letter in letters]
    assert {item["why"] for item in document["refused"]} == {"RedriveExpired"}


def test_json_tells_counts(shop: Shop, cli: Invoke) -> None:
    shop.fail(expires=in_(minutes=-5))
    shop.fail()
    result = cli("redrive", "--all", "--yes", "--json")
    document = summary(result)
    assert result.exit_code == 1
    assert (document["matched"], document["redriven"], document["gone"], document["left"]) == (2, 1, 0, 0)
    assert (document["dry_run"], document["interrupted"], document["error"]) == (False, False, None)


def test_a_dry_run_tells_what_would_be_refused(shop: Shop, cli: Invoke) -> None:
    shop.fail(expires=in_(hours=-1))
    shop.fail()
    result = cli("redrive", "--all", "--dry-run")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (
        0,
        "1 would be redriven, 1 would be refused; nothing was done",
    )


def test_the_moment_of_a_redrive_is_the_stores(shop: Shop) -> None:
    letter = shop.fail(expires=in_(minutes=5))
    actions.message_again(letter, None, now=time.time())
    with pytest.raises(RedriveExpired):
        actions.message_again(letter, None, now=time.time() + 600)
