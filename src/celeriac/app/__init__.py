"""The app: Celery's own, with celeriac's rooms put in their places."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from kombu.utils.imports import symbol_by_name

from celeriac.app import seams
from celeriac.app.placed import Placed
from celeriac.core.circuit import Circuit
from celeriac.desk.deadletters import DeadLetters
from celeriac.desk.failures import Failures
from celeriac.desk.limits import Limits
from celeriac.desk.pauses import Pauses
from celeriac.desk.waiting import Waiting
from celeriac.errors import OptionError
from celeriac.execution.circuits import Circuits, Guard
from celeriac.execution.task import awaited, mixed
from celeriac.publish.amqp import Outgoing
from celeriac.publish.batch import Batch
from celeriac.publish.pipeline import Publishing
from celeriac.settings import Policy, check_option_names
from celeriac.settings.names import known_options
from celeriac.transport.unavailable import publishing
from celeriac.workflow import Workflows

__all__ = ["Celery"]

seams.take_places()


class Celery(Placed):
    """A Celery app that loses nothing and repeats nothing.

    Args:
        main: as Celery's.
        defaults: ``safe`` sets what production needs; ``celery`` observes and
            warns, for the first day of an existing project.
        ledger: the URL of a store that keeps keys, results, history and dead
            letters beside a broker that does not, such as Redis or RabbitMQ.
        retries: what a task's ``retries=`` may be, for all that declare none.
        **options: as Celery's; every keyword keeps its meaning.

    Raises:
        SettingsError: when the configuration is first read and cannot be meant.
    """

    amqp_cls = "celeriac.publish.amqp:AMQP"
    control_cls = "celeriac.worker.control:Control"

    def __init__(
        self,
        main: str | None = None,
        *,
        defaults: Policy = "safe",
        ledger: str | None = None,
        retries: Any = None,
        **options: Any,
    ) -> None:
        self._publishing = Publishing(self, super().send_task)
        self.circuits = Circuits(self)
        super().__init__(main, defaults=defaults, ledger=ledger, retries=retries, **options)
        self.steps["worker"].update(seams.WORKER_STEPS)
        self.steps["consumer"].update(seams.CONSUMER_STEPS)

    # -- tasks

    def finalize(self, auto: bool = False) -> None:
        """As Celery's; settings that are refused leave the app as it was, with its tasks still to be bound."""
        if not self.finalized:
            _ = self.conf.broker_url
        super().finalize(auto=auto)

    def create_task_cls(self) -> Any:
        # Whatever class it is: Django's fix-up puts its own here.
        base = mixed(symbol_by_name(self.task_cls))
        return self.subclass_with_self(base, name="Task", attribute="_app", keep_reduce=True, abstract=True)

    def _task_from_fun(self, fun: Any, name: str | None = None, base: Any = None, **options: Any) -> Any:
        chosen = mixed(base) if base else self.Task
        full_name = name or self.gen_task_name(fun.__name__, fun.__module__)
        check_option_names(full_name, options, known_options(chosen), self.defaults)
        if options.get("pydantic") and inspect.iscoroutinefunction(fun):
            fun = awaited(fun)  # what Celery wraps it in to read and write models calls it like any other
        new = full_name not in self._tasks
        try:
            return super()._task_from_fun(fun, name=name, base=chosen, **options)
        except OptionError:
            # Celery has entered it before it binds it, and would take it for bound at the next call.
            if new:
                self._tasks.pop(full_name, None)
            raise

    def register_task(self, task: Any, **options: Any) -> Any:
        instance = task() if isinstance(task, type) else task
        instance.__class__ = mixed(type(instance))
        return super().register_task(instance, **options)

    # -- Celery's programs and results

    @cached_property
    def Worker(self) -> Any:  # noqa: N802  # Celery's name for its worker class
        """The worker program's class."""
        return self.subclass_with_self("celeriac.worker.worker:Worker")

    @cached_property
    def AsyncResult(self) -> Any:  # noqa: N802  # Celery's name for what `delay()` returns
        """The class of results."""
        return self.subclass_with_self("celeriac.results.result:AsyncResult")

    @cached_property
    def Beat(self) -> Any:  # noqa: N802  # Celery's name for its class
        """The class of the program that sends what is due."""
        return self.subclass_with_self("celeriac.worker.beat:Beat")

    # -- what people look at, and do

    @property
    def workflows(self) -> Workflows:
        """The canvases that were sent: looked at, waited for, resumed, cancelled."""
        return Workflows(self)

    @property
    def dead_letters(self) -> DeadLetters:
        """The tasks that gave up: looked at, redriven, acknowledged."""
        return DeadLetters(self)

    @property
    def failures(self) -> Failures:
        """The failures of which nobody has heard."""
        return Failures(self)

    @property
    def limits(self) -> Limits:
        """What runs and waits under the limits of tasks, over all workers."""
        return Limits(self)

    @property
    def pauses(self) -> Pauses:
        """What is paused, for all workers."""
        return Pauses(self)

    @property
    def waiting(self) -> Waiting:
        """What waits, to be found and revoked by what it is."""
        return Waiting(self)

    # -- publishing

    def send_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """As Celery's.

        Raises:
            OptionError: one that only a declaration may give.
            UnsendableArgument: an argument cannot, or should not, travel; with the remedy.
            IdempotencyConflict: the key is held with other arguments.
            BrokerUnavailable: the store cannot be written now, or another broker has not confirmed the publish. Where an
                answer was lost, the task may have been sent.
            StoreError: it cannot be written at all.
        """
        return self._publishing.send(name, args, kwargs, options)

    def send_tasks(self, signatures: Iterable[Any]) -> Sequence[Any]:
        """Send any number of tasks, as ``apply_async()`` of each would, a few hundred in one round trip.

        On a store of celeriac's a few hundred are sent together, or none of them. A generator is read as its tasks are
        sent, and of each only the id is kept.

        Args:
            signatures: of tasks, chains, groups or chords.

        Returns:
            Their results in the same order, each made when it is asked for.

        Raises:
            PartlySent: some were sent before the error that is its cause.
            UnsendableArgument, IdempotencyConflict, BrokerUnavailable: as of ``send_task``, and none was sent.
        """
        return self._publishing.many.send(signatures)

    def new_batch(self) -> Batch:
        """Collects what is published to the store."""
        return self._publishing.many.new_batch()

    def batch_of_group(self) -> Batch | None:
        """The same for the members of a group; None where they join another, or go one by one."""
        return self._publishing.many.batch_of_group()

    @contextmanager
    def transaction(self, connection: object) -> Iterator[None]:
        """Send what is published in the block if, and only if, the transaction on ``connection`` commits.

        The block neither begins nor commits it. In the database of the broker, or of the ledger beside it, the messages are
        written there; in another one into the table ``celeriac_outbox``, from which a worker sends them after the commit
        (``celeriac_outboxes``).

        Args:
            connection: of sqlite3 or psycopg (3 or 2), a SQLAlchemy session or connection, or the alias of a Django database.

        Raises:
            TransactionError: no transaction is open on it, or it leads to a database without that table.
        """
        with self._publishing.within(connection):
            yield

    def circuit(self, circuit: Circuit | str) -> Guard:
        """``with app.circuit("gateway"):`` makes the calls in the block calls of the circuit.

        How the block ends is counted, as how a task ends that declares the circuit. In ``async def`` it is ``async with``.

        Args:
            circuit: one that a task declares, by its name, or the ``Circuit`` itself.

        Raises:
            CircuitOpen: it is open; nothing of the block has run.
            CircuitError: nobody declares such a circuit, or somebody another one of this name.
        """
        return self.circuits.guard(circuit)

    def producer_or_acquire(self, producer: Any = None) -> Any:
        """As Celery's, for groups and events."""
        if isinstance(producer, Outgoing):
            return producer
        if producer is None and self.has_store and self.local_outbox is None:
            with publishing():
                _ = self.store  # opened here, where what it says can be told as a broker's error
        return super().producer_or_acquire(producer)
