from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from celery.bin.base import CLIContext
from click.testing import CliRunner, Result

from celeriac.cli import progress as command
from celeriac.cli.progress import told, within
from celeriac.cli.text import cells
from celeriac.core.attempt import Outcome, Record
from celeriac.core.checkpoint import Checkpoint, Progress
from celeriac.core.message import TaskMessage
from celeriac.core.workflow import Node, Workflow

from .conftest import Invoke, Shop

NOW = 1_800_000_000.0


def ask(shop: Shop, *arguments: str) -> Result:
    return CliRunner().invoke(
        command.progress, list(arguments), obj=CLIContext(app=shop.app, no_color=True, workdir=None)
    )


def running(shop: Shop, done: float, **fields: Any) -> Any:
    shop.publish(task_id="long")
    delivery = shop.claim()
    shop.store.start(delivery.lease)
    assert shop.store.save_checkpoint(delivery.lease, Checkpoint("long", done, **fields))
    return delivery


@pytest.mark.parametrize(
    ("found", "left", "line"),
    [
        (None, None, "STARTED  it has said nothing of how far it is"),
        (Progress(12_000, None, None, NOW - 7), None, "STARTED  12,000 done  (7s ago)"),
        (
            Progress(12_000, 24_000, "orders\nof May", NOW - 7),
            None,
            f"STARTED  [{'#' * 15}{' ' * 15}]   50%  12,000 of 24,000  orders of May  (7s ago)",
        ),
        (Progress(1, 4, None, NOW), 75.0, f"STARTED  [{'#' * 8}{' ' * 22}]   25%  1 of 4  1m 15s left"),
    ],
)
def test_it_is_told_in_one_line(found: Progress | None, left: float | None, line: str) -> None:
    assert told(Record("long", 0, "STARTED", False), found, NOW, left) == line


def test_a_line_that_moves_is_one_line_of_the_terminal() -> None:
    line = told(Record("long", 0, "STARTED", False), Progress(12_000, 24_000, "注文" * 20, NOW), NOW)
    assert cells(within(line, 80)) <= 79
    assert within(line, None) == line


def test_it_is_shown(shop: Shop) -> None:
    running(shop, 3, total=10, note="three", cursors="{}")
    asked = ask(shop, "long")
    assert (asked.exit_code, asked.stdout.split("  ")[0]) == (0, "STARTED")
    assert "3 of 10  three" in asked.stdout
    data = json.loads(ask(shop, "long", "--json").stdout)
    assert (data["state"], data["done"], data["total"], data["continues"]) == ("STARTED", 3, 10, True)


def test_nobody_knows_it(shop: Shop) -> None:
    asked = ask(shop, "never")
    assert asked.exit_code == 1
    assert "Nothing is known of task never" in asked.output


def test_it_is_followed_to_its_end(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = running(shop, 3, total=10)
    looked = threading.Event()

    def go_on(_: float) -> None:
        if not looked.is_set():
            looked.set()
            shop.settle(delivery, Outcome.COMPLETED, checkpoint=Checkpoint("long", 10, 10))

    monkeypatch.setattr("celeriac.cli.progress.time.sleep", go_on)
    asked = ask(shop, "long", "--follow")
    assert asked.exit_code == 0
    first, last = asked.stdout.splitlines()
    assert "3 of 10" in first
    assert last.startswith("SUCCESS")
    assert "10 of 10" in last


def test_the_page_of_a_dead_letter_says_that_a_redrive_goes_on(shop: Shop, cli: Invoke) -> None:
    delivery = running(shop, 3, total=10, note="three", cursors='{"rows": {}}')
    letter = shop.bury(delivery)
    page = cli("show", letter.id).stdout
    assert "3 of 10 done, three" in page
    assert "goes on from its checkpoint, also with other arguments; --from-start begins anew" in page
    assert json.loads(cli("show", letter.id, "--json").stdout)["progress"]["continues"] is True
    assert cli("redrive", letter.id, "--from-start").exit_code == 0
    assert shop.store.checkpoints(["long"])["long"].cursors is None


def test_of_a_workflow_it_says_where_to_look(shop: Shop) -> None:
    opened = Workflow("the-workflow", "nightly", [Node("first", "t")])
    shop.store.publish([TaskMessage("q", "[]", "[]", "first", "t", opens=opened)])
    result = ask(shop, "the-workflow")
    assert result.exit_code == 1
    assert "is a workflow and no task" in result.output
    assert "workflow show the-workflow` shows how far each of its tasks is" in result.output
