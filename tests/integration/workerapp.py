"""What the workers of these tests run: the store, settings and a fault come from the environment."""

from __future__ import annotations

import functools
import json
import os

from tests.integration import effects, longs, policies  # noqa: F401  # their tasks
from tests.integration.canvases import tasks  # noqa: F401  # the same
from tests.integration.tasks import make_app

app = make_app(os.environ["SITE_BROKER"], **json.loads(os.environ.get("SITE_SETTINGS", "{}")))
if "SITE_BREAK_AT" in os.environ:
    # Hundreds of workers start without: all that is broken takes a third of a second to import.
    from tests.integration import breaking, breaking_pools

    point = os.environ["SITE_BREAK_AT"]
    install = breaking_pools.POINTS.get(point) or functools.partial(breaking.install, point)
    install(os.environ["SITE_BROKEN"])
