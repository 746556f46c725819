"""Shared configuration, from the environment."""

from __future__ import annotations

import os
from types import SimpleNamespace

settings = SimpleNamespace(
    CELERY_BROKER_URL=os.environ["PATTERNS_BROKER"],
    CELERY_RESULT_BACKEND=os.environ["PATTERNS_BROKER"],
)
