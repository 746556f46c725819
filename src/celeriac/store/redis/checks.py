"""What is asked of a server when the store is opened: that it can hold one, and what it loses when it dies."""

from __future__ import annotations

import logging
from contextlib import suppress

from celeriac.errors import ServerUnavailable, StoreError
from celeriac.store.redis.database import Database

logger = logging.getLogger(__name__)

#: Ranges of a stream that leave their end out are of 6.2.
OLDEST = (6, 2)
#: What a crash of the server loses, by how it writes, the safest first.
LOSSES = {
    "always": "nothing that was accepted",
    "everysec": "what was accepted and settled in the last second or two: such tasks are gone, or run again",
    "none": "all that it has not written by itself, or everything: tasks are gone, or run again",
}


def check(database: Database, durability: str) -> None:
    """Refuse a server that cannot keep what it accepts, and warn of one that keeps less than ``durability`` says.

    Raises:
        StoreError: it is too old, or drops keys when its memory is full.
        ServerUnavailable: it is a replica.
    """
    facts = _facts(database)
    _check_version(database, facts.get("redis_version", "0"))
    if facts.get("role") == "slave":
        raise ServerUnavailable(
            database.location, "it is a replica: name the primary, or wait for the end of a failover"
        )
    _check_eviction(database, facts)
    _check_durability(database, facts, durability)


def _facts(database: Database) -> dict[str, str]:
    said: bytes = database.command(b"INFO", patience=database.timeout)
    lines = said.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and line[0] != "#")


def _check_version(database: Database, version: str) -> None:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST:
        raise StoreError(database.location, f"Redis {version} answers; 6.2 or newer is needed")


def _check_eviction(database: Database, facts: dict[str, str]) -> None:
    # Policies of the kind volatile-… drop only keys that have a time to live, and the store's have none.
    policy = facts.get("maxmemory_policy", "noeviction")
    if facts.get("maxmemory", "0") != "0" and policy.startswith("allkeys"):
        raise StoreError(
            database.location,
            f"maxmemory-policy is {policy}: when its memory is full it would drop messages and results without a word. "
            "Set maxmemory-policy noeviction, or give the store a Redis of its own",
        )


def _check_durability(database: Database, facts: dict[str, str], wanted: str) -> None:
    found = _durability(database, facts)
    names = list(LOSSES)
    if found is None:
        if wanted != "none":
            logger.warning(
                "store %s: the server does not say how it writes (CONFIG is forbidden). With appendfsync everysec, its "
                "crash loses %s. Say ?durability=none in the URL if you know, to be told no more",
                database.location,
                LOSSES["everysec"],
            )
    elif names.index(found) > names.index(wanted):
        said = "appendonly is no" if found == "none" and facts.get("aof_enabled") != "1" else f"appendfsync is {found}"
        logger.warning(
            "store %s: %s. A crash of the server, or of its machine, loses %s. Set appendonly yes and appendfsync "
            "always; or say ?durability=%s in the URL, if that may be",
            database.location,
            said.replace("is none", "is no"),
            LOSSES[found],
            found,
        )


def _durability(database: Database, facts: dict[str, str]) -> str | None:
    if facts.get("aof_enabled") != "1":
        return "none"
    with suppress(StoreError):
        answer = database.command(b"CONFIG", b"GET", b"appendfsync", patience=database.timeout)
        if len(answer) == 2:  # noqa: PLR2004  # a name and its value
            found: str = answer[1].decode()
            return "none" if found == "no" else found
    return None
