"""The connections of one process to one schema: a few, lent and given back; none is used across a fork."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from celeriac.errors import ServerReadOnly, ServerUnavailable, SettingsError, StoreError
from celeriac.store.clock import lease_now as machine_clock
from celeriac.store.postgres.bell import Bell
from celeriac.store.postgres.liveness import GONE, abandoned, configure
from celeriac.store.postgres.news import channels
from celeriac.store.postgres.plans import by_index
from celeriac.store.postgres.pooler import pooled_by_transaction
from celeriac.store.postgres.refusals import TLS_REMEDY, hint, tls_is_amiss
from celeriac.store.postgres.session import PATIENCE, Raw, Session
from celeriac.store.protocols import News
from celeriac.store.server_clock import ServerClock

#: Where celeriac's tables are, unless the URL says otherwise.
SCHEMA = "celeriac"
#: Connections kept open for the next who needs one; more are made where more threads ask at once.
KEPT = 4
#: Seconds that connecting, or a step of a publish, may take.
CONNECT_TIMEOUT = 5.0
#: What this side knows a dead server by, in seconds.
_KEEPALIVE = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
#: Seconds of unacknowledged data after which a connection counts as lost, in milliseconds.
_USER_TIMEOUT = {"tcp_user_timeout": 20_000}
#: What is told after the commit.
_LATER = int(News.WORK | News.RESULTS)
#: What is told by the commit itself.
_AT_ONCE = int(News.BROADCASTS)


class Database:
    """One schema: how to connect to it, and the process's connections.

    Args:
        conninfo: what libpq takes, as a URL or key=value.
        schema: holds all of celeriac's tables.
        timeout: seconds that connecting may take.
    """

    def __init__(self, conninfo: str, schema: str, *, timeout: float = CONNECT_TIMEOUT) -> None:
        self.conninfo = conninfo
        self.schema = schema
        self.timeout = timeout
        self.location = shown(conninfo) + ("" if schema == SCHEMA else f"?schema={schema}")
        self.channels = channels(schema)
        self._idle: list[Session] = []
        self._lock = threading.Lock()
        self.clock = ServerClock(self._measured)
        self._known_to_last = False
        self.bell = Bell(schema, lambda: self.reading(self.timeout))
        with _REGISTRY:
            _ALL.add(self)

    # -- connections

    def connect(self) -> Raw:
        """A new connection with celeriac's settings.

        Raises:
            StoreUnavailable: the server does not answer, or refuses.
        """
        with self.translated():
            info = make_conninfo(
                self.conninfo,
                **{**_KEEPALIVE, **_USER_TIMEOUT, "application_name": "celeriac", **conninfo_to_dict(self.conninfo)},
                connect_timeout=max(2, round(self.timeout)),
            )
            raw = Raw.connect(info, autocommit=True)
            raw.prepare_threshold = 0
            with closed_on_error(raw):
                if not self._known_to_last:
                    self._check_that_it_lasts(raw, info)
                # The statements lock what they rely on: under a stricter isolation of the role's many would be refused.
                configure(
                    raw,
                    search_path=_quoted(self.schema),
                    default_transaction_isolation="read committed",
                    # The server says what it waited for, before this side gives up.
                    lock_timeout=f"{int(self.timeout * 800)}ms",
                    **abandoned(),
                    **by_index(),
                )
            return raw

    def _check_that_it_lasts(self, raw: Raw, info: str) -> None:
        """Refuse a pooler that gives each transaction another connection, before anything is set on one of them."""
        if pooled_by_transaction(raw, lambda: Raw.connect(info, autocommit=True)):
            raise StoreError(
                self.location,
                "a pooler such as PgBouncer is in between and gives each transaction another connection of the server, "
                "where neither LISTEN nor prepared statements nor the search path last. Let the broker URL lead to the "
                "server itself, or to a pool with pool_mode = session; the application's own connections may stay as "
                "they are",
            )
        self._known_to_last = True

    @contextmanager
    def _lent(self, patience: float) -> Iterator[Session]:
        session = self._take()
        session.raw.patience = patience
        with self._given_back(session):
            yield session

    @contextmanager
    def _given_back(self, session: Session) -> Iterator[None]:
        try:
            yield
        except psycopg.errors.ReadOnlySqlTransaction:
            session.close()  # a new connection may find the primary
            raise
        finally:
            self._give_back(session)

    def _take(self) -> Session:
        while True:
            with self._lock:
                session = self._idle.pop() if self._idle else None
            if session is None:
                return Session(self.connect())
            if session.still_there():
                return session
            session.close()

    def _give_back(self, session: Session) -> None:
        if session.broken:
            # The server went away under it, and so under those that are idle.
            with self._lock:
                dead, self._idle = self._idle, []
            for other in dead:
                other.close()
            return
        with self._lock:
            if len(self._idle) < KEPT:
                self._idle.append(session)
                return
        session.close()

    @contextmanager
    def reading(self, patience: float = PATIENCE) -> Iterator[Session]:
        """Run single statements, each at most ``patience`` seconds; each sees what is committed when it begins."""
        with self.translated(), self._lent(patience) as session:
            yield session

    @contextmanager
    def writing(self, patience: float = PATIENCE) -> Iterator[Session]:
        """One transaction, each of its statements at most ``patience`` seconds; who waits for such news is told."""
        with self.translated(), self._begun(patience) as session:
            try:
                yield session
                # Who listens for broadcasts looks at them for no other reason, so this word must not be lost.
                session.commit(self.bell.command(_AT_ONCE) if session.news & _AT_ONCE else b"")
            except BaseException:
                with suppress(psycopg.Error):
                    session.rollback()
                raise
            if session.news & _LATER:
                self.bell.ring(session, session.news & _LATER)

    @contextmanager
    def scanning(self) -> Iterator[Session]:
        """One transaction whose statements look at whole tables."""
        with self.writing() as session:
            session.expect_all_rows()
            yield session

    def publishing(self) -> AbstractContextManager[Session]:
        """One transaction, in which no step takes longer than ``timeout`` seconds."""
        return self.writing(self.timeout)

    @contextmanager
    def _begun(self, patience: float) -> Iterator[Session]:
        session = self._take()
        session.raw.patience = patience
        try:
            session.begin()
        except GONE:
            # It may have been idle while the server was restarted; nothing was sent on it yet.
            self._give_back(session)
            session = Session(self.connect())
            session.raw.patience = patience
            with closed_on_error(session.raw):
                session.begin()
        except BaseException:
            self._give_back(session)
            raise
        with self._given_back(session):
            yield session

    # -- clocks

    def now(self) -> float:
        """The server's clock, seconds since the epoch.

        Raises:
            StoreUnavailable: it could never be asked.
        """
        return self.clock.now()

    lease_now = now

    def _measured(self) -> float:
        with self.reading(self.timeout / 2) as session:
            before = machine_clock()
            row = session.raw.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
            after = machine_clock()
        assert row is not None
        return float(row[0]) - (before + after) / 2

    # -- errors

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise the driver's errors as store errors that name the server."""
        try:
            yield
        except psycopg.Error as error:
            raise self.translate(error) from error

    def translate(self, error: psycopg.Error) -> StoreError:
        """The store error for one of the driver's."""
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
            return ServerReadOnly(self.location, text)
        if isinstance(error, psycopg.OperationalError) and tls_is_amiss(str(error)):
            return StoreError(self.location, text + TLS_REMEDY)
        if isinstance(error, GONE):
            return ServerUnavailable(self.location, text + hint(text, KEPT + 1))
        return StoreError(self.location, text)

    def close(self) -> None:
        """Close what is idle; the next use connects again."""
        self.bell.say_what_is_owed(all_of_it=True)
        with self._lock:
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()

    def forget(self) -> None:
        """In a child: the connections are the parent's, who goes on using them."""
        self._lock = threading.Lock()
        self.bell.forget()
        idle, self._idle = self._idle, []
        for session in idle:
            leave_to_the_parent(session.raw)


@contextmanager
def closed_on_error(raw: psycopg.Connection[Any]) -> Iterator[None]:
    """Close the connection when the block raises."""
    try:
        yield
    except BaseException:
        raw.close()
        raise


def shown(conninfo: str) -> str:
    """The address for people, without its password.

    Raises:
        SettingsError: libpq cannot read it, or does not know one of its options.
    """
    try:
        known = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError as error:
        # Where it cannot be taken apart, it is quoted in the error with the password in it.
        said = str(error).strip().partition(': "postgres')[0]
        problem = f"libpq cannot read it ({said}). Beside schema=, what follows the ? is libpq's"
        raise SettingsError("broker_url", problem) from None
    user = f"{known['user']}@" if known.get("user") else ""
    port = f":{known['port']}" if known.get("port") else ""
    return f"postgresql://{user}{known.get('host') or ''}{port}/{known.get('dbname') or ''}"


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)


_LEFT: list[psycopg.Connection[Any]] = []


def leave_to_the_parent(raw: psycopg.Connection[Any]) -> None:
    """Close the child's end without a word to the server, and keep the object, whose end would send one."""
    with suppress(OSError, psycopg.Error):
        os.close(raw.fileno())
    _LEFT.append(raw)


_ALL: weakref.WeakSet[Database] = weakref.WeakSet()
_REGISTRY = threading.Lock()


def _after_fork() -> None:
    global _REGISTRY  # noqa: PLW0603  # whoever held it is not in this process
    _REGISTRY = threading.Lock()
    for database in list(_ALL):
        database.forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
