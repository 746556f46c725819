"""A Redis database of its own for the comparison with stock Celery."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from examples.demo import EXAMPLES

#: Redis has these unless it was told otherwise.
DATABASES = range(15, 0, -1)


def redis_url() -> str:
    """Where Redis is: from the environment, or what `make services` started."""
    if url := os.environ.get("CELERIAC_REDIS_URL"):
        return url
    noted = EXAMPLES.parent / ".services" / "env"
    for line in noted.read_text(encoding="utf-8").splitlines() if noted.exists() else ():
        name, _, value = line.partition("=")
        if name == "CELERIAC_REDIS_URL":
            return value
    raise SystemExit("STOCK=1 needs Redis: run `make services`, or set CELERIAC_REDIS_URL")


@contextmanager
def own_database(url: str) -> Iterator[str]:
    """The URL of a database that was empty, and is emptied again at the end; others' are not touched.

    Raises SystemExit when there is none, or no Redis.
    """
    # Here, so that the demo of celeriac needs no Redis client.
    from redis import Redis  # noqa: PLC0415
    from redis.exceptions import RedisError  # noqa: PLC0415

    for number in DATABASES:
        mine = urlsplit(url)._replace(path=f"/{number}").geturl()
        with Redis.from_url(mine) as client:
            try:
                if client.dbsize():
                    continue
            except RedisError as error:
                raise SystemExit(
                    f"STOCK=1: no Redis at {urlsplit(url).hostname}, database {number}: {error}"
                ) from error
            try:
                yield mine
            finally:
                client.flushdb()
            return
    raise SystemExit("STOCK=1 needs an empty Redis database, and databases 1 to 15 are all in use")
