"""A queue that a worker has left comes back to it, whatever became of the connection meanwhile."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celeriac.worker.pausing import PausedQueues


class Consumer:
    """As much of Celery's consumer as is asked, on a connection that may be lost."""

    def __init__(self) -> None:
        self.lost = False
        self.consumed = {"mails", "others"}
        self.paused: set[tuple[str, str]] = set()
        self.timer = SimpleNamespace(call_repeatedly=lambda every, look, args: SimpleNamespace(cancel=lambda: None))

    @property
    def app(self) -> Any:
        queues = SimpleNamespace(consume_from=self.consumed)
        room = SimpleNamespace(pauses=SimpleNamespace(paused=self.paused))
        return SimpleNamespace(amqp=SimpleNamespace(queues=queues), execution_room=room)

    def call_soon(self, change: Any, consumer: Any) -> None:
        change(consumer)

    def cancel_task_queue(self, queue: str) -> None:
        self.consumed.discard(queue)  # Celery's order
        self._ask()

    def add_task_queue(self, queue: str) -> None:
        self.consumed.add(queue)
        self._ask()

    def _ask(self) -> None:
        if self.lost:
            raise ConnectionError("lost")


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


@pytest.fixture
def step(consumer: Consumer) -> PausedQueues:
    made = PausedQueues(consumer)
    made.start(consumer)
    return made


def test_a_paused_queue_is_left_until_it_is_resumed(consumer: Consumer, step: PausedQueues) -> None:
    consumer.paused = {("queue", "mails"), ("task", "others")}
    step._look(consumer)
    assert consumer.consumed == {"others"}
    consumer.paused = set()
    step._look(consumer)
    assert consumer.consumed == {"mails", "others"}


@pytest.mark.parametrize("resumed_when", ["connected again", "not yet"])
def test_a_connection_that_is_lost_over_leaving_it_costs_no_queue(
    consumer: Consumer, step: PausedQueues, resumed_when: str
) -> None:
    consumer.paused, consumer.lost = {("queue", "mails")}, True
    with pytest.raises(ConnectionError):
        step._look(consumer)
    step.stop(consumer)
    consumer.lost = False
    if resumed_when == "not yet":
        step.start(consumer)
        assert consumer.consumed == {"others"}
    consumer.paused = set()
    step.start(consumer)
    assert consumer.consumed == {"mails", "others"}


def test_a_connection_that_is_lost_over_coming_back_costs_no_queue(consumer: Consumer, step: PausedQueues) -> None:
    consumer.paused = {("queue", "mails")}
    step._look(consumer)
    consumer.paused, consumer.lost = set(), True
    with pytest.raises(ConnectionError):
        step._look(consumer)
    consumer.lost = False
    step.start(consumer)
    assert consumer.consumed == {"mails", "others"}
