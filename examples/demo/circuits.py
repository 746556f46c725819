"""Prints what is known of the shop's circuits as JSON: run where the shop's modules are found."""

from __future__ import annotations

import json

from app.core.celery import celery_app

if __name__ == "__main__":
    celery_app.loader.import_default_modules()
    known = celery_app.circuits.list()
    print(json.dumps([{"name": one.name, "state": one.state, "put_off": one.kept_back} for one in known]))
