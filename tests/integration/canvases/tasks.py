"""What the nodes of random canvases run: each notes that it ran, as whom, with what, and returns what only it can."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from celery import signature

from celeriac.core.current import current
from tests.integration.canvases.plan import value_of
from tests.integration.tasks import note, task

#: Seconds that each step takes, so that a death finds some at work.
PAUSE = "CELERIAC_CANVAS_PAUSE"


def healed(journal: str) -> Path:
    """Once it is there, what fails does not any more."""
    return Path(f"{journal}.healed")


def noted(journal: str, node: str, inputs: Any = (), stamp: Any = None) -> None:
    attempt = current()
    assert attempt is not None
    line = {"node": node, "id": attempt.task_id, "generation": attempt.delivery.generation, "at": time.time()}
    note(journal, json.dumps(line | {"inputs": inputs, "stamp": stamp}))


@task(bind=True)
def canvas_step(
    self: Any,
    *inputs: Any,
    node: str,
    journal: str,
    how: str = "plain",
    by: dict[str, Any] | None = None,
    in_any_order: bool = False,
) -> Any:
    stamps = {name: self.request.stamps.get(name) for name in self.request.stamped_headers or ()}
    noted(journal, node, inputs, stamps)
    time.sleep(float(os.environ.get(PAUSE, "0")))
    if how == "fail" and not healed(journal).exists():
        raise ValueError(node)
    if how == "retry" and not self.request.retries:
        raise self.retry(countdown=0)
    if how == "replace":
        return self.replace(signature(by, app=self.app))
    if how == "grow":
        self.add_to_chord(signature(by, app=self.app))
    return value_of(node, inputs, in_any_order=in_any_order)


@task()
def canvas_item(item: dict[str, str]) -> str:
    noted(item["journal"], item["node"])
    return value_of(item["node"], [])


@task()
def canvas_items(node: str, journal: str) -> str:
    noted(journal, node)
    return value_of(node, [])


@task()
def canvas_error(task_id: str, *, node: str, journal: str) -> None:
    noted(journal, node, [task_id])
