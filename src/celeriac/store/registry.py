"""The process's open stores, one a file."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs

from celeriac.store.sqlite import SQLiteStore

_OPEN: dict[tuple[str, str], SQLiteStore] = {}


def absolute_url(url: str) -> str:
    rest, mark, query = url.partition("?")
    return f"sqlite:///{Path(rest[len('sqlite:///'):]).absolute()}{mark}{query}"


def open_sqlite(url: str) -> SQLiteStore:
    rest, _, query = url.partition("?")
    path = Path(rest[len("sqlite:///"):]).absolute()
    key = (str(path), parse_qs(query).get("synchronous", ["normal"])[0])
    store = _OPEN.get(key)
    if store is None:
        store = _OPEN[key] = SQLiteStore(path, synchronous=key[1])
    return store
