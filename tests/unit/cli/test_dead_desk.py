"""Groups, arguments, notes, rates, the log."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from kombu.compression import compress

from celeriac import Concurrency, Queue
from celeriac.core.attempt import Failure
from celeriac.core.limits import Bound, Rule, unpack
from celeriac.core.limits import pack as pack_limits
from celeriac.core.message import LIMITS_HEADER
from celeriac.desk import steps
from celeriac.publish.limits import with_limits
from celeriac.transport.envelope import pack

from .conftest import ME, Invoke, Shop


def declare(shop: Shop) -> None:
    @shop.app.task(name="shop.charge", bind=True, idempotency_key="charge:{order_id}", shared=False)
    def charge(self: Any, order_id: int, currency: str = "EUR", *, dry: bool = False) -> None: ...


def sent(shop: Shop) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """What was redriven: args, kwargs, headers."""
    delivery = shop.claim()
    args, kwargs, _ = json.loads(delivery.body)
    return args, kwargs, json.loads(delivery.envelope)[0]


def data(cli: Invoke, *arguments: str | int) -> Any:
    result = cli(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


# -- groups


def test_groups_name_what_list_and_redrive_take(shop: Shop, cli: Invoke) -> None:
    for number in range(3):
        shop.fail(failure=Failure("permanent", "builtins.ValueError", f"no order {number}"))
    shop.fail("shop.mail", failure=Failure("permanent", "builtins.ValueError", "no order 9"))
    other = shop.fail(failure=Failure("permanent", "builtins.KeyError", "no order 1"))
    shown = cli("groups")
    assert "shop.charge and 1 more" in shown.stdout
    assert "ValueError: no order <n>" in shown.stdout
    assert shown.stdout.splitlines()[-1].startswith("5 dead letters in 2 groups in ")
    first, second = data(cli, "groups")
    assert (first["dead_letters"], first["tasks"], second["newest_id"]) == (4, 2, other.id)
    assert len(data(cli, "list", "--group", first["group"])) == 4
    assert cli("redrive", "--group", first["group"], "--yes").stdout == "4 redriven\n"
    assert shop.ids() == [other.id]


def test_no_groups_of_nothing(shop: Shop, cli: Invoke) -> None:
    assert cli("groups").stdout.startswith("No dead letters in ")
    assert data(cli, "groups") == []


# -- arguments searched


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        ("order_id=7", [1]),
        ("0=7", [1]),
        ("order_id=8", [2]),
        ("currency=CHF", [2]),
        ('currency="CHF"', [2]),
        ("dry=true", [3]),
        ("dry=1", []),
        ("order_id=1", []),
        ("unknown=7", []),
        ("chf", [2]),
        ("Zürich", [3]),
        ("nothing of this", []),
    ],
)
def test_dead_letters_are_found_by_their_arguments(shop: Shop, cli: Invoke, wanted: str, matches: list[int]) -> None:
    declare(shop)
    shop.fail("shop.charge", (7,))
    shop.fail("shop.charge", (8, "CHF"))
    shop.fail("shop.charge", ("Zürich",), kwargs={"dry": True})
    assert [letter["id"] for letter in data(cli, "list", "--argument", wanted)] == matches


def test_what_no_argument_has_is_nothing_and_not_everything(shop: Shop, cli: Invoke) -> None:
    shop.fail("shop.charge", (7,))
    assert cli("purge", "--argument", "order_id=9", "--yes").stdout.startswith("None of 1 dead letter")
    assert cli("purge", "--argument", "", "--yes").exit_code == 2
    assert len(shop.letters()) == 1


def test_of_pickled_arguments_the_sender_s_words_are_searched(shop: Shop, cli: Invoke) -> None:
    content = ("application/x-python-serialize", "binary")
    shop.fail(body=b"\x80\x04.", content=content, argsrepr="(7, 'CHF')", kwargsrepr="{}")
    assert len(data(cli, "list", "--argument", "CHF")) == 1
    assert data(cli, "list", "--argument", "0=7") == []


# -- arguments changed


def test_an_argument_is_set_by_its_name_wherever_it_was(shop: Shop, cli: Invoke) -> None:
    declare(shop)
    letter = shop.fail("shop.charge", (7,), kwargs={"currency": "EUR"}, argsrepr="(7,)", kwargsrepr="{}")
    result = cli("redrive", letter.id, "--set", "order_id=8", "--set", 'currency="CHF"', "--note", "wrong order")
    assert (result.exit_code, result.stdout) == (0, "1 redriven\n"), result.stderr
    args, kwargs, headers = sent(shop)
    assert (args, kwargs) == ([8], {"currency": "CHF"})
    assert (headers["argsrepr"], headers["kwargsrepr"]) == ("[8]", "{'currency': 'CHF'}")
    [line] = data(cli, "log", letter.task_id)
    assert line["note"] == "order_id 7 → 8, currency 'EUR' → 'CHF'; wrong order"


def test_all_arguments_can_be_given_anew(shop: Shop, cli: Invoke) -> None:
    declare(shop)
    letter = shop.fail("shop.charge", (7, "EUR"))
    assert cli("redrive", letter.id, "--args", "[9]", "--kwargs", '{"dry": true}').exit_code == 0
    assert sent(shop)[:2] == ([9], {"dry": True})


def test_the_key_is_of_the_new_arguments(shop: Shop, cli: Invoke) -> None:
    declare(shop)
    letter = shop.fail("shop.charge", (7,), key="charge:7")
    assert cli("redrive", letter.id, "--set", "order_id=8").exit_code == 0
    key = sent(shop)[2]["celeriac_key"]
    assert (key["key"], key["ttl"]) == ("charge:8", 3600.0)
    assert key["digest"] != "digest"


def test_the_limits_are_of_the_new_arguments(shop: Shop, cli: Invoke) -> None:
    limits = [Concurrency(2, key="customer:{customer_id}")]

    @shop.app.task(name="shop.refund", limits=limits, shared=False)
    def refund(customer_id: int) -> None: ...

    bound = with_limits(refund, (7,), {}, {})["headers"]
    letter = shop.fail("shop.refund", (7,), **bound)
    assert cli("redrive", letter.id, "--set", "customer_id=8").exit_code == 0
    assert sent(shop)[2][LIMITS_HEADER] == with_limits(refund, (8,), {}, {})["headers"][LIMITS_HEADER]


def limited_queues(shop: Shop) -> None:
    shop.app.conf.task_queues = [
        Queue("payments", limits=[Concurrency(2, key="customer:{customer_id}")]),
        Queue("slow", concurrency=1),
    ]


def test_the_limits_of_the_queue_are_of_the_new_arguments_too(shop: Shop, cli: Invoke) -> None:
    limited_queues(shop)

    @shop.app.task(name="shop.pay", limits=[Concurrency(5, name="api")], shared=False)
    def pay(customer_id: int) -> None: ...

    _ = pay.name
    old = pack_limits(
        [Bound("api", "", Rule(5)), Bound("queue payments concurrency customer:{customer_id}", "x", Rule(2))]
    )
    letter = shop.fail("shop.pay", (7,), celeriac_limits=old)
    assert cli("redrive", letter.id, "--set", "customer_id=8").exit_code == 0
    bounds = unpack(sent(shop)[2][LIMITS_HEADER])
    assert [(bound.name, bound.value) for bound in bounds] == [
        ("api", ""),
        ("queue payments concurrency customer:{customer_id}", "customer:8"),
    ]


def test_what_goes_to_another_queue_has_its_limits_and_no_others(shop: Shop, cli: Invoke) -> None:
    limited_queues(shop)
    old = pack_limits([Bound("queue payments concurrency customer:{customer_id}", "customer:7", Rule(2))])
    letter = shop.fail("shop.charge", (7,), celeriac_limits=old)
    assert cli("redrive", letter.id, "--to", "slow").exit_code == 0
    delivery = shop.claim("slow")
    assert not delivery.limited, "the worker adds those of where it is now"
    assert json.loads(delivery.envelope)[0][LIMITS_HEADER] is None


@pytest.mark.parametrize(
    "old",
    [
        pytest.param([Bound("api", "", Rule(5))], id="the queue has declared some since"),
        pytest.param(
            [
                Bound("api", "", Rule(5)),
                Bound("gone", "", Rule(1)),
                Bound("queue payments concurrency customer:{customer_id}", "customer:7", Rule(2)),
            ],
            id="one is declared no more",
        ),
    ],
)
def test_what_was_sent_with_other_limits_is_given_those_that_are_declared_now(
    shop: Shop, cli: Invoke, old: list[Bound]
) -> None:
    limited_queues(shop)

    @shop.app.task(name="shop.pay", limits=[Concurrency(5, name="api")], shared=False)
    def pay(customer_id: int) -> None: ...

    _ = pay.name
    letter = shop.fail("shop.pay", (7,), celeriac_limits=pack_limits(old))
    assert cli("redrive", letter.id).exit_code == 0
    delivery = shop.claim()
    assert not delivery.limited, "the worker adds both"
    assert json.loads(delivery.envelope)[0][LIMITS_HEADER] is None


@pytest.mark.parametrize("task", ["shop.pay", "shop.unknown"])
def test_what_was_sent_with_the_limits_of_now_keeps_them(shop: Shop, cli: Invoke, task: str) -> None:
    limited_queues(shop)

    @shop.app.task(name="shop.pay", limits=[Concurrency(5, name="api")], shared=False)
    def pay(customer_id: int) -> None: ...

    _ = pay.name
    now = [Bound("api", "", Rule(9)), Bound("queue payments concurrency customer:{customer_id}", "customer:7", Rule(2))]
    letter = shop.fail(task, (7,), celeriac_limits=pack_limits(now))
    assert cli("redrive", letter.id).exit_code == 0
    delivery = shop.claim()
    assert delivery.limited
    assert json.loads(delivery.envelope)[0][LIMITS_HEADER] == pack_limits(now)


def test_a_compressed_body_stays_one(shop: Shop, cli: Invoke) -> None:
    declare(shop)
    body, kind = compress(json.dumps([[7], {}, {}]).encode(), "zlib")
    letter = shop.fail("shop.charge", body=body, compression=kind)
    assert cli("redrive", letter.id, "--set", "order_id=8").exit_code == 0
    again = shop.bury(shop.claim())
    assert isinstance(again.body, bytes)
    assert data(cli, "show", again.id)["args"] == [8]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--set", "order=8"], "unexpected keyword argument 'order'"),
        (["--args", "[]"], "missing 1 required positional argument: 'order_id'"),
        (["--args", '[1, "EUR", true]'], "positional argument"),
    ],
)
def test_what_is_no_call_of_the_task_is_refused_and_nothing_is_lost(
    shop: Shop, cli: Invoke, given: list[str], said: str
) -> None:
    declare(shop)
    letter = shop.fail("shop.charge", (7,))
    for more in ([], ["--dry-run"]):
        result = cli("redrive", letter.id, *given, *more)
        assert said in result.stderr
        assert f"dead letter {letter.id} are not changed" in result.stderr
        assert result.exit_code == (0 if more else 1)
    assert shop.letters() == [letter]
    assert shop.store.actions() == []


def test_an_unknown_task_cannot_be_checked_and_so_not_changed(shop: Shop, cli: Invoke) -> None:
    letter = shop.fail("shop.elsewhere", (7,))
    result = cli("redrive", letter.id, "--set", "order_id=8")
    assert result.exit_code == 1
    assert "does not know the task" in result.stderr
    assert cli("redrive", letter.id).exit_code == 0, "as it was it can go"


def test_pickled_arguments_stay_closed(shop: Shop, cli: Invoke) -> None:
    declare(shop)
    letter = shop.fail("shop.charge", body=b"\x80\x04.", content=("application/x-python-serialize", "binary"))
    result = cli("redrive", letter.id, "--set", "order_id=8")
    assert result.exit_code == 1
    assert "could run code" in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--set", "order_id", "no NAME=JSON"),
        ("--set", "currency=CHF", "--set 'currency=\"CHF\"'"),
        ("--args", "{}", "no JSON list"),
        ("--args", "[", "no JSON"),
        ("--kwargs", "[]", "no JSON object"),
        ("--rate", "0/m", "no rate"),
        ("--rate", "fast", "100/m"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_sent(
    shop: Shop, cli: Invoke, option: str, value: str, said: str
) -> None:
    letter = shop.fail()
    result = cli("redrive", letter.id, option, value)
    assert result.exit_code == 2
    assert said in result.stderr
    assert shop.ids() == [letter.id]


# -- where to, how fast


def test_another_queue(shop: Shop, cli: Invoke) -> None:
    letter = shop.fail("shop.charge", (7,))
    assert cli("redrive", letter.id, "--to", "slow").exit_code == 0
    delivery = shop.claim("slow")
    assert json.loads(delivery.envelope)[1]["delivery_info"] == {"exchange": "", "routing_key": "slow"}
    assert data(cli, "log")[0]["note"] == "to queue slow"


def test_a_queue_nobody_declares_where_queues_are_declared(shop: Shop, cli: Invoke) -> None:
    shop.app.conf.update(task_queues={"payments": {}, "slow": {}}, task_create_missing_queues=False)
    letter = shop.fail()
    result = cli("redrive", letter.id, "--to", "slwo")
    assert result.exit_code == 1
    assert "did you mean slow?" in result.stderr
    assert shop.ids() == [letter.id]
    assert cli("redrive", letter.id, "--to", "slow").exit_code == 0


def test_a_rate_is_kept(shop: Shop, cli: Invoke) -> None:
    for _ in range(4):
        shop.fail()
    began = time.monotonic()
    assert cli("redrive", "--all", "--yes", "--rate", "20/s").stdout == "4 redriven\n"
    assert time.monotonic() - began > 0.149, "three waits of a twentieth of a second"


def test_the_question_says_how_long_it_takes(shop: Shop, cli: Invoke) -> None:
    for _ in range(3):
        shop.fail()
    result = cli("redrive", "--all", "--rate", "2/m", answer="n\n")
    assert "Redrive 3 dead letters" in result.stderr
    assert "1m 30s at this rate?" in result.stderr
    assert "3 dead letters, 1m 30s at this rate." in cli("redrive", "--all", "--dry-run", "--rate", "2/m").stdout


def test_a_slow_rate_is_waited_for_in_small_steps() -> None:
    pace = steps.Pace(1 / 3600)
    assert list(pace.wait()) == [], "the first goes at once"
    began = time.monotonic()
    assert next(iter(pace.wait())) == steps.Step()
    assert time.monotonic() - began < 30, "Ctrl-C is heard long before the hour is over"


# -- notes


def test_an_acknowledged_one_leaves_the_list_with_a_note(shop: Shop, cli: Invoke) -> None:
    letter, other = shop.fail(), shop.fail()
    done = cli("ack", letter.id, "--note", "the bank's fault", "--as", "anna")
    assert (done.exit_code, done.stdout) == (0, "1 acknowledged\n")
    assert [one["id"] for one in data(cli, "list")] == [other.id]
    assert [one["id"] for one in data(cli, "list", "--acknowledged", "only")] == [letter.id]
    assert len(data(cli, "list", "--acknowledged", "too")) == 2
    page = cli("show", letter.id).stdout
    assert "by anna: the bank's fault" in page
    assert "Log" in page
    assert "acknowledged by anna: the bank's fault" in page
    assert cli("redrive", "--all", "--yes").stdout == "1 redriven\n", "what is acknowledged is left alone"
    only = cli("purge", "--all", "--yes").stdout
    assert "None of 1 dead letter" in only
    assert "1 dead letter that is acknowledged would: --acknowledged too" in only
    assert cli("reopen", "--all", "--yes").stdout == "1 reopened\n"
    assert [one["id"] for one in data(cli, "list")] == [letter.id]
    assert cli("purge", letter.id, "--as", "bert").exit_code == 0
    verbs = [(line["did"], line["who"]) for line in data(cli, "log", letter.task_id)]
    assert verbs[0] == ("acknowledged", "anna")
    assert [verb for verb, _ in verbs] == ["acknowledged", "reopened", "purged"]
    assert verbs[2] == ("purged", "bert")


def test_who_it_was_is_user_and_host_unless_given(shop: Shop, cli: Invoke) -> None:
    letter = shop.fail()
    cli("ack", letter.id)
    [line] = data(cli, "log")
    user, at, host = line["who"].partition("@")
    assert user
    assert at
    assert host


def test_an_id_means_an_acknowledged_one_too(shop: Shop, cli: Invoke) -> None:
    letter = shop.fail()
    cli("ack", letter.id)
    assert cli("redrive", letter.task_id).stdout == "1 redriven\n"


def test_the_log_is_shown_as_a_table(shop: Shop, cli: Invoke) -> None:
    assert "Nothing was done yet" in cli("log").stdout
    letter = shop.fail()
    cli("ack", letter.id, "--as", "anna", "--note", "known\x1b[31m")
    shown = cli("log").stdout
    assert "anna" in shown
    assert "known\\x1b[31m" in shown, "what somebody writes steers no terminal"
    assert cli("log", str(letter.id)).stdout == shown
    assert "Nothing was done with it" in cli("log", "nobody").stdout


@pytest.mark.parametrize(
    "unreadable",
    [{"expires": "soon"}, {"expires": "0001-01-01T00:00:00+23:59"}, {"celeriac_key": [1]}, {"celeriac_key": "x"}],
)
def test_one_whose_headers_cannot_be_read_is_refused_and_the_others_go_on(
    shop: Shop, cli: Invoke, unreadable: dict[str, Any]
) -> None:
    letter, _ = shop.fail("shop.charge", (7,)), shop.fail("shop.charge", (8,))
    headers, *rest = json.loads(letter.envelope)
    odd = replace(letter, task_id="odd", envelope=pack({**headers, **unreadable}, *rest), attempts=[])
    shop.store.purge_dead_letters([letter.id], ME)
    assert shop.store.import_dead_letters([odd], ME) == 1
    result = cli("redrive", "--all", "--yes")
    assert result.stdout == "1 redriven, 1 refused\n"
    assert "dead letter 3 is not redriven, since it" in result.stderr
    [left] = shop.letters()
    assert cli("show", left.id).exit_code == 0


@pytest.mark.parametrize("queue", ["", " ", "a\x00b"])
def test_what_is_no_name_is_no_queue(shop: Shop, cli: Invoke, queue: str) -> None:
    letter = shop.fail()
    result = cli("redrive", letter.id, "--to", queue)
    assert (result.exit_code, shop.letters()) == (1, [letter])
    assert "is no name of a queue. Nothing was redriven" in result.stderr


def test_half_a_character_in_a_new_argument_is_written_down_as_its_code(shop: Shop, cli: Invoke) -> None:
    declare(shop)
    letter = shop.fail("shop.charge", (7,))
    assert cli("redrive", letter.id, "--set", r'order_id="\ud800"').exit_code == 0
    assert sent(shop)[0] == ["\ud800"]
    [line] = data(cli, "log", letter.task_id)
    assert line["note"] == r"order_id 7 → '\ud800'"


@pytest.mark.parametrize("option", ["--set", "--args", "--kwargs"])
def test_json_that_is_nested_without_end(shop: Shop, cli: Invoke, option: str) -> None:
    declare(shop)
    letter = shop.fail("shop.charge", (7,))
    deep = "[" * 100_000
    result = cli("redrive", letter.id, option, f"order_id={deep}" if option == "--set" else deep)
    assert (result.exit_code, shop.letters()) == (2, [letter])
    assert "JSON" in result.stderr
    assert len(result.stderr) < 2_000


def test_who_acknowledges_once_more_is_told_what_was_said_before(shop: Shop, cli: Invoke) -> None:
    shop.fail("shop.charge", (7,))
    assert cli("ack", "1", "--as", "anna", "--note", "we do not ship there").stderr == ""
    again = cli("ack", "1", "--as", "bert", "--note", "now we do")
    assert again.stdout == "1 acknowledged\n"
    assert (
        again.stderr
        == "dead letter 1 was acknowledged before, by anna: we do not ship there; `dead log 1` has it all\n"
    )
    assert [line["note"] for line in json.loads(cli("log", "1", "--json").stdout)] == [
        "we do not ship there",
        "now we do",
    ]
