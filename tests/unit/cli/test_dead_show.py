from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import kombu.serialization
import pytest
from kombu.compression import compress

from celeriac.core.attempt import Failure, Outcome
from celeriac.core.message import DELIVERY_HEADER

from .conftest import Invoke, Shop


def facts(output: str) -> dict[str, str]:
    """The aligned ``name  value`` lines of a page."""
    pairs = (line.strip().split("  ", 1) for line in output.splitlines() if line.startswith("  "))
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}


def shown(cli: Invoke, reference: str | int) -> dict[str, Any]:
    result = cli("show", reference, "--json")
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_a_page_has_everything(shop: Shop, cli: Invoke) -> None:
    letter = shop.fail("shop.charge", (7,), kwargs={"currency": "EUR"}, key="charge:7", priority=4, origin="web-1")
    result = cli("show", letter.id)
    assert result.exit_code == 0
    page = facts(result.stdout)
    assert page["task"] == "shop.charge"
    assert page["task id"] == letter.task_id
    assert page["args"] == "[7]"
    assert page["kwargs"] == "{'currency': 'EUR'}"
    assert page["queue"] == "payments, priority 4"
    assert page["key"] == "charge:7"
    assert page["worker"] == shop.owner
    assert page["origin"] == "web-1", "every header is shown"
    assert page["error"] == "builtins.ConnectionError: refused"
    assert "Traceback: refused" in result.stdout


def test_every_attempt_is_shown_with_its_worker_error_and_traceback(shop: Shop, cli: Invoke) -> None:
    task_id = shop.publish()
    for number in (1, 2):
        delivery = shop.claim()
        shop.owner = f"worker-{number}@host"
        failure = Failure("retry", "builtins.TimeoutError", f"slow {number}", f"Traceback: slow {number}")
        again = _retry(delivery.envelope, delivery.body, task_id)
        shop.settle(delivery, Outcome.RETRY, failure, retry=again)
    letter = shop.bury(shop.claim())
    output = cli("show", letter.id).stdout
    assert "Attempts: 3" in output
    for number in (1, 2):
        assert f"on worker-{number}@host, generation {number - 1}" in output
        assert f"builtins.TimeoutError: slow {number}" in output
        assert f"Traceback: slow {number}" in output
    attempts = shown(cli, letter.id)["attempts"]
    assert [item["outcome"] for item in attempts] == ["retry", "retry", "dead-lettered"]
    assert [item["generation"] for item in attempts] == [0, 1, 2]


def _retry(envelope: str, body: str | bytes, task_id: str) -> Any:
    from celeriac.core.message import TaskMessage

    return TaskMessage("payments", envelope, body, task_id, "shop.charge")


def test_a_task_id_will_do(shop: Shop, cli: Invoke) -> None:
    shop.fail()
    letter = shop.fail("shop.mail")
    assert shown(cli, letter.task_id)["id"] == letter.id


def test_a_number_is_an_id_first_and_a_task_id_then(shop: Shop, cli: Invoke) -> None:
    first = shop.fail(task_id="2")
    assert shown(cli, 2)["id"] == first.id, "nothing else has that id"
    second = shop.fail(task_id="elsewhere")
    assert second.id == 2
    assert shown(cli, 2)["id"] == second.id


def test_a_task_id_with_several_asks_which(shop: Shop, cli: Invoke) -> None:
    first, second = shop.fail(task_id="order-7"), shop.fail(task_id="order-7")
    result = cli("show", "order-7")
    assert result.exit_code == 2
    assert f"{first.id}, {second.id}" in result.stderr
    assert shown(cli, second.id)["generation"] == 1


@pytest.mark.parametrize("reference", ["99", "no-such-task", "9" * 30, "-"])
def test_an_unknown_id_says_where_to_look(shop: Shop, cli: Invoke, reference: str) -> None:
    shop.fail()
    result = cli("show", reference)
    assert result.exit_code == 1
    assert reference in result.stderr
    assert "`dead list`" in result.stderr


class Bomb:
    """Says so when it is unpickled."""

    def __init__(self, fuse: str) -> None:
        self.fuse = fuse

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.fuse),)


def test_a_pickle_is_never_opened(shop: Shop, cli: Invoke, tmp_path: Path) -> None:
    fuse = tmp_path / "exploded"
    body = pickle.dumps([(Bomb(os.fspath(fuse)),), {}, {}])
    letter = shop.fail(
        body=body, content=("application/x-python-serialize", "binary"), argsrepr="(<Bomb>,)", kwargsrepr="{'a': 1}"
    )
    page = facts(cli("show", letter.id).stdout)
    assert page["args"] == "(<Bomb>,)  (as the sender showed them)"
    assert page["kwargs"] == "{'a': 1}"
    document = shown(cli, letter.id)
    assert document["args"] is None
    assert document["argsrepr"] == "(<Bomb>,)"
    assert "application/x-python-serialize" in document["unread"]
    assert cli("list", "--json").exit_code == 0
    assert cli("redrive", letter.id).exit_code == 0
    assert not fuse.exists()
    assert shop.claim().body == body, "it is sent again as it was"


def test_nor_what_kombu_trusts_by_itself(shop: Shop, cli: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    # As celery's signed serializer is, which may hold a pickle.
    monkeypatch.setitem(kombu.serialization.registry._decoders, "application/data", opened.append)
    letter = shop.fail(body="signed", content=("application/data", "utf-8"))
    assert "application/data" in shown(cli, letter.id)["unread"]
    assert opened == []


def test_the_pickle_would_have_gone_off(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(os.fspath(tmp_path / "exploded"))))
    assert (tmp_path / "exploded").exists()


def test_a_compressed_body_is_read(shop: Shop, cli: Invoke) -> None:
    body, compression = compress(json.dumps([[7], {}, {}]).encode(), "zlib")
    letter = shop.fail(body=body, compression=compression)
    assert shown(cli, letter.id)["args"] == [7]


def test_the_first_protocol_is_read(shop: Shop, cli: Invoke) -> None:
    letter = shop.fail(body=json.dumps({"args": [7], "kwargs": {"a": 1}, "callbacks": [{"task": "shop.next"}]}))
    document = shown(cli, letter.id)
    assert (document["args"], document["kwargs"]) == ([7], {"a": 1})
    assert document["callbacks"] == [{"task": "shop.next"}]


@pytest.mark.parametrize(
    ("body", "compression"),
    [("{", None), ("[1]", None), ("[[], {}, {}]", "application/x-gzip"), ("[[], {}, {}]", "odd")],
)
def test_a_damaged_body_is_said_and_not_raised(shop: Shop, cli: Invoke, body: str, compression: str | None) -> None:
    letter = shop.fail(body=body, compression=compression, argsrepr="(7,)")
    result = cli("show", letter.id)
    assert result.exit_code == 0
    page = facts(result.stdout)
    assert page["args"].startswith("(7,)")
    assert "could not be decoded" in page["body"]
    assert "could not be decoded" in shown(cli, letter.id)["unread"]


def test_values_of_kombus_json_are_decoded(shop: Shop, cli: Invoke) -> None:
    body = '[[{"__type__": "decimal", "__value__": "9.90"}], {}, {}]'
    letter = shop.fail(body=body)
    assert facts(cli("show", letter.id).stdout)["args"] == "[Decimal('9.90')]"
    assert shown(cli, letter.id)["args"] == ["9.90"]


def test_chain_chord_callbacks_and_relatives_are_named_in_running_order(shop: Shop, cli: Invoke) -> None:
    embed = {
        "chain": [{"task": "shop.confirm"}, {"task": "shop.charge"}],  # Celery runs the last one next
        "chord": {"task": "reports.sum"},
        "callbacks": [{"task": "shop.on_done"}],
        "errbacks": [{"task": "shop.on_error"}],
    }
    letter = shop.fail("shop.validate", embed=embed, group="g-1", group_index=2, root_id="r-1", parent_id="p-1")
    page = facts(cli("show", letter.id).stdout)
    assert page["chain"] == "next shop.charge, then shop.confirm"
    assert page["chord"] == "body reports.sum"
    assert page["group"] == "g-1, member 2"
    assert page["callbacks"] == "shop.on_done"
    assert page["errbacks"] == "shop.on_error"
    assert (page["root id"], page["parent id"]) == ("r-1", "p-1")
    document = shown(cli, letter.id)
    assert [step["task"] for step in document["chain"]] == ["shop.charge", "shop.confirm"]
    assert document["chord"] == {"task": "reports.sum"}
    assert document["headers"]["group"] == "g-1"


def test_the_transports_own_header_is_not_shown(shop: Shop, cli: Invoke) -> None:
    leaked: dict[str, Any] = {DELIVERY_HEADER: [1, 2, 0, 0, 0, 0, 0, 0.0, "payments", 1]}
    letter = shop.fail(**leaked)
    assert DELIVERY_HEADER not in shown(cli, letter.id)["headers"]


def test_what_no_worker_could_take_never_ran(shop: Shop, cli: Invoke) -> None:
    shop.publish("shop.gone")
    shop.store.reject(shop.claim().lease, "unknown-task", "KeyError", "'shop.gone'")
    (letter,) = shop.letters()
    output = cli("show", letter.id).stdout
    assert "never ran" in output
    assert facts(output)["reason"] == "unknown-task"
