"""Puts an app on a store of the test's own, and everything back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from celery.worker import state
from kombu import pools

from celeriac.core.attempt import Attempt, Settled
from celeriac.execution.opening import refusing, room_with
from celeriac.execution.settler import Settler
from celeriac.results import chords
from celeriac.store.registry import standing_in
from celeriac.testing.clock import Clock
from celeriac.testing.problems import KitError
from celeriac.testing.store import KitStore
from celeriac.transport.leases import LeaseKeeper, keeping

#: What Celery reads before any setting.
_OUTRANKING = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "CELERY_RESULT_BACKEND")
#: What leads to a broker or a ledger, or is about the one that is configured.
_LEADING = ("broker_url", "broker_read_url", "broker_write_url", "result_backend")
_OFF = {"celeriac_ledger": None, "celeriac_local_outbox": None, "broker_use_ssl": None, "task_always_eager": False}

#: What a worker writes into its tasks: their tracer, and what acknowledging means.
_TAKEN_OVER = ("_celeriac_trace", "acks_late", "at_most_once")


class StillKeeper(LeaseKeeper):
    """Leases that nobody renews: while a task runs, the clock stands, or goes as the test says."""

    def _begin(self) -> None:
        """No thread."""


class TellingSettler(Settler):
    """Settles at once, with no thread behind it, and tells of each attempt that it has."""

    def __init__(self, *args: Any, told: Callable[[Attempt], None]) -> None:
        super().__init__(*args)
        self._told = told

    def _rouse(self) -> None:
        """Nobody has to be woken: whoever drives flushes."""

    def _conclude(self, attempt: Attempt, answer: Settled) -> None:
        super()._conclude(attempt, answer)
        self._told(attempt)


@contextmanager
def embedded(
    app: Any, clock: Clock, *, told: Callable[[Attempt], None], on_wait: Callable[[int], int]
) -> Iterator[KitStore]:
    """The app on a new store while the block runs.

    Args:
        app: of celeriac's.
        clock: the store's.
        told: called with every attempt that was settled.
        on_wait: see `KitStore`.

    Raises:
        KitError: the app is no celeriac app, or under a kit already.
    """
    _check(app)
    app.loader.import_default_modules()  # as a worker, which knows the tasks of all of them
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="celeriac-kit-"))
        path = Path(folder) / "kit.db"
        store = KitStore(path, clock, on_wait)
        stack.callback(store.close)
        keeper = StillKeeper(store)
        stack.enter_context(standing_in(f"sqlite:///{path}", store))
        stack.enter_context(keeping(keeper))
        stack.enter_context(_tasks_as_they_are(app))
        stack.enter_context(_nothing_is_revoked())
        stack.enter_context(_settings(app, f"sqlite:///{path}"))
        stack.callback(_drop_pools, app)
        stack.callback(app.circuits.forget)
        app.circuits.forget()
        settler = TellingSettler(
            store, lambda group_id: chords.dispatch(app.backend, group_id), refusing(app), told=told
        )
        stack.callback(app.__dict__.pop, "now", None)
        app.__dict__.update(
            store=store,
            keeper=keeper,
            execution_room=room_with(app, settler),
            now=lambda: clock.moment().astimezone(app.timezone),
        )
        yield store


def _check(app: Any) -> None:
    if not hasattr(app, "circuits") or not hasattr(app, "has_ledger"):
        raise KitError(f"{app!r} is no app of celeriac's; make it with `from celeriac import Celery`")
    if "now" in app.__dict__:
        raise KitError(
            f"app {app.main!r} is under a kit already, such as that of a fixture of a wider scope; one at a time"
        )


@contextmanager
def _tasks_as_they_are(app: Any) -> Iterator[None]:
    """A worker writes into the tasks that it takes over."""
    before = {
        name: {key: task.__dict__[key] for key in _TAKEN_OVER if key in task.__dict__}
        for name, task in app.tasks.items()
    }
    try:
        yield
    finally:
        for name, task in app.tasks.items():
            for key in _TAKEN_OVER:
                task.__dict__.pop(key, None)
            task.__dict__.update(before.get(name, {}))


@contextmanager
def _nothing_is_revoked() -> Iterator[None]:
    """Celery's worker remembers, for the whole process, the ids that were revoked or have expired; another test may use one again."""
    before = set(state.revoked)
    try:
        yield
    finally:
        for task_id in set(state.revoked) - before:
            state.revoked.discard(task_id)


@contextmanager
def _settings(app: Any, url: str) -> Iterator[None]:
    conf, changes = app.conf, app.conf.maps[0]
    wanted = {**dict.fromkeys(_LEADING, url), **_OFF}
    # A setting may be there under an older name, or with its namespace.
    names = {name for setting in wanted for name in conf._to_keys(setting) if name in changes} | wanted.keys()  # noqa: SLF001
    before = {name: changes[name] for name in names if name in changes}
    environment = {name: os.environ.pop(name) for name in _OUTRANKING if name in os.environ}
    backend_cls, app.backend_cls = app.backend_cls, None
    try:
        values = {name: value for setting, value in wanted.items() for name in conf._to_keys(setting) if name in names}  # noqa: SLF001
        conf.update(values)
        yield
    finally:
        app.backend_cls = backend_cls
        os.environ.update(environment)
        # At once: in between, they may be settings that nobody can mean.
        for name in names:
            changes.pop(name, None)
        conf.update(before)


def _drop_pools(app: Any) -> None:
    """kombu keeps pools of connections by their URLs, which nobody will use again."""
    connection = app.connection_for_write()
    for known in (pools.producers, pools.connections):
        with suppress(KeyError):
            del known[connection]
    if app._pool is not None:  # noqa: SLF001  # asking for it would make one
        app._pool.force_close_all()  # noqa: SLF001
