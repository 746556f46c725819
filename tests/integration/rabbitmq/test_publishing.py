"""What a client does with RabbitMQ: queues of the right kind, confirmed publishes, and words where it cannot be."""

from __future__ import annotations

import time
from typing import Any

import amqp
import pytest
from kombu import Exchange, Queue
from kombu.common import Broadcast

from celeriac import BrokerUnavailable
from celeriac.errors import OptionError, QueueConflict, Unroutable
from celeriac.transport.rabbitmq.deadline import within
from celeriac.transport.rabbitmq.queues import CONSUMER_TIMEOUT, DEAD_LETTERS, DELIVERY_LIMIT
from tests.integration.rabbitmq.sites import RabbitMQSite
from tests.integration.tasks import make_app
from tests.support import wait_for
from tools.services.rabbitmq import PASSWORD

QUORUM = {"x-queue-type": "quorum"}


def send(site: RabbitMQSite, **options: Any) -> Any:
    return site.add.apply_async((1, 2), **options)


class TestQueues:
    def test_every_queue_is_a_quorum_queue_whose_dead_letters_are_kept(self, site: RabbitMQSite) -> None:
        send(site)
        send(site, queue="eu.mail")
        queues = site.queues()
        assert {name: facts["type"] for name, facts in queues.items()} == dict.fromkeys(
            ["celery", "eu.mail", DEAD_LETTERS], "quorum"
        )
        for name in ("celery", "eu.mail"):
            arguments = queues[name]["arguments"]
            for argument in (f'"x-delivery-limit",{DELIVERY_LIMIT}', DEAD_LETTERS, "at-least-once", "reject-publish"):
                assert argument in arguments
            assert f'"x-consumer-timeout",{CONSUMER_TIMEOUT}' in arguments

    def test_one_added_to_a_running_worker_is_one_too(self, site: RabbitMQSite) -> None:
        worker = site.worker("solo")
        # Without a destination it would wait for more answers until the time is up.
        destination = [worker.nodename]
        assert site.app.control.add_consumer("later", reply=True, timeout=30, destination=destination)
        wait_for(lambda: "later" in site.queues(), 60, worker.tail)  # declared soon after the answer
        assert "reject-publish" in site.queues()["later"]["arguments"]

    @pytest.mark.parametrize(
        "settings",
        [
            pytest.param({"task_default_queue_type": "classic"}, id="classic ones asked for"),
            pytest.param({"task_queue_max_priority": 10}, id="priorities asked for"),
        ],
    )
    def test_what_the_user_says_of_queues_holds(self, site: RabbitMQSite, settings: dict[str, Any]) -> None:
        app = site.other(**settings)
        app.tasks["add"].delay(1, 2)
        assert {name: facts["type"] for name, facts in site.queues().items()} == {"celery": "classic"}
        assert not app.conf.task_acks_late

    @pytest.mark.parametrize(
        "settings",
        [{"task_create_missing_queue_type": "classic"}, {"task_create_missing_queue_exchange_type": "direct"}],
        ids=["their kind", "their exchange"],
    )
    def test_what_the_user_says_of_missing_ones_holds(self, site: RabbitMQSite, settings: dict[str, Any]) -> None:
        app = site.other(**settings)
        app.tasks["add"].apply_async((1, 2), queue="theirs")
        assert "reject-publish" not in site.queues()["theirs"]["arguments"]

    def test_declared_queues_are_declared_as_they_are(self, site: RabbitMQSite) -> None:
        theirs = Queue("mine", Exchange("mine", "topic"), "mine", queue_arguments={**QUORUM, "x-delivery-limit": 5})
        app = site.other(task_queues=[theirs], task_default_queue="mine")
        app.tasks["add"].delay(1, 2)
        [(name, facts)] = site.queues().items()
        assert (name, facts["type"]) == ("mine", "quorum")
        assert '"x-delivery-limit",5' in facts["arguments"]
        assert "dead-letter" not in facts["arguments"]
        assert app.conf.task_acks_late

    def test_a_classic_queue_of_before_is_kept_and_its_owner_told(self, site: RabbitMQSite) -> None:
        _declare_as_before(site, {})
        told = "queue 'celery' exists on the broker with x-queue-type classic, and this app declares quorum.*"
        for options in ({}, {}, {"countdown": 5}, {}):  # the connection is good for the next one
            with pytest.raises(QueueConflict, match=told + 'task_default_queue_type = "classic"'):
                send(site, **options)
        assert site.queues()["celery"]["type"] == "classic"
        send(site, queue="another")
        assert site.waiting("another") == 1

    def test_a_quorum_queue_of_celerys_is_told_from_one_of_ours(self, site: RabbitMQSite) -> None:
        _declare_as_before(site, QUORUM)
        with pytest.raises(QueueConflict, match='task_default_queue_type = "quorum"'):
            send(site)

    def test_a_worker_that_meets_such_a_queue_ends_and_says_why(self, site: RabbitMQSite) -> None:
        _declare_as_before(site, {})
        with pytest.raises(AssertionError, match="ended with 1"):
            site.worker("solo")
        assert "queue 'celery' exists on the broker with x-queue-type classic" in site.workers[0].log()


def _declare_as_before(site: RabbitMQSite, arguments: dict[str, Any]) -> None:
    with site.channel() as channel:
        channel.queue_declare("celery", durable=True, auto_delete=False, arguments=arguments)


class TestConfirms:
    def test_a_task_that_no_queue_gets_is_not_sent(self, site: RabbitMQSite) -> None:
        for exchange in ("amq.direct", "no-such-exchange", "amq.direct"):
            with pytest.raises(Unroutable) as raised:
                send(site, exchange=exchange, routing_key="nowhere")
            assert (raised.value.exchange, raised.value.routing_key) == (exchange, "nowhere")
            send(site)  # the next one is not taken for it
        assert site.waiting("celery") == 3

    def test_a_confirm_is_of_the_message_it_is_for(self, site: RabbitMQSite) -> None:
        """The broker confirms also what it returns; taken for the next message's, that would hide its refusal."""
        full = Queue(
            "full", Exchange("full"), "full", queue_arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
        )
        app = site.other(task_queues=[full], task_default_queue="full", broker_pool_limit=1)
        add = app.tasks["add"]
        add.delay(1, 2)
        with pytest.raises(Unroutable):
            add.apply_async((1, 2), exchange="amq.direct", routing_key="nowhere")
        with pytest.raises(BrokerUnavailable, match="the queue is full"):
            add.delay(1, 2)
        assert site.waiting("full") == 1

    @pytest.mark.parametrize("wrong", ["password", "virtual host"])
    def test_a_url_that_opens_nothing(self, site: RabbitMQSite, wrong: str) -> None:
        url = site.url.replace(f":{PASSWORD}@", ":wrong@") if wrong == "password" else f"{site.url}-gone"
        app = make_app(url)
        for send_it in (app.tasks["add"].delay, lambda *args: app.send_tasks([app.tasks["add"].s(*args)])):
            with pytest.raises(BrokerUnavailable, match=r"Nothing was sent.*virtual host") as caught:
                send_it(1, 2)
            assert url.rpartition("/")[2] in str(caught.value)
            assert ":wrong@" not in str(caught.value)

    def test_a_broadcast_that_nobody_hears_is_not_sent_to_a_queue_of_the_clients(self, site: RabbitMQSite) -> None:
        queues = [Queue("mine", Exchange("mine"), "mine", queue_arguments=QUORUM), Broadcast("news")]
        app = site.other(task_queues=queues, task_default_queue="mine")
        with pytest.raises(Unroutable):
            app.tasks["add"].apply_async((1, 2), queue="news")
        assert [name for name in site.queues() if name.startswith("bcast")] == []

    @pytest.mark.parametrize("kind", ["queue", "exchange"])
    def test_what_is_deleted_under_a_client_is_made_again(self, site: RabbitMQSite, kind: str) -> None:
        send(site)
        with site.channel() as channel:
            channel.queue_delete("celery") if kind == "queue" else channel.exchange_delete("celeriac")
            send(site)
        assert site.waiting("celery") == (1 if kind == "queue" else 2)
        assert "reject-publish" in site.queues()["celery"]["arguments"]

    @pytest.mark.parametrize("what", ["channel", "connection"])
    def test_what_is_closed_when_the_time_is_up_is_closed(self, site: RabbitMQSite, what: str) -> None:
        """Otherwise the error would keep it, and the producer with it, out of the pool for good."""
        with site.app.connection_for_write() as connection:
            raw, channel = connection.connection, connection.channel()
            with within(0.001):
                time.sleep(0.01)
                channel.close() if what == "channel" else connection.close()
            assert not raw.connected
            assert not channel.is_open

    def test_options_of_the_users_join_those_of_the_policy(self, site: RabbitMQSite) -> None:
        app = site.other(broker_transport_options={"client_properties": {"connection_name": "shop"}})
        with app.connection_for_write() as connection:
            assert connection.connection.confirm_publish
            assert connection.connection.client_properties["connection_name"] == "shop"
        assert (
            not site.other(broker_transport_options={"confirm_publish": False})
            .connection()
            .transport_options["confirm_publish"]
        )

    def test_the_first_day_changes_nothing(self, site: RabbitMQSite) -> None:
        app = type(site.app)("site", broker=site.url, defaults="celery")
        app.send_task("add", (1, 2), exchange="amq.direct", routing_key="nowhere")
        app.send_task("add", (1, 2))
        assert {name: facts["type"] for name, facts in site.queues().items()} == {"celery": "classic"}
        with site.channel() as channel:
            channel.exchange_declare("celery", "direct", durable=True, auto_delete=False)
            with pytest.raises(amqp.NotFound):
                channel.exchange_declare("celeriac", "topic", passive=True)
        app.close()


class TestDelays:
    def test_a_delay_beyond_what_the_broker_counts_is_refused(self, site: RabbitMQSite) -> None:
        with pytest.raises(OptionError, match="268435455 seconds at most"):
            send(site, countdown=2**28)

    def test_it_is_held_by_the_broker_before_any_worker_was_there(self, site: RabbitMQSite) -> None:
        send(site, countdown=600)

        def held() -> dict[str, str]:
            return {name: facts["messages"] for name, facts in site.server.queues(site.vhost).items()}

        # What rabbitmqctl counts in a quorum queue is some moments old.
        wait_for(lambda: held()["celery_delayed_9"] == "1", 60, lambda: str(held()))
        assert held()["celery"] == "0"

    def test_what_waits_for_a_queue_that_was_deleted_reaches_the_one_made_again(self, site: RabbitMQSite) -> None:
        patient = site.other(celeriac_publish_timeout=60)
        patient.tasks["add"].apply_async((1, 2), countdown=20)
        with site.channel() as channel:
            channel.queue_delete("celery")
        send(site)
        assert site.get("celery").headers["id"] != site.get("celery").headers["id"]

    def test_one_for_each_of_many_queues_leaves_no_channel_open(self, site: RabbitMQSite) -> None:
        app = site.other(celeriac_publish_timeout=60)

        def channels() -> int:
            with app.producer_pool.acquire() as producer:
                return len([each for each in producer.connection.connection.channels.values() if each is not None])

        app.tasks["add"].apply_async((1, 2), countdown=600)
        before = channels()
        for number in range(5):
            app.tasks["add"].apply_async((1, 2), countdown=600, queue=f"many-{number}")
        assert channels() == before
