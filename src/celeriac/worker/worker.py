"""The worker program, in the loop that suits its pool."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
from typing import Any

from celery.apps.worker import Worker as CeleryWorker
from celery.concurrency import get_implementation
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.platforms import EX_FAILURE
from celery.utils.text import str_to_list
from kombu.utils.compat import detect_environment

from celeriac.publish.limits import declared_rules
from celeriac.publish.routes import check_selected
from celeriac.worker.deadlines import watch_limits
from celeriac.worker.grace import Grace
from celeriac.worker.prefork import TaskPool
from celeriac.worker.starting import await_store, tell_of_the_ledger, tell_of_the_queues, told_in_one_line
from celeriac.worker.timers import Timer


class Worker(CeleryWorker):  # type: ignore[misc]  # Celery has no types
    """Celery's worker; on a store of ours only prefork takes its event loop.

    Prefork needs it for its pipes. Every other pool runs in this process, where
    the plain loop costs a task about an eighth less.
    """

    pool_cls: Any
    timer_cls: Any
    grace: Grace

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with told_in_one_line():
            super().__init__(*args, **kwargs)

    def on_before_init(self, **kwargs: Any) -> None:
        self.app.check_settings()  # also what was assigned since they were read
        super().on_before_init(**kwargs)

    def setup_queues(self, include: Any, exclude: Any = None) -> None:
        """As Celery's.

        Raises:
            UndeclaredQueue: one of them is not declared where queues are; naming the nearest.
        """
        check_selected(self.app, str_to_list(include) or ())
        super().setup_queues(include, exclude)

    def on_init_blueprint(self) -> None:
        super().on_init_blueprint()
        self.app.check_routes()
        if self.app.has_ledger:
            await_store(self.app)
            self.app.store.rules = declared_rules(self.app)
            _ = self.app.execution_room  # before any process is forked: they share what it knows of pauses
        if self.app.has_ledger:
            watch_limits(self.app, self.pool_cls)
        tell_of_the_ledger(self.app)
        tell_of_the_queues(self.app)
        if not self.timer_cls and self.pool_cls.Timer is Timer.__base__:
            self.timer_cls = Timer
        # Ours shares memory with processes that are forked; one that is spawned has none of it.
        if self.app.has_ledger and self.pool_cls is PreforkPool and self.pool_start_method == "fork":
            self.pool_cls = TaskPool

    def on_after_init(self, **kwargs: Any) -> None:
        super().on_after_init(**kwargs)
        # Processes that fork from here share these pages only as long as no
        # collection writes to them.
        gc.collect()
        gc.freeze()

    def should_use_eventloop(self) -> bool:
        if not self.app.has_store:
            return bool(super().should_use_eventloop())
        # Celery asks the transport, and so would open the store before there is a log to say that it cannot.
        prefork = issubclass(get_implementation(self.pool_cls), PreforkPool)
        return prefork and detect_environment() == "default" and not self.app.IS_WINDOWS

    def _shutdown(self, warm: bool = True) -> None:
        super()._shutdown(warm)
        # Not a boot step: those end in no order that says "after the pool".
        if self.app.has_ledger:
            self._wind_up()
            self.grace.over()
        if getattr(self.consumer, "abandoned", False):
            _leave(self.exitcode or EX_FAILURE)

    def _wind_up(self) -> None:
        """Nothing runs any more: settle what has ended, and hand back the rest at once."""
        self.app.execution_room.settler.finish()
        self.app.circuits.finish()
        keeper = self.app.keeper
        keeper.stop()
        if keeper.held:
            keeper.give_up(list(keeper.held))


def _leave(exitcode: int) -> None:
    """End the process with what still runs in it: Python itself would wait for every thread."""
    logging.shutdown()
    atexit._run_exitfuncs()  # noqa: SLF001  # nothing public runs them, and one removes the pid file
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exitcode)
