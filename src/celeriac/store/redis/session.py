"""One connection to Redis, which gives a silent server up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from redis import exceptions

from celeriac.store.redis.packing import Argument

#: Seconds that an answer may take.
PATIENCE = 10.0


try:
    # The driver, which packs with it too, looks at each word before.
    from hiredis import pack_command
except ImportError:
    _pack: Callable[[Any], bytes] | None = None  # then the driver packs, in Python
else:
    _pack = pack_command


class Session:
    """A connection of the driver's: questions out, answers in."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.open = True

    def ask(self, *words: Argument, patience: float = PATIENCE) -> Any:
        """Send one command and wait for its answer.

        Raises:
            redis.exceptions.ResponseError: the answer is an error; the connection can be used on.
            redis.exceptions.TimeoutError: none came within ``patience`` seconds.
        """
        self.send(*words)
        return self.hear(patience)

    def hear(self, patience: float) -> Any:
        """Wait for the next answer, and raise as ``ask`` does."""
        if not self._raw.can_read(timeout=patience):
            self.close()
            raise exceptions.TimeoutError(f"the server has not answered for {patience:g} seconds")
        return self.answer()

    def answers(self) -> bool:
        """Whether an answer has begun to come."""
        return bool(self._raw.can_read(timeout=0))

    def send(self, *words: Argument) -> None:
        """Send one command, whose answer is still to be read."""
        packed = [_pack(words)] if _pack else self._raw.pack_command(*words)
        self._raw.send_packed_command(packed, check_health=False)

    def answer(self) -> Any:
        """The answer that has begun to come."""
        return self._raw.read_response(disable_decoding=True)

    def fileno(self) -> int:
        """What to wait on for the answer."""
        return int(self._raw._sock.fileno())  # noqa: SLF001  # the driver has no other way to wait for two things at once

    def still_there(self) -> bool:
        """Whether the server has not hung up while nobody used it, as at its restart; asked without a round trip."""
        with suppress(exceptions.RedisError, OSError):
            return not self._raw.can_read(timeout=0)  # nothing was asked, so nothing but the end can come
        return False

    def close(self) -> None:
        """Hang up."""
        self.open = False
        self._raw.disconnect()

    def leave_to_the_parent(self) -> None:
        """Close the child's end without a word to the server: the driver sees that another process connected."""
        self.open = False
        self._raw.disconnect()
