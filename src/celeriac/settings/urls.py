"""The URLs of celeriac's own stores: which file, schema or keys each means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from celeriac.errors import SettingsError
from celeriac.settings.redis_tls import TLS_OPTIONS, as_the_client_takes_them, unknown

SCHEME = "sqlite"
_POSTGRES = frozenset({"postgresql", "postgres"})
#: A channel is named after it, and PostgreSQL cuts names after 63 bytes.
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,47}")
#: With a hyphen as kombu is given it, which takes what is before a + for the transport.
_REDIS = frozenset({"redis+streams", "rediss+streams", "redis-streams", "rediss-streams"})
#: It stands in the braces of a hash tag.
_PREFIX = re.compile(r"[A-Za-z0-9._:-]{1,64}")
#: What may follow the `?` of a Redis store, with its values, the default first; the safest first where it is the disk's.
REDIS_OPTIONS: dict[str, dict[str, str]] = {
    "prefix": {"celeriac": "every key begins with it, in braces; two apps on one Redis have two"},
    "durability": {
        "always": "a warning where the server has not written what it answers: appendonly no, or appendfsync everysec",
        "everysec": "it is known that a crash of the server loses its last second or two; a warning where it loses more",
        "none": "it is known that a crash of the server may lose anything; no warning",
    },
}
DURABILITIES = tuple(REDIS_OPTIONS["durability"])
(DEFAULT_PREFIX,) = REDIS_OPTIONS["prefix"]
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


_ANOTHER = re.compile(r"([;,])(?=[\w+-]+://)")
_SECRET_OPTION = re.compile(r"((?:pass|secret|token)\w*=)[^&;]*", re.IGNORECASE)
_NO_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")


def shown_url(url: object, mask: str = "**") -> str:
    """A URL, or several in a list or parted by `;` or `,`, for people: no password, also where it is written wrongly."""
    if isinstance(url, (list, tuple)):
        return ";".join(shown_url(one, mask) for one in url)
    return "".join(_masked(one, mask) for one in _ANOTHER.split(str(url)))


def _masked(url: str, mask: str) -> str:
    scheme, mark, rest = url.partition("://")
    user, at, place = rest.rpartition("@")  # a password may have one too, and slashes
    name, colon, _ = user.partition(":")
    masked = f":{mask}" if colon else ""
    return f"{scheme}{mark}{name}{masked}{at}{_SECRET_OPTION.sub(lambda found: found[1] + mask, place)}"


def check_written(url: str, setting: str, *, by_libpq: bool = False) -> None:
    """Refuse a URL in which a part of the password would be taken for a host, a port or a path, and then be shown.

    Raises:
        SettingsError: saying how it is to be written, and not what it is.
    """
    address, _, options = url.partition("://")[2].partition("?")
    user, at, _ = address.rpartition("@")
    misread = by_libpq and ("@" in user or _NO_ESCAPE.search(user))
    if misread or ((at or "@" in options) and not _is_whole(url, user)):
        raise _error(
            setting,
            shown_url(url),
            "its user or password has a character that means something in a URL. Write it as urllib.parse.quote(password, "
            "safe='') does: %2F for /, %40 for @, %23 for #, %3F for ?, %25 for %",
        )


def _is_whole(url: str, user: str) -> bool:
    """Whether ``user`` is all that stands before the host, or there is none and the host is one."""
    try:
        place = urlsplit(url).netloc
    except ValueError:
        return False
    host, _, port = place.partition(":")
    return place.rpartition("@")[0] == user and bool(user or (host and (not port or port.isdigit())))


def is_postgres(url: object) -> bool:
    """Whether the URL names a PostgreSQL database."""
    return isinstance(url, str) and url.partition(":")[0].lower() in _POSTGRES


def postgres_url(url: str, setting: str = SETTING) -> PostgresURL:
    """Parse `postgresql://user:password@host:5432/database?schema=celeriac`.

    Other parameters, such as `sslmode`, are libpq's. Raises `SettingsError`.
    """
    check_written(url, setting, by_libpq=True)
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    schema = options.pop("schema", "celeriac")
    if not _SCHEMA_NAME.fullmatch(schema):
        raise SettingsError(
            setting, f"the schema {schema!r} must be a lower-case letter, then letters, digits or _, 48 at most"
        )
    return PostgresURL(parts._replace(scheme="postgresql", query=urlencode(options)).geturl(), schema)


@dataclass(frozen=True, slots=True)
class RedisURL:
    """A server as its client takes it, and the prefix of celeriac's keys there."""

    server: str = field(repr=False)  # it may hold a password
    shown: str
    prefix: str = DEFAULT_PREFIX
    durability: str = DURABILITIES[0]


def is_redis_store(url: object) -> bool:
    """Whether the URL names a Redis that holds a store; `redis://` is kombu's."""
    return isinstance(url, str) and url.partition(":")[0].lower() in _REDIS


def redis_store_url(url: str, setting: str = SETTING) -> RedisURL:
    """Parse `redis+streams://user:password@host:6379/0?prefix=celeriac&durability=everysec`.

    With `rediss+streams` it is reached over TLS, and the `ssl_…` parameters of `redis_tls.TLS_OPTIONS` are the client's. Raises `SettingsError`.
    """
    check_written(url, setting)
    parts = urlsplit(url)
    shown = _without_password(parts)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    prefix = options.pop("prefix", DEFAULT_PREFIX)
    durability = options.pop("durability", DURABILITIES[0]).lower()
    if not _PREFIX.fullmatch(prefix):
        raise _error(setting, shown, f"the prefix {prefix!r} must be letters, digits, '.', '_', ':' or '-', 64 at most")
    if durability not in DURABILITIES:
        raise _error(setting, shown, f"option durability={durability!r} is none of {', '.join(DURABILITIES)}")
    tls = parts.scheme.lower().startswith("rediss")
    for name in options:
        if not tls or name not in TLS_OPTIONS:
            raise _error(setting, shown, unknown(name, REDIS_OPTIONS, tls=tls))
    try:
        options = as_the_client_takes_them(options)
    except ValueError as error:
        raise _error(setting, shown, str(error)) from error
    _check_server(parts, shown, setting)
    server = parts._replace(scheme=parts.scheme.partition("+")[0].partition("-")[0].lower(), query=urlencode(options))
    shown = f"{shown}?prefix={prefix}" if prefix != DEFAULT_PREFIX else shown
    return RedisURL(server.geturl(), shown, prefix, durability)


def _check_server(parts: SplitResult, shown: str, setting: str) -> None:
    try:
        parts.port  # noqa: B018  # asking is what finds it out
    except ValueError as error:
        raise _error(setting, shown, f"its port is no port: {error}") from error
    if not parts.hostname:
        raise _error(setting, shown, "it names no host; write redis+streams://localhost:6379/0")
    number = parts.path.strip("/")
    if number and not number.isdigit():
        raise _error(setting, shown, f"the database {number!r} is no number; a prefix is given as ?prefix={number}")


def _without_password(parts: SplitResult) -> str:
    scheme = parts.scheme.lower().replace("-", "+")
    user = f"{parts.username}@" if parts.username else ""
    host = parts.netloc.rpartition("@")[2]
    return f"{scheme}://{user}{host}/{parts.path.strip('/') or '0'}"


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
