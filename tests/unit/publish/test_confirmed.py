from __future__ import annotations

import time

import pytest
from amqp.exceptions import AccessRefused, MessageNacked, NotAllowed, RecoverableConnectionError
from kombu.exceptions import OperationalError

from celeriac import BrokerUnavailable
from celeriac.publish.confirmed import BrokerRefused, PublishUnknown, confirmed_by, given_up_after
from celeriac.transport.rabbitmq.deadline import DeadlineExceeded


def test_an_unconfirmed_publish_says_what_is_known() -> None:
    with pytest.raises(PublishUnknown) as caught, confirmed_by("redis://cache/0"):
        raise OperationalError("timed out")
    said = str(caught.value)
    assert isinstance(caught.value, BrokerUnavailable)
    assert "broker redis://cache/0" in said
    assert "timed out" in said
    assert "idempotency_key" in said


def test_time_that_is_up_is_not_confirmed_either() -> None:
    with pytest.raises(PublishUnknown, match="did not answer in time"), confirmed_by("amqp://queue"):
        raise DeadlineExceeded


def test_a_message_that_was_refused() -> None:
    error = OperationalError("refused")
    error.__context__ = MessageNacked()
    with pytest.raises(PublishUnknown, match="the queue is full"), confirmed_by("amqp://queue"):
        raise error


@pytest.mark.parametrize("error", [AccessRefused("login was refused"), NotAllowed("vhost x not found")])
def test_a_broker_that_lets_nobody_in(error: Exception) -> None:
    with (
        pytest.raises(BrokerRefused, match="Nothing was sent") as caught,
        confirmed_by("amqp://q"),
    ):
        raise error
    assert isinstance(caught.value, OperationalError)
    assert str(error) in str(caught.value)
    assert not isinstance(caught.value, PublishUnknown)


@pytest.mark.parametrize("before", [RecoverableConnectionError("lost"), ConnectionResetError()])
def test_one_that_does_so_after_it_was_lost_may_have_the_message(before: Exception) -> None:
    error = AccessRefused("login was refused")
    error.__context__ = before
    with pytest.raises(PublishUnknown, match="login was refused"), confirmed_by("amqp://q"):
        raise error


def test_one_that_does_so_while_confirms_are_waited_for_may_have_the_messages() -> None:
    with pytest.raises(PublishUnknown), confirmed_by("amqp://q", under_way=True):
        raise AccessRefused("access to exchange 'celery' refused")


def test_what_says_so_already_is_left_as_it_is() -> None:
    error = BrokerUnavailable("the ledger", "locked")
    with pytest.raises(BrokerUnavailable) as caught, confirmed_by("amqp://queue"):
        raise error
    assert caught.value is error


def test_retrying_ends() -> None:
    told: list[Exception] = []
    options = given_up_after({"retry_policy": {"errback": lambda error, _: told.append(error), "max_retries": 9}}, 0.02)
    policy = options["retry_policy"]
    error = ConnectionError("gone")
    policy["errback"](error, 0)
    time.sleep(0.02)
    with pytest.raises(ConnectionError):
        policy["errback"](error, 0)
    assert (policy["max_retries"], told) == (9, [error, error])
