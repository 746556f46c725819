"""Queues of celeriac's that are declared, on a RabbitMQ without a ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.keeping import Keep
from tests.integration.rabbitmq.sites import RabbitMQSite, wait_lines
from tests.support import wait_for
from tests.support.rabbitmq import RabbitMQServer


@pytest.fixture
def declared(tmp_path: Path, rabbitmq: RabbitMQServer, keep: Keep) -> RabbitMQSite:
    return keep(RabbitMQSite(tmp_path, rabbitmq, site_queues=True))


def test_they_are_quorum_queues_that_delay_and_the_worker_says_what_has_no_effect(declared: RabbitMQSite) -> None:
    worker = declared.worker("threads", queues=["celery.two", "celery.heavy"])
    journal = declared.file()
    declared.effect.apply_async((journal, "now"), queue="celery.two")
    declared.effect.apply_async((journal, "later"), queue="celery.heavy", countdown=1)
    assert wait_lines(journal, 2) == ["now", "later"]
    kinds = {name: facts["type"] for name, facts in declared.queues().items()}
    assert {kinds["celery.two"], kinds["celery.heavy"], kinds["celeriac.dead-letters"]} == {"quorum"}
    assert "weight, order and prefetch of celery.heavy and 3 more have no effect" in worker.log()
    assert "concurrency and limits of celery.two and celery.each have no effect" in worker.log()


def test_a_time_limit_of_a_queue_holds(declared: RabbitMQSite) -> None:
    worker = declared.worker("prefork", queues=["celery.short"])
    declared.take.apply_async((declared.file(), "long", 600.0), queue="celery.short")
    wait_for(lambda: "Hard time limit (1s) exceeded for take" in worker.log(), 60, worker.tail)
