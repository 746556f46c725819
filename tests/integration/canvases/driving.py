"""One process does a worker's work, message by message, in an order of its own choice."""

from __future__ import annotations

import random
from typing import Any

from celery.app.trace import trace_task_ret

QUEUE = "celery"


class Driver:
    """Runs what an app's store has, until nothing is left.

    Args:
        app: on a store.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._connection = app.connection_for_write()
        self._channel = self._connection.default_channel

    def run(self, order: int = 0, most: int = 2000) -> None:
        """Until nothing waits; an `AssertionError` when there is no end to it.

        Args:
            order: a seed, of the order in which what waits at the same time is run.
        """
        shuffle = random.Random(order).shuffle
        runs = 0
        while held := self._hold():
            shuffle(held)
            for message in held:
                self._execute(message)
                runs += 1
                assert runs < most, "it does not come to an end"
            self._app.execution_room.settler.finish()

    def _hold(self) -> list[Any]:
        held = []
        while (message := self._channel.basic_get(QUEUE)) is not None:
            held.append(message)
        return held

    def _execute(self, message: Any) -> None:
        headers = dict(message.headers, delivery_info=message.delivery_info)
        trace_task_ret(headers["task"], headers["id"], headers, message.decode(), None, None, app=self._app)

    def close(self) -> None:
        self._connection.close()
