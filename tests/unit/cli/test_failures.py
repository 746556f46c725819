"""``celery failures``: listed until somebody says that they are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from celery.bin.base import CLIContext
from click.testing import CliRunner, Result

from celeriac import Celery
from celeriac.cli.failures import failures
from celeriac.core.attempt import Failure

from .conftest import Shop

Invoke = Callable[..., Result]


@pytest.fixture
def cli(shop: Shop) -> Invoke:
    def invoke(*arguments: str, app: Any = shop.app, answer: str | None = None) -> Result:
        context = CLIContext(app=app, no_color=False, workdir=None)
        return CliRunner().invoke(failures, arguments, input=answer, obj=context)

    return invoke


def listed(cli: Invoke, *arguments: str) -> list[dict[str, Any]]:
    result = cli("list", "--json", *arguments)
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_none_is_said(shop: Shop, cli: Invoke) -> None:
    assert cli("list").stdout == f"No unread failures in {shop.store.location}.\n"
    assert listed(cli) == []


def test_each_with_task_queue_and_error(shop: Shop, cli: Invoke) -> None:
    letter = shop.fail("shop.charge", failure=Failure("permanent", "builtins.ValueError", "no\x1b[31m order"))
    shown = cli("list").stdout
    for part in (letter.task_id, "ValueError: no\\x1b[31m order", f"1 unread failure in {shop.store.location}."):
        assert part in shown
    [data] = listed(cli)
    assert (data["task_id"], data["error_type"], data["error"]) == (
        letter.task_id,
        "builtins.ValueError",
        "no\x1b[31m order",
    )


def test_the_newest_and_those_that_match(shop: Shop, cli: Invoke) -> None:
    for number in range(3):
        shop.fail(ago=100 - number, failure=Failure("permanent", "ValueError", f"number {number}"))
    assert [data["error"] for data in listed(cli, "--limit", "2")] == ["number 1", "number 2"]
    assert [data["error"] for data in listed(cli, "--error", "NUMBER 1")] == ["number 1"]
    assert "2 of 3 unread failures" in cli("list", "--limit", "2").stdout
    assert cli("list", "--error", "else").stdout.startswith("None of 3 unread failures")
    assert cli("list", "--error", "").exit_code == 2


def test_acknowledged_by_id(shop: Shop, cli: Invoke) -> None:
    first, second = shop.fail(), shop.fail()
    assert cli("ack", first.task_id, "--dry-run").stdout == "1 would be acknowledged; nothing was done\n"
    done = cli("ack", first.task_id, "unknown", "--as", "anna", "--note", "known")
    assert (done.exit_code, done.stdout) == (0, "1 acknowledged, 1 read already\n")
    assert [data["task_id"] for data in listed(cli)] == [second.task_id]
    [line] = shop.store.actions()
    assert (line.who, line.verb.value, line.task_id, line.note) == ("anna", "read", first.task_id, "known")
    assert len(shop.letters()) == 2, "dead letters stay where they are"


def test_many_are_asked_for_and_all_must_be_meant(shop: Shop, cli: Invoke) -> None:
    for _ in range(3):
        shop.fail()
    assert cli("ack").exit_code == 2
    assert cli("ack", "a", "--task", "b").exit_code == 2
    refused = cli("ack", "--all", answer="n\n")
    assert refused.exit_code == 1
    assert "Acknowledge 3 unread failures in" in refused.stderr
    assert cli("ack", "--all", "--dry-run").stdout == "3 would be acknowledged; nothing was done\n"
    assert len(listed(cli)) == 3
    assert cli("ack", "--all", "--yes").stdout == "3 acknowledged\n"
    assert cli("ack", "--all").stdout.startswith("No unread failures")


def test_results_kept_elsewhere_are_said_to_be(shop: Shop, cli: Invoke) -> None:
    app = Celery(
        "shop", broker=f"sqlite:///{shop.store.location}", result_backend="cache+memory://", set_as_current=False
    )
    assert "acknowledge by hand" in cli("list", app=app).stderr
    assert "acknowledge by hand" not in cli("list").stderr
