"""The task class: options checked where a task is declared, its body wrapped once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import timedelta
from types import CoroutineType
from typing import Any

from billiard.process import current_process
from celery import Task as CeleryTask
from celery._state import get_current_task
from celery.exceptions import Ignore, Reject, Retry

from celeriac.core.attempt import Attempt, Outcome
from celeriac.core.circuit import Circuit
from celeriac.core.current import attempting, body_of, current, goes_on, going_on
from celeriac.core.idempotency import KeyTemplate, time_to_live
from celeriac.core.limits import Limits
from celeriac.errors import TaskExited
from celeriac.execution import coroutines
from celeriac.execution.circuits import Guard, guarding
from celeriac.execution.deadlines import body_over
from celeriac.execution.declaring import check_declaration
from celeriac.execution.effects import Effect, effect_once
from celeriac.execution.iterating import CheckpointMixin, ended
from celeriac.execution.pipeline import traced
from celeriac.execution.replacing import with_one_end
from celeriac.execution.retry_method import RetryMixin
from celeriac.execution.retrying import beside_no_ledger, retry_or_give_up, run_beside_no_ledger
from celeriac.execution.snoozing import Snooze, put_off_unmanaged
from celeriac.execution.unmanaged import in_place_of_its_message
from celeriac.execution.workflows import name_callbacks


class TaskMixin(CheckpointMixin, RetryMixin):
    """What celeriac adds to any Celery task class."""

    #: False leaves the task to Celery: no ledger, no dead letter, no retry of ours.
    durable: bool = True
    #: A template over the arguments (``"charge:{order_id}"``) or a function of them.
    idempotency_key: str | Callable[..., str] | None = None
    #: Seconds (or a timedelta) a key stays taken after its task succeeded; the app's default when None.
    idempotency_ttl: float | timedelta | None = None
    #: `Concurrency`, `Rate` and `FairShare`, over all workers: one of them, or a list.
    limits: Any = None
    #: The `Circuit` of what the body calls, or a list: while one is open, the task is put off.
    circuits: Any = None
    #: None: as the app says for all; where it says nothing, what was certainly not done is tried again. False: nothing
    #: is. A number or a ``Retries``: as it says. A mapping of exceptions to these, or pairs: the first that matches.
    retries: Any = None

    #: The app's time limits are the worker's business (`execution.limits`): beside
    #: one that a task declares, Celery would refuse to send or forget to enforce.
    from_config = tuple(pair for pair in CeleryTask.from_config if not pair[0].endswith("time_limit"))

    #: Celery's own.
    acks_late: bool
    #: ``not acks_late`` as the task declares it; None where no worker has taken it over.
    at_most_once: bool | None = None

    Request = "celeriac.execution.request:Request"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        run = cls.__dict__.get("run")
        if run is not None:
            cls.run = _wrapped(run)  # type: ignore[attr-defined]  # Celery's class has it

    #: Names of the call's positional parameters, for error messages.
    parameter_names: tuple[str, ...] = ()
    #: What a call may be given; None before the task is bound to its app.
    call_signature: inspect.Signature | None = None
    #: The compiled key, where the task declares one.
    key_template: KeyTemplate | None = None
    #: The compiled limits, where the task declares some.
    declared_limits: Limits | None = None
    #: Its circuits, checked.
    declared_circuits: tuple[Circuit, ...] = ()

    @classmethod
    def bind(cls, app: Any) -> Any:
        """As Celery's; what cannot work in the declaration is said here, not at the first call."""
        bound = super().bind(app)  # type: ignore[misc]  # Celery's class has it
        name = str(cls.name)
        check_declaration(cls, app)
        cls.call_signature = _signature(cls)
        cls.parameter_names = tuple(cls.call_signature.parameters)
        cls.idempotency_ttl = time_to_live(name, cls.idempotency_ttl)
        if cls.idempotency_key is not None:
            cls.key_template = KeyTemplate(name, cls._plain_key(), cls.call_signature)
        if cls.limits is not None:
            cls.declared_limits = Limits(name, cls.limits, cls.call_signature)
        if cls.circuits is not None:
            cls.declared_circuits = app.circuits.declare(name, cls.circuits)
        return bound

    @classmethod
    def _plain_key(cls) -> str | Callable[..., Any]:
        # A function given as a class attribute must not become a method.
        key: str | Callable[..., Any] = inspect.getattr_static(cls, "idempotency_key")
        return key.__func__ if isinstance(key, staticmethod) else key

    def start_strategy(self, app: Any, consumer: Any, **kwargs: Any) -> Any:
        """Called where a worker begins to take this task's messages.

        A message of ours leaves its queue with the settlement, so to Celery's
        worker every task acknowledges late. What ``acks_late=False`` asks for, that
        a run which died is not repeated, the pipeline sees to.
        """
        if app.has_ledger and self.durable and self.at_most_once is None:
            self.at_most_once = not self.acks_late
            self.acks_late = True
        return super().start_strategy(app, consumer, **kwargs)  # type: ignore[misc]  # Celery's class has it

    def runs_again_after_a_crash(self) -> bool:
        """Whether a run that took its process down is repeated, by the options ``acks_late`` and Celery's default."""
        return bool(self.acks_late) if self.at_most_once is None else not self.at_most_once

    @property
    def __trace__(self) -> Any:
        """Celery assigns its tracer here, in the worker and again in each child; ours goes round it."""
        return self.__dict__.get("_celeriac_trace")

    @__trace__.setter
    def __trace__(self, tracer: Any) -> None:
        self.__dict__["_celeriac_trace"] = None if tracer is None else traced(self, tracer)

    def replace(self, sig: Any) -> Any:
        """As Celery's, but the replacement is sent with the settlement, one generation higher."""
        sig = with_one_end(self.app, sig)  # type: ignore[attr-defined]  # Celery's class has it
        attempt = self._own_attempt()
        if attempt is None:
            with in_place_of_its_message(self, Outcome.REPLACED):
                return super().replace(sig)  # type: ignore[misc]
        attempt.buffering = attempt.replaced = True
        with attempting(attempt):
            return super().replace(sig)  # type: ignore[misc]

    def add_to_chord(self, sig: Any, lazy: bool = False) -> Any:
        """As Celery's; what joins is a part of the workflow too."""
        attempt = self._own_attempt()
        if attempt is None:
            with going_on(self.request):
                return super().add_to_chord(sig, lazy)  # type: ignore[misc]
        attempt.adding = True
        try:
            with attempting(attempt):
                return super().add_to_chord(sig, lazy)  # type: ignore[misc]
        finally:
            attempt.adding = False

    def effect_once(self, step: str, connection: object) -> AbstractContextManager[Effect]:
        """``with self.effect_once("charge", connection) as first:`` records the step in the transaction that does it.

        ``first`` is true for the run that is to do it, and false, with the ``value`` that one has saved, where it was
        done before: by this task under its idempotency key, or, where it declares none, under its id, in whichever
        attempt. Two runs at once wait for each other. Nothing is committed here, and the record is as durable as the
        effect.

        Args:
            step: names the effect within the task.
            connection: of sqlite3 or psycopg (3 or 2), a SQLAlchemy session or connection, or the alias of a Django
                database, with an open transaction; ``celery -A app effects sql`` prints the table that it must have.

        Raises:
            TransactionError: it commits by itself, has no such table, or this is no run of the task.
        """
        return effect_once(self, step, connection)

    def circuit(self, circuit: Circuit | str) -> Guard:
        """``with self.circuit("gateway"):`` in a body, as ``app.circuit``: while it is open, the task is put off."""
        guard: Guard = self.app.circuit(circuit)  # type: ignore[attr-defined]  # Celery's class has it
        return guard

    def _get_request(self) -> Any:
        """As Celery's, also in a coroutine, which does not run on the thread that has the request."""
        running = coroutines.running()
        if running is not None and running.task is self and self.request_stack.top is None:
            return running.request
        return super()._get_request()  # type: ignore[misc]  # Celery's class has it

    request = property(_get_request)


def _signature(cls: type[Any]) -> inspect.Signature:
    """The call's signature: of a bound task or a method without ``self``."""
    run = inspect.getattr_static(cls, "run")
    signature = inspect.signature(cls.run)
    if isinstance(run, staticmethod):
        return signature
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def mixed(base: type[Any]) -> type[Any]:
    """``base`` with what celeriac adds; Django's task class, or anybody's own."""
    if issubclass(base, TaskMixin):
        return base
    body = {"abstract": True, "__module__": base.__module__}
    if base.run is not CeleryTask.run:
        body["run"] = inspect.getattr_static(base, "run")
    return type(base.__name__, (TaskMixin, base), body)


def _wrapped(run: Any) -> Any:
    """The body inside our decision, for functions and methods alike."""
    if isinstance(run, staticmethod):
        return staticmethod(_wrap(run.__func__))
    return _wrap(run) if inspect.isfunction(run) else run


def _wrap(body: Callable[..., Any]) -> Callable[..., Any]:
    if hasattr(body, "__celeriac_body__"):
        return body
    call = awaited(body) if inspect.iscoroutinefunction(body) else body

    @functools.wraps(body)
    def run(*args: Any, **kwargs: Any) -> Any:
        attempt = current()
        # Entered: this is a task called as a function inside another's body.
        if attempt is None or attempt.entered:
            return _run_beside(run, body, call, args, kwargs)
        attempt.entered = True
        if attempt.copies:
            _settling(attempt)
            return attempt.copied
        try:
            return _run_to_its_return(attempt, call, args, kwargs)
        except (Ignore, Retry, Reject) as error:
            attempt.put_off = isinstance(error, Snooze)
            raise
        except Exception as error:
            body_over(attempt)
            attempt.raised = error
            attempt.gave_up = retry_or_give_up(attempt.task, attempt, error)
            raise
        except (SystemExit, KeyboardInterrupt) as error:
            if not _of_the_body(error):
                raise
            attempt.raised = TaskExited(attempt.name, repr(error))
            raise attempt.raised from error
        finally:
            body_over(attempt)
            _settling(attempt)

    run.__celeriac_body__ = True  # type: ignore[attr-defined]
    return run


def _settling(attempt: Attempt) -> None:
    """What Celery publishes from now on belongs to the settlement."""
    attempt.buffering = True
    if attempt.workflow is not None:
        name_callbacks(attempt.task.request)


def _run_beside(run: Any, body: Callable[..., Any], call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """What no attempt is made of: a call as a function, an eager one, a task without a ledger."""
    traced_task = _traced()
    if call is not body and traced_task is None:
        return body(*args, **kwargs)
    within = functools.partial(call, *args, **kwargs)
    if traced_task is not None and current() is None:
        within = functools.partial(_run_unmanaged, traced_task, within)
    task = beside_no_ledger(run)
    return within() if task is None else run_beside_no_ledger(task, within)


def _run_unmanaged(task: Any, call: Callable[[], Any]) -> Any:
    # A body that calls the one of its base class is over when it is over itself.
    within, task.request.celeriac_within = getattr(task.request, "celeriac_within", False), True
    try:
        guard = guarding(task) if task.declared_circuits and not task.request.is_eager else nullcontext()
        with guard, body_of(task.request.id):
            returned = call()
    except Snooze as error:
        put_off_unmanaged(task, error)
        raise
    if not within:
        goes_on(task.request)
        name_callbacks(task.request)
    return returned


def _run_to_its_return(attempt: Attempt, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    if attempt.task.declared_circuits:
        with guarding(attempt.task):
            return _returned(attempt, call, args, kwargs)
    return _returned(attempt, call, args, kwargs)


def _returned(attempt: Attempt, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    try:
        returned = call(*args, **kwargs)
        # Of an async body inside somebody's plain wrapper.
        if type(returned) is CoroutineType:
            returned = _run_to_its_end(returned)
    except Exception as error:
        if attempt.tracker is not None:
            body_over(attempt)
            ended(attempt, error)
        raise
    body_over(attempt)
    if attempt.tracker is not None:
        ended(attempt, None)
    return returned


def _of_the_body(error: BaseException) -> bool:
    """Whether the task itself wanted to leave, in a process that is not its own.

    A pool's process may leave, and its parent sees to the task. Elsewhere the
    worker would end, or a thread's slot be lost for good. What Celery's signal
    handlers raise in the solo pool are classes of their own.
    """
    return type(error) in (SystemExit, KeyboardInterrupt) and current_process().name == "MainProcess"


def awaited(body: Callable[..., Any]) -> Callable[..., Any]:
    """An ``async def`` body as a function that returns its result; the same one each time."""
    known: Any = getattr(body, "__celeriac_awaited__", None)
    if known is not None and known.__wrapped__ is body:  # a decorator's wrapper has taken over what its body was given
        return known  # type: ignore[no-any-return]

    @functools.wraps(body)
    def call(*args: Any, **kwargs: Any) -> Any:
        return _run_to_its_end(body(*args, **kwargs))

    with suppress(AttributeError):  # a bound method keeps nothing
        body.__celeriac_awaited__ = call  # type: ignore[attr-defined]
    return call


def _run_to_its_end(coroutine: Any) -> Any:
    task = get_current_task()
    request = task.request if task is not None else None
    return coroutines.run(coroutine, coroutines.Running(task, request, current()))


def _traced() -> Any:
    """The task that Celery's tracer is calling (eagerly, or for a task not ours); None for a person, who can await."""
    task = get_current_task()
    return None if task is None or task.request.called_directly else task
