"""Settings from the environment, for the web process and the workers alike."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def _env(name: str, default: str) -> Any:
    return field(default_factory=lambda: os.environ.get(name, default))


@dataclass(frozen=True)
class Settings:
    """One field a variable; the defaults run everything in the current folder."""

    CELERY_BROKER_URL: str = _env("CELERY_BROKER_URL", "sqlite:///tasks.db")
    CELERY_RESULT_BACKEND: str = _env("CELERY_RESULT_BACKEND", "")
    SHOP_DATABASE: str = _env("SHOP_DATABASE", "shop.db")
    SHOP_GATEWAY_URL: str = _env("SHOP_GATEWAY_URL", "http://127.0.0.1:8001")
    SHOP_SMTP_HOST: str = _env("SHOP_SMTP_HOST", "127.0.0.1")
    SHOP_SMTP_PORT: str = _env("SHOP_SMTP_PORT", "8025")
    #: Any value runs the same shop on stock Celery, for comparison.
    SHOP_STOCK: str = _env("SHOP_STOCK", "")
    #: In front of every queue's name, for a broker that others use too.
    SHOP_QUEUE_PREFIX: str = _env("SHOP_QUEUE_PREFIX", "")

    @property
    def database(self) -> Path:
        """The shop's own database, which is not the broker's."""
        return Path(self.SHOP_DATABASE)


settings = Settings()
