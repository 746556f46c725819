"""The program that sends what is due: on a store of ours it waits for it, and ends with it, as workers do."""

from __future__ import annotations

import logging
from typing import Any

from celery.apps.beat import Beat as CeleryBeat
from celery.beat import Service as CeleryService

from celeriac.errors import StoreReplaced, StoreUnavailable
from celeriac.worker.starting import await_store, told_in_one_line

logger = logging.getLogger(__name__)


class Service(CeleryService):  # type: ignore[misc]  # Celery has no types
    """Celery's loop, which would go on for ever beside a file that is no longer there."""

    def get_scheduler(self, *args: Any, **kwargs: Any) -> Any:
        scheduler = super().get_scheduler(*args, **kwargs)
        tick = scheduler.tick

        def checked(*args: Any, **kwargs: Any) -> Any:
            self._check_store()
            return tick(*args, **kwargs)

        scheduler.tick = checked
        return scheduler

    def _check_store(self) -> None:
        """Celery logs what sending raises, and goes on; what never passes must end the program.

        Raises:
            StoreReplaced: the file was deleted, moved or replaced.
        """
        if not self.app.has_ledger:
            return
        try:
            self.app.store.next_due()
        except StoreReplaced:
            raise
        except StoreUnavailable as error:
            logger.warning("nothing can be sent now: %s", error)


class Beat(CeleryBeat):  # type: ignore[misc]  # Celery has no types
    """Celery's beat."""

    Service = Service

    def init_loader(self) -> None:
        super().init_loader()
        self.app.check_routes()

    def run(self) -> None:
        """As Celery's.

        Raises:
            StoreError: the store cannot be used, or was replaced; on a command line that is one line.
            UndeclaredQueue: what is to be sent leads to a queue that is not declared.
        """
        with told_in_one_line():
            if self.app.has_ledger:
                self.setup_logging()
                await_store(self.app)
            super().run()
