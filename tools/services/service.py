"""What has to be known of a server to find, start and ask it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

#: Seconds a server that was started has until it answers: RabbitMQ takes three on an idle machine.
PATIENCE = 60.0


class Unavailable(Exception):
    """This way leads to no server; the text says why."""


class Service(Protocol):
    """One kind of server."""

    name: str
    #: The environment variable that names a running one by URL.
    variable: str
    program: str
    #: Debian's package of it.
    package: str
    #: Its port inside a container of the compose file, where it is called `name`.
    port: int
    #: The signal at which it ends without waiting for anybody.
    ends_with: str

    def path(self, path: str | None) -> str | None:
        """Where to look for the program; `path` is what PATH says."""

    def command(self, program: str, port: int, folder: Path) -> list[str]:
        """How to start it in the foreground, on loopback, with all its data in `folder`."""

    def url(self, host: str, port: int) -> str: ...

    def answers(self, url: str) -> bool:
        """Whether a server of this kind is at `url` and ready, told within seconds."""


@dataclass(frozen=True)
class Running:
    """A server that answers, and how to end it if it is ours."""

    url: str
    source: str
    pid: int | None = None
    #: When the process began, as the system counts it: a pid alone may have gone to another process since.
    began: str | None = None
    compose: bool = False
    ends_with: str = "SIGTERM"

    @property
    def ours(self) -> bool:
        return self.compose or self.pid is not None

    def save(self, folder: Path) -> None:
        _record(folder).write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, folder: Path) -> Running | None:
        try:
            return cls(**json.loads(_record(folder).read_text()))
        except FileNotFoundError:
            return None


def shown(url: str) -> str:
    """The URL for a terminal, its password masked."""
    password = urlsplit(url).password
    return url.replace(f":{password}@", ":***@") if password else url


def forget(folder: Path) -> None:
    _record(folder).unlink(missing_ok=True)


def _record(folder: Path) -> Path:
    return folder / "running.json"


def answers_in_time(service: Service, url: str, hopeless: Callable[[], bool] = lambda: False) -> bool:
    """Wait until the server answers, at most `PATIENCE` seconds and not once it is `hopeless`."""
    end = time.monotonic() + PATIENCE
    while not service.answers(url):
        if hopeless() or time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
