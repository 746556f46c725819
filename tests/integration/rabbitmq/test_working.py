"""What workers do with RabbitMQ."""

from __future__ import annotations

import time
from typing import Any

import amqp
import pytest

from celeriac.transport.rabbitmq.queues import DEAD_LETTERS, DELIVERY_LIMIT
from tests.integration.rabbitmq.sites import RabbitMQSite, wait_lines
from tests.integration.tasks import lines
from tests.support import wait_for


def death(message: Any) -> dict[str, Any]:
    """Why and where RabbitMQ gave up on a message."""
    [record] = message.headers["x-death"]
    return {"reason": record["reason"], "queue": record["queue"], "id": message.headers.get("id")}


class TestDelays:
    def test_a_delayed_task_runs_when_it_is_due_and_not_before(self, site: RabbitMQSite) -> None:
        journal = site.file()
        due = {}
        for name, countdown in {"half": 0.5, "odd": 2.3, "whole": 3}.items():
            due[name] = time.time() + countdown
            site.note_time.apply_async((journal, name), countdown=countdown)
        site.worker("solo")
        ran = [line.split() for line in wait_lines(journal, 3)]
        assert sorted(name for name, _ in ran) == sorted(due)
        assert [name for name, at in ran if float(at) < due[name]] == []

    def test_one_for_a_queue_whose_name_ends_like_anothers_has_no_copy_there(self, site: RabbitMQSite) -> None:
        site.add.apply_async((0, 0), queue="mail", countdown=1)
        site.get("mail")
        site.add.apply_async((1, 2), queue="eu.mail", countdown=1)
        site.get("eu.mail")
        assert site.waiting("mail") == 0

    def test_a_retry_is_delayed_by_the_broker(self, site: RabbitMQSite) -> None:
        journal = site.file()
        site.retry_soon.delay(journal)
        site.worker("solo")
        first, second = (float(line) for line in wait_lines(journal, 2))
        assert second - first >= 0.5


class TestDeadLetters:
    """What the broker gives up on is kept, with the reason."""

    def test_what_no_worker_can_take(self, site: RabbitMQSite) -> None:
        site.worker("solo")
        site.app.send_task("no.such.task", task_id="unknown")
        assert death(site.get(DEAD_LETTERS)) == {"reason": "rejected", "queue": "celery", "id": "unknown"}
        _send_raw(site, "{broken", "unreadable")
        assert death(site.get(DEAD_LETTERS)) == {"reason": "rejected", "queue": "celery", "id": "unreadable"}

    def test_what_expired_unread(self, site: RabbitMQSite) -> None:
        site.add.apply_async((1, 2), expires=0.2, task_id="late")
        assert death(site.get(DEAD_LETTERS)) == {"reason": "expired", "queue": "celery", "id": "late"}

    def test_what_was_delivered_too_often(self, site: RabbitMQSite) -> None:
        site.add.apply_async((1, 2), task_id="often")
        with site.channel() as channel:
            for _ in range(DELIVERY_LIMIT + 1):
                message: Any = wait_for(lambda: channel.basic_get("celery"), message="it is gone too early")
                channel.basic_reject(message.delivery_tag, requeue=True)
        assert death(site.get(DEAD_LETTERS)) == {"reason": "delivery_limit", "queue": "celery", "id": "often"}


def _send_raw(
    site: RabbitMQSite, body: str, task_id: str, headers: dict[str, Any] | None = None, queue: str = "celery"
) -> None:
    message = amqp.Message(
        body,
        content_type="application/json",
        content_encoding="utf-8",
        application_headers={"id": task_id, "task": "add"} if headers is None else headers,
    )
    with site.channel() as channel:
        channel.basic_publish(message, routing_key=queue)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_tasks_run_once_in_every_pool(site: RabbitMQSite, pool: Any) -> None:
    journal = site.file()
    for number in range(20):
        site.effect.delay(journal, str(number))
    worker = site.worker(pool)
    wait_lines(journal, 20)
    assert worker.terminate() == 0
    assert sorted(lines(journal), key=int) == [str(number) for number in range(20)]
    assert site.waiting("celery") == 0


def test_a_task_whose_process_dies_runs_again(site: RabbitMQSite) -> None:
    journal = site.file()
    site.die_at_first.delay(journal, 2)
    site.worker("prefork", concurrency=1)
    wait_lines(journal, 3)
    wait_for(lambda: site.waiting("celery") == 0)
