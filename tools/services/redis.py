"""Redis, without persistence."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit


class Redis:
    name = "redis"
    variable = "CELERIAC_REDIS_URL"
    program = "redis-server"
    package = "redis-server"
    port = 6379
    ends_with = "SIGTERM"

    def path(self, path: str | None) -> str | None:
        return path

    def command(self, program: str, port: int, folder: Path) -> list[str]:
        listen = ["--bind", "127.0.0.1", "--port", str(port)]
        return [program, *listen, "--dir", str(folder), "--save", "", "--appendonly", "no"]

    def url(self, host: str, port: int) -> str:
        return f"redis://{host}:{port}/0"

    def answers(self, url: str) -> bool:
        with contextlib.suppress(OSError):
            return _ping(urlsplit(url))
        return False


def _ping(url: SplitResult) -> bool:
    address = (url.hostname or "127.0.0.1", url.port or 6379)
    with socket.create_connection(address, timeout=2) as connection, connection.makefile("rb") as answers:
        if url.password:
            words = [unquote(word) for word in (url.username, url.password) if word]
            connection.sendall(" ".join(["AUTH", *words]).encode() + b"\r\n")
            answers.readline()
        connection.sendall(b"PING\r\n")
        return answers.readline().startswith(b"+PONG")


REDIS = Redis()
