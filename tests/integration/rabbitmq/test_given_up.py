"""What RabbitMQ gives up on, in the ledger beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from celeriac.core.attempt import DeadLetter, DeadLetterFilter
from celeriac.transport.rabbitmq.queues import DEAD_LETTERS, DELIVERY_LIMIT
from celeriac.worker.given_up import AT_ONCE
from tests.integration.rabbitmq.sites import RabbitMQSite
from tests.integration.rabbitmq.test_working import _send_raw
from tests.integration.sites import SHORT
from tests.support import wait_for
from tests.support.plugin import PROGRAMS
from tests.support.rabbitmq import RabbitMQServer


@pytest.fixture
def site(tmp_path: Path, rabbitmq: RabbitMQServer, request: pytest.FixtureRequest) -> Iterator[RabbitMQSite]:
    """The ledger is a file beside the broker."""
    settings: dict[str, Any] = {**SHORT, "celeriac_ledger": f"sqlite:///{tmp_path}/ledger.db"}
    site = RabbitMQSite(tmp_path, rabbitmq, **settings)
    request.node.stash[PROGRAMS] = site.workers
    yield site
    site.close()
    site.app.store.close()


def letters(site: RabbitMQSite) -> list[DeadLetter]:
    return list(site.app.store.dead_letters(DeadLetterFilter()))


def letter(site: RabbitMQSite) -> DeadLetter:
    """The one dead letter, once it is there."""
    [found] = wait_for(lambda: letters(site), message="there is no dead letter")
    return found


def test_what_was_delivered_too_often_is_a_dead_letter_of_the_queue_it_was_in(site: RabbitMQSite) -> None:
    site.add.apply_async((1, 2), queue="eu.mail")
    with site.channel() as channel:
        for _ in range(DELIVERY_LIMIT + 1):
            message: Any = wait_for(lambda: channel.basic_get("eu.mail"), message="it is gone too early")
            channel.basic_reject(message.delivery_tag, requeue=True)
    site.worker("solo")
    found = letter(site)
    assert (found.name, found.queue, found.reason) == ("add", "eu.mail", "delivery-limit")
    assert "delivered too often" in found.error
    assert site.waiting(DEAD_LETTERS) == 0
    assert site.app.store.records([found.task_id])[found.task_id].state == "FAILURE"


def test_what_is_no_task_is_kept_too(site: RabbitMQSite) -> None:
    site.add.delay(1, 2)
    with site.channel() as channel:
        channel.basic_get("celery", no_ack=True)
    _send_raw(site, "anything", "", headers={})
    with site.channel() as channel:
        message: Any = wait_for(lambda: channel.basic_get("celery"))
        channel.basic_reject(message.delivery_tag, requeue=False)
    site.worker("solo")
    assert (letter(site).name, letter(site).reason) == ("unknown", "rejected")


def test_a_task_that_expired_as_it_was_told_to_is_no_dead_letter(site: RabbitMQSite) -> None:
    sent = site.add.apply_async((1, 2), expires=0.2)
    wait_for(lambda: site.waiting(DEAD_LETTERS) == 1)
    site.worker("solo")
    wait_for(lambda: (record := site.app.store.records([sent.id]).get(sent.id)) and record.closed)
    assert site.app.store.records([sent.id])[sent.id].state == "REVOKED"
    assert letters(site) == []


def test_a_copy_of_what_is_over_changes_nothing(site: RabbitMQSite) -> None:
    sent = site.add.delay(1, 2)
    with site.channel() as channel:
        copy: Any = wait_for(lambda: channel.basic_get("celery"))
        channel.basic_reject(copy.delivery_tag, requeue=True)
        site.worker("solo")
        assert sent.get(timeout=60) == 3
        channel.basic_publish(copy, exchange=DEAD_LETTERS)
    wait_for(lambda: site.waiting(DEAD_LETTERS) == 0)
    site.add.delay(1, 2).get(timeout=60)
    assert letters(site) == []
    assert site.app.store.records([sent.id])[sent.id].state == "SUCCESS"


def test_a_ledger_that_cannot_be_written_is_waited_for_and_nothing_is_let_go(
    tmp_path: Path, site: RabbitMQSite
) -> None:
    """A worker takes twenty at once, and acknowledges none that it has not kept; also over another connection."""
    site.settings["celeriac_publish_timeout"] = 1
    site.add.delay(1, 2)  # makes the queues
    worker = site.worker("threads", concurrency=1)
    wait_for(lambda: site.waiting("celery") == 0)
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(25):
            _send_raw(site, "[[1, 2], {}, {}]", f"given-up-{number}", queue=DEAD_LETTERS)
        wait_for(lambda: "cannot be kept now" in worker.log(), 60, worker.tail)
        # What rabbitmqctl counts is some moments old.
        wait_for(lambda: _in_hand(site) == AT_ONCE, 60)
        site.server.close_connections()
        wait_for(lambda: "Connection to broker lost" in worker.log(), 60, worker.tail)
        other.execute("ROLLBACK")
    wait_for(lambda: len(letters(site)) == 25, 120, worker.tail)
    wait_for(lambda: site.waiting(DEAD_LETTERS) == 0 and _in_hand(site) == 0, 60)
    assert {letter.task_id for letter in letters(site)} == {f"given-up-{number}" for number in range(25)}


def test_one_that_cannot_be_kept_stays_with_the_broker_and_holds_up_no_other(site: RabbitMQSite) -> None:
    site.add.delay(1, 2)  # makes the queues
    worker = site.worker("solo")
    wait_for(lambda: site.waiting("celery") == 0)
    _send_raw(site, "[[1, 2], {}, {}]", "", headers={"id": {"no": "name"}, "task": "add"}, queue=DEAD_LETTERS)
    _send_raw(site, "[[1, 2], {}, {}]", "the next", queue=DEAD_LETTERS)
    assert letter(site).task_id == "the next"
    assert "what RabbitMQ gave up on cannot be kept" in worker.log()
    assert worker.terminate() == 0
    assert site.waiting(DEAD_LETTERS) == 1


def _in_hand(site: RabbitMQSite) -> int:
    """Dead letters of the broker's that a worker has and has not acknowledged."""
    facts = ("name", "messages_unacknowledged")
    listed = site.server.control("--vhost", site.vhost, "list_queues", "--no-table-headers", *facts)
    return int(dict(line.split("\t") for line in listed.splitlines())[DEAD_LETTERS])
