"""Sends a report of the shop's, or goes on waiting for one, and prints what has become of it as JSON.

Run where the shop's modules are found: ``python -m demo.nightly send DAY``, or ``wait TASK``, its last task's id.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from app.core.celery import celery_app
from app.core.config import settings
from app.tasks.reports import nightly_report
from celery.result import AsyncResult

#: Seconds for its sending, and for what becomes of it.
PATIENCE = 60


def become_of(last: str) -> dict[str, Any]:
    """Its workflow and state when nothing more happens by itself, and the report, if there is one."""
    found: dict[str, Any] = {"last": last, "workflow": None, "state": "succeeded", "report": None}
    if not settings.SHOP_STOCK:
        status = celery_app.workflows.wait(last, PATIENCE)
        found |= {"workflow": status.id, "state": status.state.value}
    if found["state"] == "succeeded":
        found["report"] = AsyncResult(last, app=celery_app).get(timeout=PATIENCE)
    return found


if __name__ == "__main__":
    command, given = sys.argv[1:]
    task = given if command == "wait" else nightly_report.delay(given).get(timeout=PATIENCE)
    print(json.dumps(become_of(task) if task else None))
