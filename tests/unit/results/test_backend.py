"""Celery's result interface: which store it reads, and what it costs to have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery
from celeriac.store.registry import open_store
from celeriac.testing import Kit


def test_a_run_does_not_look_for_its_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """To find it by its URL takes longer than a small task."""
    app = Celery("shop", broker="sqlite:///shop.db")

    @app.task(shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    looked: list[str] = []

    def counting(url: str) -> Any:
        looked.append(url)
        return open_store(url)

    with Kit(app) as kit:
        monkeypatch.setattr("celeriac.results.backend.open_store", counting)
        sent = [add.delay(1, number) for number in range(20)]
        kit.drain()
        assert [one.get() for one in sent] == [1 + number for number in range(20)]
    assert len(looked) <= 1


def test_a_file_that_was_replaced_is_opened_anew(tmp_path: Path) -> None:
    """A web process lives on when its database was deleted; what it reads then is of the new one."""
    path = tmp_path / "shop.db"
    url = f"sqlite:///{path}"
    backend = Celery("shop", broker=url).backend
    backend.store_result("first", 1, "SUCCESS")
    old = backend.store
    assert backend.get_state("first") == "SUCCESS"
    for file in tmp_path.glob("shop.db*"):
        file.unlink()
    backend._cache.clear()
    assert backend.get_state("first") == "PENDING"
    assert backend.store is not old
    old.close()
    backend.store.close()
