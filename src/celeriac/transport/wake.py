"""Turns a commit in the store into a readable file descriptor."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from celeriac.errors import StoreError
from celeriac.store.native import NativeEvent, native, start_thread
from celeriac.store.protocols import ANY_NEWS, News, Telling

#: Looks in vain, each within so many seconds of the one before, until the next is put off; and by how many seconds.
IN_VAIN, CLOSE, PUT_OFF = 20, 0.05, 0.006


class Restraint:
    """Spares a worker without work the looks at a file in which others are busy: each of their commits would wake it."""

    def __init__(self) -> None:
        self._in_vain = 0
        self._looked_at = 0.0

    def pause(self, *, found: bool) -> float:
        """Seconds to let pass before commits are waited for again, after a look that found something or nothing."""
        now = time.monotonic()
        again = not found and now - self._looked_at < CLOSE
        self._in_vain = self._in_vain + 1 if again else 0
        self._looked_at = now
        return PUT_OFF if self._in_vain >= IN_VAIN else 0.0


class Watcher:
    """Watches the store on a thread, but only while its loop has nothing to do."""

    def __init__(self, store: Telling, news: News = ANY_NEWS) -> None:
        self._store = store
        self._news = news
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
                self._store.wait(max(0.0, self._timeout - self._pause), self._mark, self._news)
            self.ring()
