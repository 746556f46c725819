from __future__ import annotations

import json
import os
import re
from typing import Any

import celery
import click
import pytest

from celeriac import Celery
from celeriac.cli.letters import listing
from celeriac.cli.text import cells
from celeriac.core.attempt import Failure, Outcome
from celeriac.errors import StoreUnavailable

from .conftest import Invoke, Shop

HOUR, DAY = 3600.0, 86_400.0


def listed(cli: Invoke, *arguments: str) -> list[int]:
    """The ids in the order listed."""
    result = cli("list", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return [item["id"] for item in json.loads(result.stdout)]


def test_an_empty_store_says_so_and_is_no_error(shop: Shop, cli: Invoke) -> None:
    result = cli("list")
    assert (result.exit_code, result.stdout) == (0, f"No dead letters in {shop.store.location}.\n")


def test_each_dead_letter_is_a_line_oldest_first_and_the_total_is_said(shop: Shop, cli: Invoke) -> None:
    first = shop.fail("shop.charge", (7,), ago=3 * DAY)
    second = shop.fail("shop.mail", queue="notifications", failure=Failure("permanent", "shop.errors.NoSuchUser", "8"))
    lines = cli("list").stdout.splitlines()
    assert re.split(r"\s{2,}", lines[0].strip()) == ["ID", "FAILED", "TASK", "QUEUE", "REASON", "ATTEMPTS", "ERROR"]
    assert re.split(r"\s{2,}", lines[1].strip()) == [
        str(first.id), "3d ago", "shop.charge", "payments", "exhausted", "1", "ConnectionError: refused",
    ]  # fmt: skip
    assert re.split(r"\s{2,}", lines[2].strip()) == [
        str(second.id), "0s ago", "shop.mail", "notifications", "permanent", "1", "NoSuchUser: 8",
    ]  # fmt: skip
    assert lines[4] == f"2 dead letters in {shop.store.location}."


def test_a_table_is_short_unless_asked_and_says_how_many_there_are(shop: Shop, cli: Invoke) -> None:
    letters = [shop.fail() for _ in range(52)]
    lines = cli("list").stdout.splitlines()
    assert len(lines) == 1 + 50 + 2
    assert lines[-1].startswith("50 of 52 dead letters in ")
    assert "--limit" in lines[-1]
    two = cli("list", "--limit", 2).stdout.splitlines()
    assert [line.split()[0] for line in two[1:3]] == [str(letter.id) for letter in letters[-2:]]
    assert two[-1].startswith("2 of 52 ")
    assert len(listed(cli)) == 52, "JSON has all of them"
    assert len(listed(cli, "--limit", "3")) == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--task", "shop.charge"], [1]),
        (["--task", "shop.*"], [1, 2]),
        (["--queue", "rep*"], [3]),
        (["--error", "TIMEOUT"], [2]),
        (["--error", "no such report"], [3]),
        (["--older-than", "2h"], [1, 2]),
        (["--newer-than", "2h"], [3]),
        (["--older-than", "2h", "--newer-than", "2d"], [2]),
        (["--task", "shop.*", "--older-than", "2d"], [1]),
        (["--task", "shop"], []),
    ],
)
def test_every_filter_must_hold(shop: Shop, cli: Invoke, arguments: list[str], expected: list[int]) -> None:
    shop.fail("shop.charge", ago=3 * DAY)
    shop.fail("shop.mail", ago=3 * HOUR, failure=Failure("exhausted", "builtins.TimeoutError", "slow"))
    shop.fail("reports.nightly", queue="reports", failure=Failure("permanent", "builtins.KeyError", "No such report"))
    assert listed(cli, *arguments) == expected
    total = cli("list", *arguments).stdout.splitlines()[-1]
    if expected:
        assert re.match(rf"{len(expected)} dead letters? in ", total)
    else:
        assert total == f"None of 3 dead letters in {shop.store.location} matches."


def test_json_has_arguments_every_attempt_and_no_escapes(shop: Shop, cli: Invoke) -> None:
    letter = shop.fail("shop.charge", (7, "ä"), kwargs={"currency": "EUR"}, key="charge:7", priority=4, ago=HOUR)
    result = cli("list", "--json")
    assert result.stderr == f"1 dead letter in {shop.store.location}.\n"
    (item,) = json.loads(result.stdout)
    assert item["args"] == [7, "ä"]
    assert item["kwargs"] == {"currency": "EUR"}
    assert (item["id"], item["task_id"], item["task"]) == (letter.id, letter.task_id, "shop.charge")
    assert (item["queue"], item["priority"], item["key"]) == ("payments", 4, "charge:7")
    assert (item["reason"], item["error_type"], item["error"]) == ("exhausted", "builtins.ConnectionError", "refused")
    (attempt,) = item["attempts"]
    assert attempt["worker"] == shop.owner
    assert (attempt["outcome"], attempt["traceback"]) == ("dead-lettered", "Traceback: refused")
    assert attempt["finished_at"] == item["failed_at"]
    assert attempt["started_at"] < attempt["finished_at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", item["failed_at"])


def test_json_of_nothing_is_an_empty_list(cli: Invoke, shop: Shop) -> None:
    assert json.loads(cli("list", "--json").stdout) == []
    shop.fail()
    assert json.loads(cli("list", "--json", "--task", "other").stdout) == []


NASTY = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202eexe\nnext line"


def test_an_error_text_cannot_steer_the_terminal(shop: Shop, cli: Invoke) -> None:
    shop.fail(NASTY, ("x",), queue=NASTY, failure=Failure("exhausted", NASTY, NASTY, NASTY), argsrepr=NASTY)
    for output in (cli("list"), cli("list", "--json"), cli("show", 1), cli("show", 1, "--json"), cli("redrive", 1)):
        assert output.exit_code == 0
        assert not set(output.output) & {"\x1b", "\x07", "\x9b", "\u202e"}, output.output


def test_one_letter_is_one_line_whatever_its_error(shop: Shop, cli: Invoke) -> None:
    shop.fail(failure=Failure("exhausted", "E", "first\nsecond\r\nthird"))
    assert cli("list").stdout.splitlines()[1].endswith("E: first second third")


def test_colours_only_where_they_are_wanted(shop: Shop, cli: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    shop.fail()
    assert "\x1b[" in cli("list", color=True).stdout
    assert "\x1b[" not in cli("list").stdout, "a pipe is no terminal"
    assert "\x1b[" not in cli("list", color=True, no_color=True).stdout, "celery --no-color"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in cli("list", color=True).stdout


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_a_listing_fits_the_terminal_and_keeps_the_error_readable(shop: Shop, width: int) -> None:
    failure = Failure("time-limit", "builtins.ConnectionError", "gateway.example:443 refused the connection " * 3)
    shop.fail("shop.tasks.payments.charge_payment", queue="notifications", failure=failure)
    lines = "\n".join(listing(shop.letters(), shop.store.now(), width)).split("\n")
    plain = [click.unstyle(line) for line in lines]
    assert max(map(cells, plain)) <= width
    assert any("ConnectionError: gateway.examp" in line for line in plain)
    assert any("charge_payment" in line for line in plain)


def test_a_burial_after_crashes_is_no_attempt(shop: Shop, cli: Invoke) -> None:
    shop.publish("shop.crash")
    for _ in range(3):
        delivery = shop.claim()
        assert shop.store.start(delivery.lease)
        shop.store.release([delivery.lease], crashed=True, error="signal 9")
    shop.bury(shop.claim(), Failure("poison", "celeriac.errors.PoisonTask", "buried"))
    assert re.split(r"\s{2,}", cli("list").stdout.splitlines()[1].strip())[4:6] == ["poison", "3"]
    (item,) = json.loads(cli("list", "--json").stdout)
    assert [attempt["outcome"] for attempt in item["attempts"]] == ["crashed", "crashed", "crashed", "dead-lettered"]
    told = cli("show", "1").stdout.partition("Attempts: 3\n")[2]
    assert [told.count(word) for word in ("  crashed", "  buried by ", "dead-lettered")] == [3, 1, 0]


def test_what_succeeded_is_never_listed(shop: Shop, cli: Invoke) -> None:
    shop.publish()
    shop.settle(shop.claim(), Outcome.COMPLETED)
    assert listed(cli) == []


# -- bad input


@pytest.mark.parametrize("option", ["--task", "--queue", "--error"])
def test_an_empty_filter_does_not_mean_everything(shop: Shop, cli: Invoke, option: str) -> None:
    shop.fail()
    for command in (["list"], ["redrive", "--yes"], ["purge", "--yes"]):
        result = cli(*command, option, "")
        assert result.exit_code == 2
        assert f"{option} is empty" in result.stderr
    assert len(shop.letters()) == 1


def test_ages_that_exclude_each_other_are_refused(cli: Invoke) -> None:
    result = cli("list", "--older-than", "3d", "--newer-than", "2h")
    assert result.exit_code == 2
    assert "--older-than must be shorter than --newer-than" in result.stderr


@pytest.mark.parametrize("arguments", [["--older-than", "2 hours"], ["--newer-than", "yesterday"], ["--limit", "0"]])
def test_a_bad_value_names_its_option(cli: Invoke, arguments: list[str]) -> None:
    result = cli("list", *arguments)
    assert result.exit_code == 2
    assert f"Invalid value for '{arguments[0]}'" in result.stderr


@pytest.mark.parametrize("command", [["list"], ["show", "1"], ["redrive", "--all"], ["purge", "--all"]])
def test_an_app_without_a_store_is_told_how_to_get_one(cli: Invoke, command: list[str]) -> None:
    plain = cli(*command, app=celery.Celery("plain", set_as_current=False))
    assert plain.exit_code == 2
    assert "plain is a plain Celery app" in plain.stderr
    assert "from celeriac import Celery" in plain.stderr
    foreign = Celery("shop", broker="redis://:secret@localhost:6379/0", set_as_current=False)
    other = cli(*command, app=foreign)
    assert other.exit_code == 2
    assert "redis://:**@localhost:6379/0" in other.stderr
    assert "sqlite:///" in other.stderr


def test_a_failing_store_is_an_error_and_no_traceback(shop: Shop, cli: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> int:
        raise StoreUnavailable(shop.store.location, "disk I/O error")

    monkeypatch.setattr(shop.store, "count_dead_letters", fail)
    result = cli("list")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: store {shop.store.location}: not available for now (disk I/O error)")
    assert result.stderr.count(os.linesep) == 1
