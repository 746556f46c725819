"""``self.retry()``, and what Celery's own version of it leaves behind."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

from celery.exceptions import Reject, Retry

from celeriac.core.attempt import Attempt, Outcome
from celeriac.core.current import attempting, current
from celeriac.execution import coroutines
from celeriac.execution.retrying import arguments, clocks_apart, refused
from celeriac.execution.snoozing import Snooze
from celeriac.execution.unmanaged import in_place_of_its_message


class RetryMixin:
    """The part of a task class that tries again when the body says so."""

    #: Celery's own.
    request: Any

    def retry(self, *args: Any, **kwargs: Any) -> Any:
        """As Celery's, but the retry is written with the settlement instead of being sent from here.

        Where the task declares ``retries=``, what the call leaves open is as that says: when, how often, and to which queue.
        ``raise self.retry(exc=error)`` of what puts the task off, such as an open circuit, puts it off.
        """
        reason = kwargs.get("exc")
        if isinstance(reason, Snooze):
            raise reason
        attempt = self._own_attempt()
        given = arguments(self, attempt, args, kwargs)
        if attempt is None:
            with in_place_of_its_message(self, Outcome.RETRY):
                return super().retry(**given)  # type: ignore[misc]
        attempt.retrying = True
        try:
            with attempting(attempt):  # in a coroutine it is not yet
                return super().retry(**given)  # type: ignore[misc]
        except Retry:
            attempt.told = True
            raise
        except Reject:
            raise
        except Exception:
            refused(self, attempt, given)
            raise
        finally:
            attempt.retrying = False

    @property
    def override_max_retries(self) -> int:
        """Celery keeps the limit of one ``retry(max_retries=…)`` here; on the task itself it would hold for other runs too.

        Raises:
            AttributeError: the run that is under way has none.
        """
        try:
            return self.request.__dict__["override_max_retries"]  # type: ignore[no-any-return]
        except KeyError:
            raise AttributeError("override_max_retries") from None

    @override_max_retries.setter
    def override_max_retries(self, limit: int) -> None:
        self.request.override_max_retries = limit

    @override_max_retries.deleter
    def override_max_retries(self) -> None:
        self.request.__dict__.pop("override_max_retries", None)

    def signature_from_request(self, *args: Any, **kwargs: Any) -> Any:
        """As Celery's; a priority that is asked for is not undone by the one that the message came with.

        A countdown is counted by the store's clock, also where this host's is wrong.
        """
        countdown = kwargs.get("countdown") or 0.0
        apart = clocks_apart(self, self._own_attempt()) if countdown and kwargs.get("eta") is None else 0.0
        if apart:
            until = datetime.fromtimestamp(time.time() + countdown + apart, timezone.utc)
            kwargs |= {"eta": until, "countdown": None}
        signature = super().signature_from_request(*args, **kwargs)  # type: ignore[misc]  # Celery's class has it
        if kwargs.get("priority") is not None:
            signature.options["priority"] = kwargs["priority"]
        return signature

    def _own_attempt(self) -> Attempt | None:
        attempt, request = current(), self.request
        if attempt is None and (running := coroutines.running()) is not None:
            attempt = running.attempt
        if attempt is None or request.called_directly or request.id != attempt.task_id:
            return None
        return attempt
