"""Turns a commit in the store into a readable file descriptor."""

from __future__ import annotations

import os
from contextlib import suppress

from celeriac.errors import StoreError
from celeriac.store.native import NativeEvent, native, start_thread
from celeriac.store.protocols import Store


class Watcher:
    """Watches the store on a thread, but only while its loop has nothing to do."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._armed = NativeEvent()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._mark = 0
        self._timeout = self._pause = 0.0
        self._closed = False
        start_thread(self._watch)

    def fileno(self) -> int:
        """Readable after a commit, or when the time-out has passed."""
        return self._read

    def arm(self, mark: int, timeout: float, pause: float = 0.0) -> None:
        """Wake the loop at the first commit after ``mark`` and ``pause`` seconds, or after ``timeout`` seconds."""
        self._mark, self._timeout, self._pause = mark, timeout, pause
        self._armed.set()

    def ring(self) -> None:
        """Wake the loop now."""
        with suppress(BlockingIOError):
            os.write(self._write, b"!")

    def acknowledge(self) -> None:
        """Take the wake-up."""
        with suppress(BlockingIOError):
            os.read(self._read, 512)

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._armed.set()

    def _watch(self) -> None:
        sleep = native("time", "sleep")
        while True:
            self._armed.wait()
            if self._closed:
                os.close(self._read)
                os.close(self._write)
                return
            self._armed.clear()
            with suppress(StoreError):  # the poll that follows reports it
                if self._pause:
                    sleep(self._pause)
                self._store.wait(self._timeout, self._mark)
            self.ring()
