"""The connections of one process to one Redis: a few, lent and given back; none is used across a fork."""

from __future__ import annotations

import os
import re
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from celeriac.errors import ServerUnavailable, StoreError
from celeriac.settings import RedisURL
from celeriac.store.clock import lease_now as machine_clock
from celeriac.store.redis.packing import Argument
from celeriac.store.redis.scripts import Script
from celeriac.store.redis.session import PATIENCE, Session
from celeriac.store.server_clock import ServerClock

#: Connections kept open for the next who needs one; more are made where more threads ask at once.
KEPT = 4
#: Seconds that connecting, or a step of a publish, may take.
CONNECT_TIMEOUT = 3.0
#: What the server refuses now and may do later, by the word its answer begins with, and what can be done about it.
_LATER = {
    "OOM": "its memory is full: raise maxmemory, or drop what is not needed; what waits can still be worked off",
    "READONLY": "it is a replica: name the primary, or wait for the end of a failover",
    "MASTERDOWN": "it is a replica whose primary is away",
    "LOADING": "it is reading its data from disk",
    "BUSY": "a script runs on it and does not end",
    "MISCONF": "it cannot write to its disk",
    "NOREPLICAS": "it has fewer replicas than min-replicas-to-write asks for",
    "CLUSTERDOWN": "its cluster is down",
    "UNBLOCKED": "it became a replica",
}
#: What only a person can put right.
_NEVER = {
    "MOVED": "it is a node of a cluster, and the key belongs to another: name a server that is no part of one",
    "CROSSSLOT": "it is a cluster: name a server that is no part of one",
    "NOPERM": "the user lacks a right: celeriac needs ~{<prefix>}:* and +@read +@write +@scripting +@connection +info "
    "+time +config|get",
    "NOAUTH": "it asks for a password",
    "WRONGPASS": "the password or the user's name is wrong",
}
_FILES = "a file that the URL names in ssl_ca_certs, ssl_certfile or ssl_keyfile"
#: The same over TLS, by what the client says of it.
_NEVER_OVER_TLS = {
    "CERTIFICATE_VERIFY_FAILED": "nobody who is trusted vouches for it under this name: ssl_ca_certs in the URL names the "
    "file with the certificate that does, and the URL's host must be one of the names in the server's",
    "certificate required": "it asks for a certificate of the client's: ssl_certfile and ssl_keyfile in the URL name one",
    "No such file": f"{_FILES} is not there",
    "Permission denied": f"{_FILES} cannot be read",
    "NO_START_LINE": f"{_FILES} is none of PEM's",
    "NO_CERTIFICATE_OR_CRL_FOUND": "the file that ssl_ca_certs names has no certificate",
    "KEY_VALUES_MISMATCH": "ssl_keyfile in the URL names another certificate's key",
}


class Database:
    """One prefix on one server: how to connect to it, and the process's connections.

    Args:
        url: of the server.
        scripts: the operations, by name.
        timeout: seconds that connecting, and each step of a publish, may take.
    """

    def __init__(self, url: RedisURL, scripts: Mapping[str, Script], *, timeout: float = CONNECT_TIMEOUT) -> None:
        self.url = url
        self.timeout = timeout
        self.location = url.shown
        #: Every key begins with it. What stands in braces is all that a cluster places a key by.
        self.base = f"{{{url.prefix}}}:".encode()
        self._scripts = scripts
        self._pool = redis.ConnectionPool.from_url(url.server, **self._options())
        self._idle: list[Session] = []
        self._lock = threading.Lock()
        self.clock = ServerClock(self._measured)
        with _REGISTRY:
            _ALL.add(self)

    @property
    def _over_tls(self) -> bool:
        return issubclass(self._pool.connection_class, redis.SSLConnection)

    def _options(self) -> dict[str, Any]:
        return {
            "client_name": "celeriac",
            "socket_connect_timeout": self.timeout,
            "socket_timeout": self.timeout,
            "socket_keepalive": True,
            # Who asked is told at once, and decides.
            "retry": Retry(NoBackoff(), 0),
            "retry_on_error": [],
            "health_check_interval": 0,
            "protocol": 2,
        }

    # -- connections

    def connect(self) -> Session:
        """A new connection.

        Raises:
            StoreUnavailable: the server does not answer, or is not ready.
            StoreError: it refuses.
        """
        with self.translated():
            raw = self._pool.connection_class(**self._pool.connection_kwargs)
            try:
                raw.connect()
            except BaseException:
                raw.disconnect()
                raise
            return Session(raw)

    @contextmanager
    def lent(self) -> Iterator[Session]:
        """A connection, closed where it cannot be used on."""
        session = self.take()
        try:
            yield session
        except exceptions.ReadOnlyError:
            # It was the primary once; the address may lead to another one by now.
            session.close()
            raise
        except exceptions.ResponseError:
            raise  # an answer like any other
        except BaseException:
            # Half a question, or an answer that nobody waits for any more.
            session.close()
            raise
        finally:
            self.give_back(session)

    def take(self) -> Session:
        """A connection, until it is given back."""
        while True:
            with self._lock:
                session = self._idle.pop() if self._idle else None
            if session is None:
                return self.connect()
            if session.still_there():
                return session
            session.close()

    def give_back(self, session: Session) -> None:
        """For whoever needs one next."""
        if not session.open:
            # The server went away under it, and so under those that are idle.
            self.close()
            return
        with self._lock:
            if len(self._idle) < KEPT:
                self._idle.append(session)
                return
        session.close()

    # -- asking

    def call(self, name: str, arguments: Iterable[Argument] = (), *, patience: float = PATIENCE) -> Any:
        """Run an operation of the files; it is whole, or was never begun.

        Raises:
            StoreUnavailable: no answer came within ``patience`` seconds, or the server cannot do it now.
            StoreError: it cannot be done at all.
        """
        script = self._scripts[name]
        with self.translated():
            words = (b"1", self.base, *arguments)
            with self.lent() as session:
                try:
                    answer = session.ask(b"EVALSHA", script.sha, *words, patience=patience)
                except exceptions.NoScriptError:
                    # A server that was started anew, or was told to forget; nothing has run.
                    answer = session.ask(b"EVAL", script.text, *words, patience=patience)
        return answer

    def script(self, name: str) -> Script:
        """An operation, for who sends it without waiting."""
        return self._scripts[name]

    def command(self, *words: Argument, patience: float = PATIENCE) -> Any:
        """Ask the server itself."""
        with self.translated(), self.lent() as session:
            return session.ask(*words, patience=patience)

    # -- clocks

    def now(self) -> float:
        """The server's clock, seconds since the epoch.

        Raises:
            StoreUnavailable: it could never be asked.
        """
        return self.clock.now()

    def _measured(self) -> float:
        before = machine_clock()
        seconds, microseconds = self.command(b"TIME", patience=self.timeout / 2)
        after = machine_clock()
        return int(seconds) + int(microseconds) / 1e6 - (before + after) / 2

    # -- errors

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise the driver's errors as store errors that name the server."""
        try:
            yield
        except (exceptions.RedisError, OSError) as error:
            raise self.translate(error) from error

    def translate(self, error: Exception) -> StoreError:
        """The store error for one of the driver's."""
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        word = _first_word(error, said)
        if word in _NEVER:
            return StoreError(self.location, f"{said}; {_NEVER[word]}")
        if word in _LATER:
            return ServerUnavailable(self.location, f"{said}; {_LATER[word]}")
        if self._over_tls and (remedy := next((_NEVER_OVER_TLS[sign] for sign in _NEVER_OVER_TLS if sign in said), "")):
            return StoreError(self.location, f"{said.rstrip('.')}; {remedy}")
        if isinstance(error, (exceptions.ConnectionError, exceptions.TimeoutError, OSError)):
            return ServerUnavailable(self.location, said)
        return StoreError(self.location, said)

    # -- the end

    def close(self) -> None:
        """Close what is idle; the next use connects again."""
        with self._lock:
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()

    def forget(self) -> None:
        """In a child: the connections are the parent's, who goes on using them."""
        self._lock = threading.Lock()
        idle, self._idle = self._idle, []
        for session in idle:
            session.leave_to_the_parent()


def _first_word(error: Exception, said: str) -> str:
    # The driver takes the word away where it has a class for it.
    if isinstance(error, exceptions.AuthenticationError) and "required" in said:
        return "NOAUTH"
    for kind, word in _WORDS:
        if isinstance(error, kind):
            return word
    # Before version 7 the answer of a script has its own words round those of the command.
    inner = _INNER.search(said)
    return inner[1] if inner else said.partition(" ")[0].rstrip(":")


_INNER = re.compile(r"running script.* -([A-Z]+) ")
_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.AuthenticationWrongNumberOfArgsError, "WRONGPASS"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.AuthenticationError, "WRONGPASS"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.MovedError, "MOVED"),
)

_ALL: weakref.WeakSet[Database] = weakref.WeakSet()
_REGISTRY = threading.Lock()


def _after_fork() -> None:
    global _REGISTRY  # noqa: PLW0603  # whoever held it is not in this process
    _REGISTRY = threading.Lock()
    for database in list(_ALL):
        with suppress(Exception):
            database.forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
