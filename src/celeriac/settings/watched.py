"""Celery's settings, and a word when one changes: defaults of ours follow from others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.app.utils import Settings

from celeriac.errors import SettingsError
from celeriac.settings.urls import shown_url

#: Settings of celeriac's own that Celery would show as they are.
_URLS = {
    name for own in ("celeriac_ledger", "celeriac_outboxes", "celeriac_local_outbox") for name in (own, own.upper())
}


class WatchedSettings(Settings):  # type: ignore[misc]  # Celery has no types
    """What `app.conf` is. It can be changed at any time, also after it was read."""

    @classmethod
    def watch(cls, conf: Settings, changed: Callable[[], None]) -> None:
        """Have ``changed`` called after every change of these settings."""
        # Celery makes the object, others hold it already, and assigning to it assigns a setting.
        object.__setattr__(conf, "__class__", cls)
        conf.__dict__["_changed"] = changed

    @staticmethod
    def _changed() -> None:
        """A copy tells nobody."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._changed()

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._changed()

    def update(self, *args: Any, **kwargs: Any) -> None:
        super().update(*args, **kwargs)
        self._changed()

    def pop(self, key: str, *default: Any) -> Any:
        value = super().pop(key, *default)
        self._changed()
        return value

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """As Celery's, for people; the passwords in celeriac's own URLs are left out as those of its are."""
        found: dict[str, Any] = super().table(with_defaults, censored)
        for name in _URLS & found.keys() if censored else ():
            value = found[name]
            found[name] = (
                list(map(shown_url, value)) if isinstance(value, (list, tuple)) else value and shown_url(value)
            )
        return found

    def clear(self) -> None:
        super().clear()
        self._changed()


class RefusedSettings(WatchedSettings):
    """Settings that cannot be meant. Whoever reads one is told why, and not only the first who does."""

    @classmethod
    def refuse(cls, conf: Settings, error: SettingsError) -> None:
        """Raise ``error`` at every look at these settings, until a change mends them."""
        conf.__dict__["_refusal"] = error
        object.__setattr__(conf, "__class__", cls)

    def __getitem__(self, key: str) -> Any:
        raise self.__dict__["_refusal"].with_traceback(None)
