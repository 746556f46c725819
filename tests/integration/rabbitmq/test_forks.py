"""A process that has published forks, as a server does that loads the application first."""

from __future__ import annotations

import os

from tests.integration.rabbitmq.sites import RabbitMQSite

CHILDREN, MESSAGES = 3, 20


def _publish_many(site: RabbitMQSite) -> int:
    for number in range(MESSAGES):
        site.add.delay(number, number)
    return MESSAGES


def _child(site: RabbitMQSite) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _publish_many(site)
            code = 0
        finally:
            os._exit(code)
    return pid


def test_each_publishes_on_a_connection_of_its_own(site: RabbitMQSite) -> None:
    """On a shared one the one reads that the other's message has arrived: both are sent again, or neither is known of."""
    sent = _publish_many(site)
    children = [_child(site) for _ in range(CHILDREN)]
    sent += _publish_many(site)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * CHILDREN
    assert site.waiting("celery") == sent + CHILDREN * MESSAGES


def test_a_child_that_ends_leaves_the_parents_connection_alone(site: RabbitMQSite) -> None:
    with site.app.connection_for_write() as connection:
        connection.default_channel.queue_declare("of-the-parent", durable=True)
        pid = os.fork()
        if pid == 0:
            connection.release()
            os._exit(0)
        os.waitpid(pid, 0)
        assert connection.default_channel.queue_declare("of-the-parent", passive=True).message_count == 0
