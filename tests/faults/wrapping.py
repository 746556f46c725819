"""Injections inside a process, round the calls of the store's protocols, and what the matrix wants to know of claims."""

from __future__ import annotations

import functools
import mmap
import os
import random
import signal
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import signals

from celeriac.core.message import Delivery
from celeriac.errors import StoreUnavailable
from tests.faults.journal import CLAIMED, INJECTED, note, now
from tests.faults.plan import Plan, Wrap
from tests.faults.tasks import in_body

#: Seconds between two deaths in one cell, so that they do not all come at once.
APART = 0.25
#: Seconds after which a process dies that is to die during a call.
DURING = 0.002
#: Holds by how many seconds the wall clock is wrong, as a double.
CLOCK = "clock"
#: Points that are no calls of the store's: the body is about to begin, and it has begun.
BEFORE_BODY, IN_BODY = "before-body", "in-body"
#: By what a worker comes to hold messages.
CLAIMS = ("claim", "adopt")
_IMPORTED_IN = os.getpid()


def install(plan: Plan, store: Any, where: str) -> None:
    """Wrap the calls of this process's stores, and of those that it will fork."""
    kind = type(store)
    if where == "worker":
        for name in CLAIMS:
            if hasattr(kind, name):
                _wrap(kind, name, functools.partial(_noting, plan.folder))
    for wrap in plan.wraps:
        if (wrap.where == "client") == (where == "client"):
            _install_one(plan, wrap, kind)
    if Path(plan.folder, CLOCK).exists():
        _step_with(Path(plan.folder, CLOCK))


def _install_one(plan: Plan, wrap: Wrap, kind: type) -> None:
    trouble = _Trouble(plan.folder, wrap)
    if wrap.method == BEFORE_BODY:
        signals.task_prerun.connect(lambda task_id, **_: trouble.die([task_id]), weak=False)
        return
    if wrap.method == IN_BODY:
        in_body.append(lambda task_id: trouble.die([task_id]))
        return
    _wrap(kind, wrap.method, functools.partial(_HOW[wrap.how], trouble))


def _wrap(kind: type, name: str, around: Callable[..., Any]) -> None:
    method = getattr(kind, name)

    @functools.wraps(method)
    def call(store: Any, *args: Any, **kwargs: Any) -> Any:
        return around(lambda: method(store, *args, **kwargs), store, *args)

    setattr(kind, name, call)


def _noting(folder: str, call: Callable[[], Any], _store: Any, *_args: Any) -> Any:
    found = call()
    ids = [delivery.task_id for delivery in found if isinstance(delivery, Delivery)]
    if ids:
        note(folder, CLAIMED, t=now(), pid=os.getpid(), ids=ids)
    return found


class _Trouble:
    """Says whether this call is one of those that end badly."""

    def __init__(self, folder: str, wrap: Wrap) -> None:
        self._folder, self._wrap = folder, wrap

    def due(self, subjects: list[str]) -> bool:
        """Whether it is this one's turn; no task is hit twice, since three crashes would rightly bury it."""
        if self._wrap.where == "child" and os.getpid() == _IMPORTED_IN:
            return False
        if random.random() * self._wrap.one_in >= 1 or not self._rested():
            return False
        fresh = [_first(self._folder, f"hit-{subject}") for subject in subjects]  # each is marked
        return all(fresh) and self._may_still()

    def _rested(self) -> bool:
        mark = Path(self._folder, "last-death")
        return not (mark.exists() and time.time() - mark.stat().st_mtime < APART)

    def _may_still(self) -> bool:
        name = f"{self._wrap.method}-{self._wrap.how}"
        if any(_first(self._folder, f"{name}-{number}") for number in range(self._wrap.most)):
            if self._wrap.how.startswith("die"):
                Path(self._folder, "last-death").touch()
            return True
        return False

    def note(self, since: float | None = None) -> None:
        moment = now()
        what = f"{self._wrap.method} {self._wrap.how}"
        note(self._folder, INJECTED, what=what, start=moment if since is None else since, end=moment, pid=os.getpid())

    def die(self, subjects: list[str]) -> None:
        if self.due(subjects):
            self.note()
            self.kill()

    def kill_soon(self) -> None:
        began = now()
        time.sleep(random.uniform(0, DURING))
        self.note(began)
        self.kill()

    def kill(self) -> None:
        """A pool's process alone; or the whole worker, as when its machine dies."""
        if self._wrap.where == "child":
            os.kill(os.getpid(), signal.SIGKILL)
        os.killpg(os.getpgrp(), signal.SIGKILL)


def _answer_lost(trouble: _Trouble, call: Callable[[], Any], store: Any, *_args: Any) -> Any:
    answer = call()
    # An empty claim, and a renewal of nothing, are not worth losing.
    if (answer or _args) and trouble.due([]):
        trouble.note()
        raise StoreUnavailable(store.location, "no answer came in time")
    return answer


def _die_before(trouble: _Trouble, call: Callable[[], Any], _store: Any, *args: Any) -> Any:
    trouble.die(_subjects(args))
    return call()


def _die_during(trouble: _Trouble, call: Callable[[], Any], _store: Any, *args: Any) -> Any:
    if trouble.due(_subjects(args)):
        threading.Thread(target=trouble.kill_soon, daemon=True).start()
    return call()


def _die_after(trouble: _Trouble, call: Callable[[], Any], _store: Any, *args: Any) -> Any:
    answer = call()
    if answer:  # an empty claim is none
        trouble.die(_subjects(args) or [item.task_id for item in answer if isinstance(item, Delivery) and item.task_id])
    return answer


_HOW: dict[str, Callable[..., Any]] = {
    "answer-lost": _answer_lost,
    "die-before": _die_before,
    "die-during": _die_during,
    "die-after": _die_after,
}


def _subjects(args: tuple[Any, ...]) -> list[str]:
    """The tasks whose ends are written."""
    written = args[0] if args else []
    return [item.task_id for item in written if hasattr(item, "task_id") and item.task_id]


def _first(folder: str, name: str) -> bool:
    try:
        os.close(os.open(Path(folder, name), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _step_with(path: Path) -> None:
    """From now on this process's wall clock is off by what the file says."""
    with path.open("rb") as file:
        offset = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
    right = time.time
    time.time = lambda: right() + struct.unpack("d", offset[:8])[0]
