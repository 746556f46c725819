"""Random histories of a queue, each step compared with the model. Needs hypothesis.

``TestMyQueue = queue_machine(make_harness).TestCase`` is a test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from celeriac.core.attempt import DeadLetterFilter, Outcome
from celeriac.core.message import Delivery, IdempotencyKey, TaskMessage
from celeriac.errors import DeadLetterError
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import ME, StoreHarness, claim, key, settlement, task
from celeriac.testing.conformance.model import CLAIMED, ENDS, Live, QueueModel

QUEUES, TASKS = ("a", "b"), tuple(f"t{number}" for number in range(7))
#: Seconds. Time passes in steps that no slow machine takes for a history, so that no moment has to be known exactly.
STEP, LEASE, TTL = 100.0, 250.0, 250.0

names = st.sampled_from(TASKS)
queues = st.permutations(QUEUES).flatmap(lambda order: st.sampled_from([order, order[:1]]))
keys = st.sampled_from([None, key("k1", ttl=TTL), key("k1", ttl=TTL), key("k2", ttl=TTL)])
delays = st.sampled_from([None, 50.0, 150.0, 350.0])
outcomes = st.sampled_from(sorted(ENDS, key=str))
messages = st.builds(
    Live,
    task_id=names,
    queue=st.sampled_from(QUEUES),
    priority=st.integers(0, 9),
    arrival=st.just(0),
    generation=st.just(0),
    key=keys,
    run_at=st.none() | delays,
)


class QueueMachine(RuleBasedStateMachine):
    """Publishers, workers, operators and time, in any order."""

    make_harness: Callable[[], StoreHarness]

    def __init__(self) -> None:
        super().__init__()
        self.harness = type(self).make_harness()
        self.store: Store = self.harness.store
        self.model = QueueModel()
        self.deliveries: list[Delivery] = []
        #: How often each (task, generation) was settled.
        self.settled: Counter[tuple[str, int]] = Counter()

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """The model's time is the store's, and there is something to do."""
        self.model.now = self.store.now()
        for _ in range(4):
            self.publish(data.draw(messages), awaited=False)

    def teardown(self) -> None:
        try:
            self._nothing_is_lost()
        finally:
            self.harness.close()

    # -- publishers

    @rule(message=messages, awaited=st.booleans())
    def publish(self, message: Live, *, awaited: bool) -> None:
        message = replace(message, run_at=self._after(message.run_at))
        expected = self.model.publish(message, awaited=awaited)
        sent = task(message.task_id, message.queue, priority=message.priority, run_at=message.run_at)
        [answer] = self.store.publish([replace(sent, key=message.key, awaited=awaited)])
        assert answer.duplicate_of == expected

    def _after(self, delay: float | None) -> float | None:
        return None if delay is None else self.model.now + delay

    # -- workers

    @rule(queues=queues, limit=st.sampled_from([1, 2, 5]), idle=st.booleans())
    def claim(self, queues: list[str], limit: int, *, idle: bool) -> None:
        expected = self.model.claim(queues, limit, idle=idle)
        suspects = [found.status == "suspect" for found in expected]
        got = claim(self.store, *queues, limit=limit, lease=LEASE, idle=idle)
        assert [_claimed(delivery) for delivery in got] == [
            (found.task_id, found.generation, found.crashes, suspect, found.task_id in self.model.revoked, False)
            for found, suspect in zip(expected, suspects, strict=True)
        ]
        for found, delivery in zip(expected, got, strict=True):
            self.model.hold(found, delivery, LEASE)
        self.deliveries += got

    @rule(queues=queues, crashed=st.integers(0, 2))
    def vanish(self, queues: list[str], crashed: int) -> None:
        """A worker dies with all it holds, some of which it had started."""
        before = len(self.deliveries)
        self.claim(queues, 5, idle=True)
        for delivery in self.deliveries[before:][:crashed]:
            self._start(delivery)
        self.pass_time(3)
        self.reclaim()

    @rule(outcome=outcomes)
    def come_back(self, outcome: Outcome) -> None:
        """A worker slept longer than its lease, and another has what it had."""
        before = len(self.deliveries)
        self.vanish(list(QUEUES), crashed=0)
        self.claim(list(QUEUES), 5, idle=True)
        for delivery in self.deliveries[before:][:1]:
            self._end(delivery, outcome, None)

    @rule(outcome=outcomes, next_one=st.none() | names)
    def work(self, outcome: Outcome, next_one: str | None) -> None:
        """A worker that has time does one task."""
        before = len(self.deliveries)
        self.claim(list(QUEUES), 1, idle=True)
        for delivery in self.deliveries[before:]:
            self._end(delivery, outcome, next_one)

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data(), outcome=outcomes, next_one=st.none() | names)
    def end(self, data: st.DataObject, outcome: Outcome, next_one: str | None) -> None:
        self._end(self._any_delivery(data), outcome, next_one)

    def _end(self, delivery: Delivery, outcome: Outcome, next_one: str | None) -> None:
        found = self.model.holds(delivery)
        mine = found.key if found is not None else None
        if found is not None and mine is not None:
            holder = self.store.take_key(mine, found.task_id)
            assert holder == self.model.take_key(mine, found.task_id)
            if holder.task_id != found.task_id:
                if not holder.done:
                    self._park(found, delivery)
                    return
                outcome, mine = Outcome.COMPLETED, None  # it settles with the holder's result
        follow_ups = [task(next_one, "a", follow_up=True, awaited=True)] if next_one else []
        self._settle(delivery, found, outcome, mine, follow_ups)

    def _park(self, found: Live, delivery: Delivery) -> None:
        assert self.store.park(delivery.lease) is True
        found.status, found.held = "parked", None

    def _settle(
        self,
        delivery: Delivery,
        found: Live | None,
        outcome: Outcome,
        mine: IdempotencyKey | None,
        follow_ups: list[TaskMessage],
    ) -> None:
        [answer] = self.store.settle([settlement(delivery, outcome, key=mine, follow_ups=follow_ups)])
        assert answer.held is (found is not None)
        if found is not None:
            self.settled[found.task_id, found.generation] += 1
            self.model.end(found, outcome)
            for message in follow_ups:
                self.model.publish(_modelled(message), awaited=True, follow_up=True)

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data(), delay=delays)
    def retry(self, data: st.DataObject, delay: float | None) -> None:
        delivery = self._any_delivery(data)
        found = self.model.holds(delivery)
        message = task(delivery.task_id, delivery.queue, priority=delivery.priority, run_at=self._after(delay))
        [answer] = self.store.settle([settlement(delivery, Outcome.RETRY, retry=message)])
        assert answer.held is (found is not None)
        if found is not None:
            self.settled[found.task_id, found.generation] += 1
            self.model.retry(found, message.run_at)

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data(), delay=delays)
    def put_off(self, data: st.DataObject, delay: float | None) -> None:
        delivery = self._any_delivery(data)
        found = self.model.holds(delivery)
        until = self._after(delay)
        outcome = Outcome.REQUEUED if until is None else Outcome.SNOOZED
        [answer] = self.store.settle([settlement(delivery, outcome, snooze_until=until)])
        assert answer.held is (found is not None)
        if found is not None:
            self.model.back(found, until=until)

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        self._start(self._any_delivery(data))

    def _start(self, delivery: Delivery) -> None:
        found = self.model.holds(delivery)
        assert self.store.start(delivery.lease) is (found is not None)
        if found:
            found.started = True

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data(), crashed=st.booleans())
    def release(self, data: st.DataObject, *, crashed: bool) -> None:
        delivery = self._any_delivery(data)
        found = self.model.holds(delivery)
        self.store.release([delivery.lease], crashed=crashed, error="died")
        if found is not None:
            self.model.back(found, crashed=crashed)

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        chosen = {delivery.lease: delivery for delivery in (self._any_delivery(data), self._any_delivery(data))}
        lost = self.store.extend(list(chosen), LEASE)
        held = {lease: self.model.holds(delivery) for lease, delivery in chosen.items()}
        assert set(lost) == {lease for lease, found in held.items() if found is None}
        for found in filter(None, held.values()):
            found.lease_until = self.model.now + LEASE

    @rule()
    def reclaim(self) -> None:
        assert len(self.store.reclaim()) == self.model.reclaim()

    def _any_delivery(self, data: st.DataObject) -> Delivery:
        """Also one whose lease was lost long ago."""
        return data.draw(st.sampled_from(self.deliveries[-12:]))

    # -- operators and time

    @rule(steps=st.integers(1, 4))
    def pass_time(self, steps: int) -> None:
        self.harness.pass_time(steps * STEP)
        self.model.now += steps * STEP

    @rule(chosen=st.lists(names, min_size=1, max_size=2, unique=True))
    def revoke(self, chosen: list[str]) -> None:
        assert self.store.revoke(chosen, keep=1e6) == self.model.revoke(chosen)

    @rule(queue=st.sampled_from(QUEUES))
    def purge(self, queue: str) -> None:
        assert self.store.purge(queue) == self.model.purge(queue)

    @precondition(lambda self: self.model.letters)
    @rule(data=st.data())
    def redrive(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.model.letters) - 1))
        letter = list(self.store.dead_letters(DeadLetterFilter()))[index]
        mine = self.model.letters[index].key
        again = task(letter.task_id, letter.queue, priority=letter.priority, key=mine)
        expected = self.model.redrive(self.model.letters[index])
        try:
            self.store.redrive(letter, again, ME)
        except DeadLetterError:
            assert not expected
        else:
            assert expected

    # -- always

    @invariant()
    def the_ledger_agrees(self) -> None:
        known = self.store.records(TASKS)
        states = {name: known[name].state if name in known else None for name in TASKS}
        assert states == {name: self.model.state(name) for name in TASKS}

    @invariant()
    def the_sizes_agree(self) -> None:
        assert [self.store.size(queue) for queue in QUEUES] == [self.model.waiting(queue) for queue in QUEUES]
        held = sum(size.claimed for size in self.store.sizes())
        assert held == sum(found.status == CLAIMED for found in self.model.live.values())

    @invariant()
    def the_dead_letters_agree(self) -> None:
        kept = [(letter.task_id, letter.generation) for letter in self.store.dead_letters(DeadLetterFilter())]
        assert kept == [(letter.task_id, letter.generation) for letter in self.model.letters]

    @invariant()
    def nothing_is_settled_twice(self) -> None:
        assert set(self.settled.values()) <= {1}

    def _nothing_is_lost(self) -> None:
        """Workers that live long enough end all that was accepted."""
        for _ in range(8 * len(TASKS)):
            if not self.model.live:
                break
            self.pass_time(4)
            self.reclaim()
            self.claim(list(QUEUES), 5, idle=True)
            for found in [found for found in self.model.live.values() if found.status == CLAIMED]:
                assert found.held is not None
                self._end(found.held, Outcome.COMPLETED, None)
        assert self.model.live == {}
        assert self.store.sizes() == []


def _modelled(message: TaskMessage) -> Live:
    assert message.task_id is not None
    return Live(message.task_id, message.queue, message.priority, 0, 0, message.key, message.run_at)


def _claimed(delivery: Delivery) -> tuple[object, ...]:
    return (
        delivery.task_id,
        delivery.generation,
        delivery.crashes,
        delivery.suspect,
        delivery.revoked,
        delivery.settled,
    )


def queue_machine(make_harness: Callable[[], StoreHarness]) -> type[QueueMachine]:
    """The machine for stores that ``make_harness`` opens, each empty."""
    return type("QueueMachine", (QueueMachine,), {"make_harness": staticmethod(make_harness)})
