"""The URL of a SQLite file: which file it means, wherever the process was started."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from celeriac.errors import SettingsError

SCHEME = "sqlite"
_POSTGRES = frozenset({"postgresql", "postgres"})
#: A channel is named after it, and PostgreSQL cuts names after 63 bytes.
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,47}")
SETTING = "broker_url"

#: What may follow the `?`, with its values, the default first.
OPTIONS: dict[str, dict[str, str]] = {
    "synchronous": {
        "normal": "a commit survives the death of every process",
        "full": "a commit survives a power failure too, for one wait on the disk each",
    }
}


@dataclass(frozen=True, slots=True)
class SQLiteURL:
    """An absolute path, without symbolic links, and the options that were given."""

    path: Path
    options: dict[str, str] = field(default_factory=dict)

    def option(self, name: str) -> str:
        """The option's value, or its default."""
        return self.options.get(name) or next(iter(OPTIONS[name]))

    def __str__(self) -> str:
        query = f"?{urlencode(self.options)}" if self.options else ""
        return f"{SCHEME}:///{quote(str(self.path))}{query}"


@dataclass(frozen=True, slots=True)
class PostgresURL:
    """What libpq takes, and the schema that holds celeriac's tables."""

    conninfo: str = field(repr=False)  # it may hold a password
    schema: str = "celeriac"


def is_postgres(url: object) -> bool:
    """Whether the URL names a PostgreSQL database."""
    return isinstance(url, str) and url.partition(":")[0].lower() in _POSTGRES


def postgres_url(url: str, setting: str = SETTING) -> PostgresURL:
    """Parse `postgresql://user:password@host:5432/database?schema=celeriac`.

    Other parameters, such as `sslmode`, are libpq's. Raises `SettingsError`.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    schema = options.pop("schema", "celeriac")
    if not _SCHEMA_NAME.fullmatch(schema):
        raise SettingsError(
            setting, f"the schema {schema!r} must be a lower-case letter, then letters, digits or _, 48 at most"
        )
    return PostgresURL(parts._replace(scheme="postgresql", query=urlencode(options)).geturl(), schema)


def is_sqlite(url: object) -> bool:
    """Whether the URL is one of ours to parse; `sqla+sqlite://` is kombu's."""
    return isinstance(url, str) and url.partition(":")[0].lower() == SCHEME


def sqlite_url(url: str, cwd: str | Path | None = None, setting: str = SETTING) -> SQLiteURL:
    """Parse `sqlite:///relative.db`, `sqlite:////absolute.db`, either with `?synchronous=full`.

    A relative path starts at `cwd`, by default the process's. Percent signs escape, as in any URL. Raises
    `SettingsError`.
    """
    parts = urlsplit(url)
    if parts.fragment:
        raise _error(setting, url, "a '#' in the file name is written %23")
    return SQLiteURL(_path(url, parts.netloc, unquote(parts.path), cwd, setting), _options(url, parts.query, setting))


def sqlite_url_path(url: str, cwd: str | Path | None = None) -> Path:
    """The absolute path of the file."""
    return sqlite_url(url, cwd).path


def absolute_url(url: str, cwd: str | Path | None = None) -> str:
    """The URL to print: it means the same file from every folder. Other URLs are returned as they are."""
    return str(sqlite_url(url, cwd)) if is_sqlite(url) else url


def _path(url: str, host: str, raw: str, cwd: str | Path | None, setting: str) -> Path:
    if host:
        raise _error(setting, url, f"three slashes come before a relative path: {SCHEME}:///{host}{raw}")
    name = raw[1:]
    if not name.strip("/"):
        raise _error(setting, url, f"it names no file; write {SCHEME}:///shop.db, or {SCHEME}:////var/lib/shop.db")
    if name == ":memory:" or name.startswith("file:"):
        raise _error(setting, url, "several processes share the store, so it must be a file")
    path = _resolved(name, cwd, setting, url)
    if name.endswith("/") or path.is_dir():
        raise _error(
            setting,
            url,
            f"{path} is a folder; name a file in it, such as {SCHEME}:///{quote(name.rstrip('/'))}/shop.db",
        )
    return path


def _resolved(name: str, cwd: str | Path | None, setting: str, url: str) -> Path:
    try:
        return Path(cwd or Path.cwd(), name).resolve()
    except FileNotFoundError as error:
        raise _error(setting, url, "the folder this process was started in is gone; write an absolute path") from error
    except (ValueError, RuntimeError, OSError) as error:
        raise _error(setting, url, f"its path means no file: {error}") from error


def _options(url: str, query: str, setting: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS:
            raise _error(setting, url, f"unknown option {name!r}{_nearest(name, OPTIONS)}")
        if name in options:
            raise _error(setting, url, f"option {name!r} is given twice")
        if value.lower() not in OPTIONS[name]:
            raise _error(setting, url, f"option {name}={value!r} is none of {', '.join(OPTIONS[name])}")
        options[name] = value.lower()
    return options


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = get_close_matches(name, names, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; there is: {', '.join(names)}"


def _error(setting: str, url: str, problem: str) -> SettingsError:
    return SettingsError(setting, f"{url!r}: {problem}")
