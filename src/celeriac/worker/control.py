"""Remote control whose revokes are kept."""

from __future__ import annotations

from typing import Any

from celery.app.control import Control as CeleryControl
from kombu.utils.functional import maybe_list


class Control(CeleryControl):  # type: ignore[misc]  # Celery has no types
    """Celery's control; a revoke holds also when no worker hears it."""

    def broadcast(self, command: str, arguments: dict[str, Any] | None = None, **options: Any) -> Any:
        if self.app.has_store and command in ("revoke", "terminate") and arguments:
            ids = maybe_list(arguments.get("task_id") or arguments.get("ids")) or []
            self.app.store.revoke(ids, self.app.own_settings.revoke_expires)
        return super().broadcast(command, arguments=arguments, **options)
