"""A declared policy on RabbitMQ alone: what is tried again is published to it, as Celery's own retries are."""

from __future__ import annotations

from tests.integration import policies  # noqa: F401  # its tasks
from tests.integration.rabbitmq.sites import RabbitMQSite, wait_lines
from tests.integration.tasks import lines
from tests.support import wait_for


def test_a_policy_is_followed_and_its_end_is_told(site: RabbitMQSite) -> None:
    journal = site.file()
    site.is_exhausted.delay(journal)
    site.worker("solo")
    assert wait_lines(journal, 3) == ["run 0", "run 1", "told 1 True"]


def test_retries_go_to_their_own_queue(site: RabbitMQSite) -> None:
    journal = site.file()
    site.moves.delay(journal)
    site.worker("solo", queues=("celery", "elsewhere"))
    # What waits in the broker has how long before its queue's name.
    came = [(line.split()[0], line.split()[1].rpartition(".")[2]) for line in wait_lines(journal, 3)]
    assert came == [("0", "celery"), ("1", "elsewhere"), ("2", "elsewhere")]


def test_the_budget_travels(site: RabbitMQSite) -> None:
    journal = site.file()
    site.worker("solo")
    site.runs_out_of_time.delay(journal)
    site.effect.apply_async((journal, "much later"), countdown=10)
    wait_for(lambda: "much later" in lines(journal), 60)
    # Six fit into the budget; without its beginning there would be no end of them.
    assert 1 < len(lines(journal)) - 1 <= 6
