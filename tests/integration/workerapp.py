"""What the workers of these tests run: the store, settings and a fault come from the environment."""

from __future__ import annotations

import json
import os

from tests.integration import breaking
from tests.integration.tasks import make_app

app = make_app(os.environ["SITE_BROKER"], **json.loads(os.environ.get("SITE_SETTINGS", "{}")))
if "SITE_BREAK_AT" in os.environ:
    breaking.install(os.environ["SITE_BREAK_AT"], os.environ["SITE_BROKEN"])
