"""Where random canvases run in the test's own process."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.canvases.driving import Driver
from tests.integration.canvases.judging import Sent
from tests.integration.canvases.plan import Canvas
from tests.integration.tasks import make_app


class Place:
    """An app on a store, and who does a worker's work for it; both anew after a failure, which leaves messages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open()

    def open(self) -> None:
        self.app = make_app(f"sqlite:///{self.folder}/{uuid.uuid4().hex}.db")
        self.app.set_current()
        self.driver = Driver(self.app)

    def close(self) -> None:
        self.driver.close()
        self.app.close()
        self.app.store.close()

    @contextmanager
    def sent(self, canvas: Canvas) -> Iterator[Sent]:
        try:
            yield Sent(self.app, canvas, str(self.folder / uuid.uuid4().hex))
        except BaseException:
            self.close()
            self.open()
            raise
