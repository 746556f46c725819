"""How far a failed connection got: whether the other side was ever reached.

The types of the usual clients are matched by the names in the method resolution order of the error's type, so that none
of them is imported. Where it is not certain that nothing was sent, the answer counts as lost: a retry that was not made
is a dead letter that can be redriven, a retry too many may be a second charge.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum


class ConnectionFailure(Enum):
    """How far a failed call over the network got."""

    NEVER_ESTABLISHED = "connection never established"
    ANSWER_LOST = "answer lost"


#: Errors already looked at on the way in, by identity: chains of causes can be cyclic.
Seen = frozenset[int]
Verdict = ConnectionFailure | None
Judge = Callable[[BaseException, Seen], Verdict]

NEVER = ConnectionFailure.NEVER_ESTABLISHED
LOST = ConnectionFailure.ANSWER_LOST


def connection_failure(error: BaseException) -> ConnectionFailure | None:
    """How far the failed call got, or None when the error is no connection failure (a bug, a refusal, an answer)."""
    verdict = _judge(error, frozenset())
    return None if verdict is NEVER and _certificate_refused(error) else verdict


def _judge(error: BaseException, seen: Seen) -> Verdict:
    rule = _rule(type(error))
    return rule(error, seen | {id(error)}) if callable(rule) else rule


def _rule(kind: type[BaseException]) -> ConnectionFailure | Judge | None:
    for base in kind.__mro__:
        name = f"{base.__module__}.{base.__qualname__}"
        if name in RULES:
            return RULES[name]
    return _by_cause


def _by_cause(error: BaseException, seen: Seen) -> Verdict:
    """`raise OurError from refused`: the author names the reason.

    The implicit `__context__` is not followed anywhere: it is whatever was being handled at the time, such as a refused
    primary while the request to the fallback lost its answer.
    """
    cause = error.__cause__
    return _judge(cause, seen) if cause is not None and id(cause) not in seen else None


def _inside(fallback: Verdict) -> Judge:
    """A type that only wraps: what it holds decides, and `fallback` where that says nothing."""

    def judge(error: BaseException, seen: Seen) -> Verdict:
        return _worst(_judge(inner, seen) for inner in _links(error) if id(inner) not in seen) or fallback

    return judge


def _links(error: BaseException) -> Iterator[BaseException]:
    fields = (getattr(error, name, None) for name in ("__cause__", "reason", "orig", "info", "error"))
    tries = getattr(error, "errors", ())
    for value in (*error.args, *fields, *(tries if isinstance(tries, (list, tuple)) else ())):
        if isinstance(value, BaseException):
            yield value


def _worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Of several tries, one that may have reached the other side is enough."""
    found = set(verdicts)
    return LOST if LOST in found else NEVER if NEVER in found else None


def _certificate_refused(error: BaseException, seen: Seen = frozenset()) -> bool:
    """A wrong certificate stays wrong, though no connection came about."""
    names = {f"{base.__module__}.{base.__qualname__}" for base in type(error).__mro__}
    if "ssl.SSLCertVerificationError" in names:
        return True
    seen = seen | {id(error)}
    return any(_certificate_refused(inner, seen) for inner in _links(error) if id(inner) not in seen)


def _group(error: BaseException, seen: Seen) -> Verdict:
    members: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    verdicts = [_judge(member, seen) for member in members]
    return None if None in verdicts else _worst(verdicts)


#: A route can vanish under an established connection too, so an unreachable host is no proof of anything.
_LOST_ERRNOS = frozenset(
    {
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.EPIPE,
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ESHUTDOWN,
    }
)


def _os_error(error: BaseException, seen: Seen) -> Verdict:
    number = getattr(error, "errno", None)
    if number in _LOST_ERRNOS:
        return LOST
    # asyncio's create_connection joins the failures of several addresses into one text without a number.
    joined = type(error) is OSError and str(error).startswith("Multiple exceptions: ")
    return NEVER if number == errno.ECONNREFUSED or joined else _by_cause(error, seen)


_REDIS_CONNECTING = re.compile(r"^(Error .*|Timeout )connecting to|^No connection available|^Too many connections")


def _redis(error: BaseException, _seen: Seen) -> Verdict:
    """One type for both; the client's own texts tell them apart, and are not translated."""
    return NEVER if _REDIS_CONNECTING.search(str(error)) else LOST


_POSTGRES_NEVER = frozenset({"08001", "08004", "53300", "57P03"})
_POSTGRES_LOST = frozenset({"57P01", "57P02", "57P05"})
_LIBPQ_CONNECTING = re.compile(
    r"connection to server .* failed:|could not connect to server|connection failed:|connection timeout expired"
    r"|could not translate host name|failed to resolve host|couldn't get a connection"
)
_SERVER_NOT_READY = re.compile(
    r"starting up|shutting down|too many clients|connection slots|not yet accepting connections"
)


def _postgres(error: BaseException, _seen: Seen) -> Verdict:
    """By SQLSTATE where the server gave one; without one the client itself speaks, in libpq's words."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if state is not None:
        lost = state in _POSTGRES_LOST or state.startswith("08")
        return NEVER if state in _POSTGRES_NEVER else LOST if lost else None
    text = str(error)
    if "FATAL:" in text and _LIBPQ_CONNECTING.search(text):
        return NEVER if _SERVER_NOT_READY.search(text) else None
    return NEVER if _LIBPQ_CONNECTING.search(text) else LOST


_CLOSED = re.compile(r"connection (is|was|already) (closed|lost)|connection already closed|connection not open")


def _closed_connection(error: BaseException, _seen: Seen) -> Verdict:
    """InterfaceError is mostly a mistake in the calling code; a connection that broke earlier is one too."""
    return LOST if _CLOSED.search(str(error)) else None


_MYSQL_NEVER = frozenset({1040, 2002, 2003, 2005})
_MYSQL_LOST = frozenset({0, 1053, 2006, 2013, 2055})


def _mysql(error: BaseException, _seen: Seen) -> Verdict:
    number = getattr(error, "errno", None) or (error.args[0] if error.args else None)
    return NEVER if number in _MYSQL_NEVER else LOST if number in _MYSQL_LOST else None


def _sqlalchemy(error: BaseException, seen: Seen) -> Verdict:
    invalidated = getattr(error, "connection_invalidated", False)
    if invalidated and getattr(error, "statement", None) is not None:
        return LOST  # found dead under a statement: the driver's text can speak of its reconnection
    return _inside(LOST if invalidated else None)(error, seen)


def _grpc(error: BaseException, _seen: Seen) -> Verdict:
    code = getattr(error, "code", None)
    status = getattr(code() if callable(code) else None, "name", None)
    return LOST if status in {"UNAVAILABLE", "DEADLINE_EXCEEDED"} else None


def _of(module: str, rule: ConnectionFailure | Judge | None, names: str) -> dict[str, ConnectionFailure | Judge | None]:
    return {f"{module}.{name}": rule for name in names.split()}


#: "module.QualName" as the type reports it (which can differ from where it is imported) → verdict, judge of the single
#: error, or None: no connection failure, though a base class would say so.
RULES: dict[str, ConnectionFailure | Judge | None] = {
    # Standard library. A time-out, and a bare ConnectionError, do not tell connecting from waiting for the answer.
    **_of("builtins", NEVER, "ConnectionRefusedError"),
    **_of("builtins", LOST, "ConnectionError TimeoutError"),
    **_of("builtins", _os_error, "OSError"),
    **_of("builtins", _group, "BaseExceptionGroup"),
    **_of("exceptiongroup", _group, "BaseExceptionGroup"),
    **_of("socket", NEVER, "gaierror herror"),
    **_of("asyncio.exceptions", LOST, "TimeoutError IncompleteReadError"),
    **_of("concurrent.futures._base", LOST, "TimeoutError"),
    **_of("ssl", LOST, "SSLEOFError SSLZeroReturnError SSLSyscallError"),
    **_of("http.client", LOST, "RemoteDisconnected IncompleteRead"),
    **_of("urllib.error", None, "HTTPError"),
    **_of("urllib.error", _inside(None), "URLError"),
    **_of("smtplib", NEVER, "SMTPConnectError"),
    **_of("smtplib", LOST, "SMTPServerDisconnected"),
    **_of("aiosmtplib.errors", NEVER, "SMTPConnectError SMTPConnectTimeoutError"),
    **_of("aiosmtplib.errors", LOST, "SMTPServerDisconnected SMTPTimeoutError"),
    # HTTP
    **_of("requests.exceptions", NEVER, "ConnectTimeout"),
    **_of("requests.exceptions", LOST, "ReadTimeout Timeout ChunkedEncodingError"),
    **_of("requests.exceptions", _inside(LOST), "ConnectionError"),
    **_of("requests.exceptions", _inside(None), "SSLError"),
    **_of("urllib3.exceptions", NEVER, "NewConnectionError ConnectTimeoutError EmptyPoolError"),
    **_of("urllib3.exceptions", LOST, "ReadTimeoutError ProtocolError IncompleteRead InvalidChunkLength"),
    **_of("urllib3.exceptions", _inside(None), "MaxRetryError SSLError"),
    **_of("urllib3.exceptions", _inside(LOST), "ProxyError"),
    **_of("httpx", NEVER, "ConnectError ConnectTimeout PoolTimeout ProxyError"),
    **_of("httpx", LOST, "NetworkError TimeoutException RemoteProtocolError"),
    **_of("httpcore", NEVER, "ConnectError ConnectTimeout PoolTimeout ProxyError"),
    **_of("httpcore", LOST, "NetworkError TimeoutException RemoteProtocolError"),
    **_of("aiohttp.client_exceptions", NEVER, "ClientConnectorError ConnectionTimeoutError"),
    **_of("aiohttp.client_exceptions", LOST, "ClientConnectionError ClientPayloadError"),
    **_of("aiohttp.client_exceptions", None, "ClientConnectorCertificateError ServerFingerprintMismatch"),
    # Databases and stores
    **_of("redis.exceptions", _redis, "ConnectionError TimeoutError"),
    # Turned away at the door: nothing was executed.
    **_of("redis.exceptions", NEVER, "BusyLoadingError MaxConnectionsError"),
    **_of("redis.exceptions", None, "AuthenticationError AuthorizationError ExternalAuthProviderError"),
    **_of("psycopg", _postgres, "OperationalError"),
    **_of("psycopg.errors", NEVER, "ConnectionTimeout"),
    **_of("psycopg_pool", NEVER, "PoolTimeout TooManyRequests"),
    **_of("psycopg_pool", None, "PoolClosed"),
    **_of("psycopg2", _postgres, "OperationalError"),
    **_of("psycopg", _closed_connection, "InterfaceError"),
    **_of("psycopg2", _closed_connection, "InterfaceError"),
    **_of("asyncpg.exceptions._base", _postgres, "PostgresError"),
    **_of("asyncpg.exceptions._base", _closed_connection, "InterfaceError"),
    **_of("pymysql.err", _mysql, "OperationalError InterfaceError"),
    **_of("MySQLdb", _mysql, "OperationalError InterfaceError"),
    **_of("MySQLdb._exceptions", _mysql, "OperationalError InterfaceError"),
    **_of("mysql.connector.errors", _mysql, "OperationalError InterfaceError"),
    **_of("sqlalchemy.exc", NEVER, "TimeoutError"),
    **_of("sqlalchemy.exc", LOST, "DisconnectionError"),
    **_of("sqlalchemy.exc", _sqlalchemy, "DBAPIError"),
    **_of("pymongo.errors", NEVER, "ServerSelectionTimeoutError WaitQueueTimeoutError"),
    **_of("pymongo.errors", LOST, "ConnectionFailure"),
    **_of("elastic_transport", _inside(LOST), "ConnectionError"),
    **_of("elastic_transport", LOST, "ConnectionTimeout"),
    **_of("elastic_transport", None, "TlsError"),
    **_of("elasticsearch.exceptions", _inside(LOST), "ConnectionError"),
    **_of("elasticsearch.exceptions", LOST, "ConnectionTimeout"),
    **_of("elasticsearch.exceptions", None, "SSLError"),
    **_of("opensearchpy.exceptions", _inside(LOST), "ConnectionError"),
    **_of("opensearchpy.exceptions", LOST, "ConnectionTimeout"),
    **_of("opensearchpy.exceptions", None, "SSLError"),
    # Brokers and remote calls
    **_of("kombu.exceptions", _inside(LOST), "OperationalError"),
    **_of("amqp.exceptions", LOST, "RecoverableConnectionError"),
    **_of("botocore.exceptions", NEVER, "EndpointConnectionError ConnectTimeoutError ProxyConnectionError"),
    **_of(
        "botocore.exceptions", LOST, "ReadTimeoutError ConnectionClosedError IncompleteReadError ResponseStreamingError"
    ),
    **_of("botocore.exceptions", _inside(LOST), "ConnectionError"),
    **_of("botocore.exceptions", _inside(None), "HTTPClientError SSLError"),
    **_of("grpc", _grpc, "RpcError"),
    **_of("paramiko.ssh_exception", NEVER, "NoValidConnectionsError"),
}
