"""What each client's error says, on classes of the same names: no client is needed to read the table."""

from __future__ import annotations

import asyncio
import builtins
import errno
import socket
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from celeriac.core.failures import RULES, ConnectionFailure, connection_failure

NEVER = ConnectionFailure.NEVER_ESTABLISHED
LOST = ConnectionFailure.ANSWER_LOST
Make = Callable[..., BaseException]


def kind(name: str, *bases: type[BaseException]) -> type[BaseException]:
    """A class that reports the dotted `name` as its own."""
    module, _, qualname = name.rpartition(".")
    return type(qualname, bases or (Exception,), {"__module__": module})


def make(name: str, *args: object, bases: tuple[type[BaseException], ...] = (), **fields: Any) -> BaseException:
    error = kind(name, *bases)(*args)
    for field, value in fields.items():
        setattr(error, field, value)
    return error


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), NEVER),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), NEVER),
        (OSError(errno.ECONNREFUSED, "refused"), NEVER),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 111] Connect call failed"), NEVER),
        (ConnectionError("said the task itself"), LOST),
        (TimeoutError("connecting or reading?"), LOST),
        (asyncio.TimeoutError(), LOST),
        (ConnectionResetError(errno.ECONNRESET, "reset"), LOST),
        (BrokenPipeError(errno.EPIPE, "pipe"), LOST),
        (OSError(errno.EHOSTUNREACH, "no route"), LOST),
        (OSError(errno.ENETUNREACH, "no net"), LOST),
        (OSError(errno.ENOSPC, "disk full"), None),
        (OSError(), None),
        (FileNotFoundError(errno.ENOENT, "no file"), None),
        (PermissionError(errno.EACCES, "no"), None),
        (ValueError("a bug"), None),
        (KeyboardInterrupt(), None),
    ],
)
def test_standard_library(error: BaseException, expected: ConnectionFailure | None) -> None:
    assert connection_failure(error) is expected


#: Types of their own in Python 3.10, the built-in one since.
RENAMED = {"asyncio.exceptions.TimeoutError", "concurrent.futures._base.TimeoutError"}


def test_every_name_is_written_as_its_type_reports_it() -> None:
    """A name under which a type can be imported, but which is not its own, would never match."""
    found = {name: _installed(name) for name in RULES.keys() - RENAMED}
    present = {name: f"{cls.__module__}.{cls.__qualname__}" for name, cls in found.items() if cls is not None}
    assert present == {name: name for name in present}
    assert len(present) > len(RULES) / 2  # else this looked at nothing


def _installed(name: str) -> type | None:
    module, _, qualname = name.rpartition(".")
    try:
        __import__(module)
    except ImportError:
        return None
    found = getattr(sys.modules[module], qualname, None)
    return found if isinstance(found, type) else None


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("redis.exceptions.ConnectionError", ("Error 111 connecting to localhost:6379. Connection refused.",), NEVER),
        (
            "redis.exceptions.ConnectionError",
            ("Error -2 connecting to nowhere:6379. Name or service not known.",),
            NEVER,
        ),
        ("redis.exceptions.TimeoutError", ("Timeout connecting to server",), NEVER),
        ("redis.exceptions.ConnectionError", ("No connection available.",), NEVER),
        ("redis.exceptions.ConnectionError", ("Connection closed by server.",), LOST),
        ("redis.exceptions.ConnectionError", ("Error while reading from localhost:6379 : (104, 'reset')",), LOST),
        ("redis.exceptions.ConnectionError", ("Error 32 while writing to socket. Broken pipe.",), LOST),
        ("redis.exceptions.TimeoutError", ("Timeout reading from socket",), LOST),
        ("psycopg.OperationalError", ('connection to server at "::1", port 5 failed: Connection refused',), NEVER),
        ("psycopg.OperationalError", ("connection failed: FATAL:  the database system is starting up",), NEVER),
        ("psycopg.OperationalError", ("connection failed: FATAL:  sorry, too many clients already",), NEVER),
        ("psycopg.OperationalError", ('connection failed: FATAL:  password authentication failed for user "x"',), None),
        ("psycopg.OperationalError", ("server closed the connection unexpectedly",), LOST),
        ("psycopg.OperationalError", ("FATAL:  terminating connection due to administrator command",), LOST),
        ("psycopg.OperationalError", ("Verbindung verloren",), LOST),
        ("psycopg2.OperationalError", ('could not translate host name "db" to address: unknown',), NEVER),
        ("psycopg2.InterfaceError", ("connection already closed",), LOST),
        ("psycopg2.InterfaceError", ("only protocol 3 supported",), None),
        ("psycopg.InterfaceError", ("the connection is closed",), LOST),
        ("pymysql.err.OperationalError", (2003, "Can't connect to MySQL server on 'db'"), NEVER),
        ("pymysql.err.OperationalError", (2013, "Lost connection to MySQL server during query"), LOST),
        ("pymysql.err.OperationalError", (1205, "Lock wait timeout exceeded"), None),
        ("pymysql.err.InterfaceError", (0, ""), LOST),
        ("MySQLdb.OperationalError", (2002, "Can't connect through socket"), NEVER),
        ("MySQLdb._exceptions.OperationalError", (2006, "MySQL server has gone away"), LOST),
        ("smtplib.SMTPConnectError", (421, b"busy"), NEVER),
        ("smtplib.SMTPServerDisconnected", ("Connection unexpectedly closed",), LOST),
        ("pymongo.errors.ServerSelectionTimeoutError", ("no servers found yet",), NEVER),
        ("amqp.exceptions.RecoverableConnectionError", ("Socket was disconnected",), LOST),
        ("botocore.exceptions.EndpointConnectionError", ("Could not connect to the endpoint URL",), NEVER),
        ("botocore.exceptions.ReadTimeoutError", ("Read timeout on endpoint URL",), LOST),
        ("botocore.exceptions.ClientError", ("An error occurred (AccessDenied)",), None),
        ("concurrent.futures._base.TimeoutError", (), LOST),
        ("aiohttp.client_exceptions.ServerFingerprintMismatch", (), None),
        ("elasticsearch.exceptions.ConnectionTimeout", ("TIMEOUT", "read", None), LOST),
    ],
)
def test_one_error(name: str, args: tuple[object, ...], expected: ConnectionFailure | None) -> None:
    assert connection_failure(make(name, *args)) is expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("08001", NEVER),
        ("53300", NEVER),
        ("57P03", NEVER),
        ("08006", LOST),
        ("57P01", LOST),
        ("28P01", None),
        ("40001", None),
        ("23505", None),
    ],
)
@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("psycopg.OperationalError", "sqlstate"),
        ("psycopg2.OperationalError", "pgcode"),
        ("asyncpg.exceptions._base.PostgresError", "sqlstate"),
    ],
)
def test_sqlstate(name: str, field: str, state: str, expected: ConnectionFailure | None) -> None:
    fields: dict[str, Any] = {field: state}
    error = make(name, "connection to server at x failed: the text counts for nothing", **fields)
    assert connection_failure(error) is expected


@pytest.mark.parametrize(
    ("status", "expected"), [("UNAVAILABLE", LOST), ("DEADLINE_EXCEEDED", LOST), ("NOT_FOUND", None)]
)
def test_grpc(status: str, expected: ConnectionFailure | None) -> None:
    inactive = kind("grpc._channel._InactiveRpcError", kind("grpc.RpcError"))("rpc failed")
    inactive.code = lambda: SimpleNamespace(name=status)  # type: ignore[attr-defined]
    assert connection_failure(inactive) is expected
    assert connection_failure(make("grpc.RpcError")) is None


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
RESET = ConnectionResetError(errno.ECONNRESET, "reset")


@pytest.mark.parametrize(
    ("inner", "expected"), [(REFUSED, NEVER), (RESET, LOST), (ValueError("what"), LOST), (None, LOST)]
)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: make("requests.exceptions.ConnectionError", inner, bases=(OSError,)),
        lambda inner: make(
            "requests.exceptions.ConnectionError", make("urllib3.exceptions.MaxRetryError", reason=inner)
        ),
        lambda inner: make("kombu.exceptions.OperationalError", str(inner), __cause__=inner),
        lambda inner: make("elastic_transport.ConnectionError", "failed", errors=(inner,)),
        lambda inner: make("elasticsearch.exceptions.ConnectionError", "N/A", "failed", inner),
        lambda inner: make("sqlalchemy.exc.DBAPIError", orig=inner, connection_invalidated=True, statement=None),
        lambda inner: make("botocore.exceptions.ConnectionError", error=inner),
    ],
)
def test_wrapper(wrap: Make, inner: BaseException | None, expected: ConnectionFailure) -> None:
    assert connection_failure(wrap(inner)) is expected


@pytest.mark.parametrize(("inner", "expected"), [(REFUSED, NEVER), (RESET, LOST), (ValueError("what"), None)])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: make("urllib.error.URLError", inner, reason=inner, bases=(OSError,)),
        lambda inner: make("django.db.utils.OperationalError", str(inner), __cause__=inner),
        lambda inner: make("sqlalchemy.exc.DBAPIError", orig=inner, connection_invalidated=False, statement="select 1"),
        lambda inner: make("shop.GatewayDown", "gateway", __cause__=inner),
        lambda inner: make("shop.GatewayDown", "gateway", __cause__=inner, bases=(OSError,)),
        lambda inner: make("shop.A", __cause__=make("shop.B", __cause__=inner)),
    ],
)
def test_wrapper_that_says_nothing_of_itself(
    wrap: Make, inner: BaseException, expected: ConnectionFailure | None
) -> None:
    assert connection_failure(wrap(inner)) is expected


def test_a_statement_on_a_dead_connection_is_lost_whatever_the_driver_says() -> None:
    error = make("sqlalchemy.exc.DBAPIError", orig=REFUSED, connection_invalidated=True, statement="update t set x = 1")
    assert connection_failure(error) is LOST


def test_of_several_tries_one_lost_answer_is_enough() -> None:
    assert connection_failure(make("elastic_transport.ConnectionError", "x", errors=(REFUSED, RESET))) is LOST


def test_the_most_derived_type_decides() -> None:
    base = kind("requests.exceptions.ConnectionError", OSError)
    assert connection_failure(kind("requests.exceptions.ConnectTimeout", base)("timed out")) is NEVER
    assert connection_failure(kind("shop.MyTimeout", TimeoutError)("no answer")) is LOST


def test_what_was_being_handled_is_no_reason() -> None:
    """A refused primary, then a fallback that lost its answer: nothing was refused by the fallback."""
    lost = make("requests.exceptions.ConnectionError", make("urllib3.exceptions.ProtocolError", "aborted", RESET))
    lost.__context__ = REFUSED
    assert connection_failure(lost) is LOST
    bug = KeyError("order")
    bug.__context__ = REFUSED
    assert connection_failure(bug) is None


def test_a_refused_certificate_is_permanent() -> None:
    certificate = make("ssl.SSLCertVerificationError", "expired", bases=(OSError,))
    assert connection_failure(certificate) is None
    assert (
        connection_failure(caused(make("httpx.ConnectError"), caused(make("httpcore.ConnectError"), certificate)))
        is None
    )
    assert (
        connection_failure(make("requests.exceptions.SSLError", make("urllib3.exceptions.SSLError", certificate)))
        is None
    )


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the built-in groups came with 3.11")
def test_a_group_is_a_connection_failure_only_if_each_member_is() -> None:
    group: Make = vars(builtins)["ExceptionGroup"]
    assert connection_failure(group("both", [REFUSED, REFUSED])) is NEVER
    assert connection_failure(group("both", [REFUSED, RESET])) is LOST
    assert connection_failure(group("both", [REFUSED, ValueError("a bug")])) is None


def test_circles_end() -> None:
    first, second = make("shop.A"), make("shop.B")
    first.__cause__, second.__cause__ = second, first
    assert connection_failure(first) is None
    ring = make("requests.exceptions.ConnectionError")
    ring.args = (ring,)
    assert connection_failure(ring) is LOST
