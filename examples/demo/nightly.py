"""Sends the shop's nightly report now, and prints its figures as JSON: run where the shop's modules are found."""

from __future__ import annotations

import json

from app.core.celery import celery_app
from app.tasks.reports import nightly_report
from celery.result import AsyncResult

#: Seconds for each of the two steps.
PATIENCE = 60

if __name__ == "__main__":
    chord = nightly_report.delay().get(timeout=PATIENCE)
    print(json.dumps(AsyncResult(chord, app=celery_app).get(timeout=PATIENCE) if chord else None))
