"""To a broker that is no store, at once."""

from __future__ import annotations

from typing import Any

from celeriac.publish.confirmed import confirmed_by, given_up_after
from celeriac.publish.ids import new_id
from celeriac.publish.rabbitmq import delayed_by_the_broker
from celeriac.publish.stamp import stamped
from celeriac.publish.ways.call import Call, Preparing, normalise
from celeriac.settings import PYAMQP, capabilities_of, first_url, shown_url
from celeriac.transport.rabbitmq.deadline import within

#: What kombu does between two waits takes time too.
_SHARE = 0.9


class Elsewhere(Preparing):
    """To wherever the caller's connection leads, as Celery sends it."""

    def send(self, call: Call) -> Any:
        return self.build(call)


class ToBroker(Preparing):
    """To the broker, within ``celeriac_publish_timeout``."""

    def send(self, call: Call) -> Any:
        """As Celery's.

        Raises:
            PublishUnknown: the broker has not confirmed it; it may have it.
            Unroutable, QueueConflict: RabbitMQ has no queue for it, or another one; nothing was sent.
        """
        if capabilities_of(self.app.conf.broker_write_url).scheme in PYAMQP:
            return self._to_rabbitmq(call)
        with confirmed_by(shown_url(first_url(self.app.conf.broker_url))):
            call.options = given_up_after(call.options, self._seconds)
            return self.build(call)

    def _to_rabbitmq(self, call: Call) -> Any:
        if self.app.delays_natively and self.app.defaults == "safe":
            normalise(self.app, call.options)
            call.options = delayed_by_the_broker(self.app, call.name, call.options)
        location = shown_url(self.app.conf.broker_write_url)
        with confirmed_by(location), within(self._seconds * _SHARE):
            return self.build(call)

    @property
    def _seconds(self) -> float:
        return float(self.app.own_settings.publish_timeout)


class Straight(ToBroker):
    """To the broker beside the ledger, which meets the task when a worker is given it."""

    def send(self, call: Call) -> Any:
        self.check(call)
        self.hold(call)
        # A known id is never sent this way.
        call.options = {**stamped(self.app.store, call.options), "task_id": new_id()}
        return super().send(call)
