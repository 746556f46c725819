"""The real clients against real sockets on loopback: what they raise is what the table expects."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from celeriac.core.failures import ConnectionFailure, connection_failure

NEVER = ConnectionFailure.NEVER_ESTABLISHED
LOST = ConnectionFailure.ANSWER_LOST
#: Long enough to connect on loopback, short enough to wait for.
SECONDS = 0.2
UNKNOWN_HOST = "no-such-host.invalid"
Call = Callable[[str, int], object]


@pytest.fixture
def refusing() -> Iterator[int]:
    """A port that is taken and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def full() -> Iterator[int]:
    """A port whose backlog is full, so that connecting to it waits."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        while True:
            client = stack.enter_context(socket.socket())
            client.settimeout(SECONDS)
            try:
                client.connect(server.getsockname())
            except TimeoutError:
                break
        yield server.getsockname()[1]


def _reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@contextlib.contextmanager
def _server(after_request: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that reads what is sent and then treats the client as told, instead of answering."""
    clients: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                clients.append(client)
                client.recv(65536)
                after_request(client)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for client in clients:
                client.close()


@pytest.fixture
def silent() -> Iterator[int]:
    with _server(lambda client: None) as port:
        yield port


@pytest.fixture(params=[socket.socket.close, _reset], ids=["closes", "resets"])
def hanging_up(request: pytest.FixtureRequest) -> Iterator[int]:
    with _server(request.param) as port:
        yield port


def _requests(host: str, port: int) -> object:
    requests = pytest.importorskip("requests")
    return requests.post(f"http://{host}:{port}/charge", data=b"x", timeout=SECONDS)


def _urllib(host: str, port: int) -> object:
    return urllib.request.urlopen(f"http://{host}:{port}/charge", data=b"x", timeout=SECONDS)


def _urllib3(host: str, port: int) -> object:
    urllib3 = pytest.importorskip("urllib3")
    with urllib3.PoolManager(timeout=SECONDS, retries=False) as pool:
        return pool.request("POST", f"http://{host}:{port}/charge")


def _urllib3_retrying(host: str, port: int) -> object:
    urllib3 = pytest.importorskip("urllib3")
    with urllib3.PoolManager(timeout=SECONDS, retries=urllib3.Retry(1)) as pool:
        return pool.request("GET", f"http://{host}:{port}/charge")


def _httpx(host: str, port: int) -> object:
    httpx = pytest.importorskip("httpx")
    return httpx.post(f"http://{host}:{port}/charge", timeout=SECONDS)


def _httpx_async(host: str, port: int) -> object:
    httpx = pytest.importorskip("httpx")

    async def call() -> object:
        async with httpx.AsyncClient(timeout=SECONDS) as client:
            return await client.post(f"http://{host}:{port}/charge")

    return asyncio.run(call())


def _aiohttp(host: str, port: int) -> object:
    aiohttp = pytest.importorskip("aiohttp")
    limits = aiohttp.ClientTimeout(sock_connect=SECONDS, sock_read=SECONDS)

    async def call() -> object:
        async with aiohttp.ClientSession(timeout=limits) as session:
            return await session.post(f"http://{host}:{port}/charge")

    return asyncio.run(call())


def _redis(host: str, port: int) -> object:
    redis = pytest.importorskip("redis")
    backoff = pytest.importorskip("redis.backoff")
    retry = pytest.importorskip("redis.retry").Retry(backoff.NoBackoff(), 1)
    with redis.Redis(host, port, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, retry=retry) as client:
        return client.incr("charged")


def _redis_async(host: str, port: int) -> object:
    redis = pytest.importorskip("redis.asyncio")
    backoff = pytest.importorskip("redis.backoff")
    retry = pytest.importorskip("redis.asyncio.retry").Retry(backoff.NoBackoff(), 1)

    async def call() -> object:
        async with redis.Redis(
            host=host, port=port, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, retry=retry
        ) as client:
            return await client.incr("charged")

    return asyncio.run(call())


def _psycopg(host: str, port: int) -> object:
    psycopg = pytest.importorskip("psycopg")
    return psycopg.connect(host=host, port=port, user="shop", dbname="shop", connect_timeout=2)


def _psycopg2(host: str, port: int) -> object:
    psycopg2 = pytest.importorskip("psycopg2")
    return psycopg2.connect(host=host, port=port, user="shop", dbname="shop", connect_timeout=2)


def _asyncpg(host: str, port: int) -> object:
    asyncpg = pytest.importorskip("asyncpg")
    return asyncio.run(asyncpg.connect(host=host, port=port, user="shop", database="shop", ssl=False))


def _sqlalchemy(host: str, port: int) -> object:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    pytest.importorskip("psycopg")
    return sqlalchemy.create_engine(f"postgresql+psycopg://shop@{host}:{port}/shop?connect_timeout=2").connect()


def _pymysql(host: str, port: int) -> object:
    pymysql = pytest.importorskip("pymysql")
    return pymysql.connect(host=host, port=port, user="shop", connect_timeout=1, read_timeout=1)


def _pymongo(host: str, port: int) -> object:
    pymongo = pytest.importorskip("pymongo")
    with pymongo.MongoClient(host, port, serverSelectionTimeoutMS=200, connectTimeoutMS=200) as client:
        return client.shop.orders.insert_one({})


def _botocore(host: str, port: int) -> object:
    session = pytest.importorskip("botocore.session").get_session()
    config = pytest.importorskip("botocore.config").Config(
        connect_timeout=SECONDS, read_timeout=SECONDS, retries={"total_max_attempts": 1}
    )
    client = session.create_client(
        "sqs",
        region_name="eu-west-1",
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=config,
    )
    with contextlib.closing(client):
        return client.list_queues()


def _elastic(host: str, port: int) -> object:
    transport = pytest.importorskip("elastic_transport")
    node = transport.NodeConfig("http", host, port)
    with contextlib.closing(transport.Transport([node], max_retries=1)) as client:
        return client.perform_request("GET", "/", request_timeout=SECONDS)


def _smtp(host: str, port: int) -> object:
    import smtplib

    return smtplib.SMTP(host, port, timeout=SECONDS)


def _raised(call: Call, host: str, port: int) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011  which one it is, is what the test asks
        call(host, port)
    return caught.value


CLIENTS: list[Call] = [
    _requests,
    _urllib,
    _urllib3,
    _urllib3_retrying,
    _httpx,
    _httpx_async,
    _aiohttp,
    _redis,
    _redis_async,
    _psycopg,
    _psycopg2,
    _asyncpg,
    _sqlalchemy,
    _pymysql,
    _pymongo,
    _botocore,
    _elastic,
    _smtp,
]


def _named(call: Any) -> str:
    return str(call.__name__).lstrip("_")


@pytest.mark.parametrize("call", CLIENTS, ids=_named)
def test_refused(call: Call, refusing: int) -> None:
    assert connection_failure(_raised(call, "127.0.0.1", refusing)) is NEVER


@pytest.mark.parametrize("call", CLIENTS, ids=_named)
def test_unknown_host(call: Call) -> None:
    assert connection_failure(_raised(call, UNKNOWN_HOST, 1)) is NEVER


#: Those that tell a time-out while connecting from one while waiting for the answer.
TELLING = [_requests, _urllib3, _urllib3_retrying, _httpx, _httpx_async, _aiohttp, _redis, _redis_async, _botocore]


@pytest.mark.parametrize("call", TELLING, ids=_named)
def test_connect_timeout(call: Call, full: int) -> None:
    assert connection_failure(_raised(call, "127.0.0.1", full)) is NEVER


HTTP = [_requests, _urllib, _urllib3, _urllib3_retrying, _httpx, _httpx_async, _aiohttp, _botocore, _elastic]


@pytest.mark.parametrize("call", [*HTTP, _redis, _redis_async], ids=_named)
def test_read_timeout(call: Call, silent: int) -> None:
    assert connection_failure(_raised(call, "127.0.0.1", silent)) is LOST


@pytest.mark.parametrize("call", [*HTTP, _redis, _redis_async], ids=_named)
def test_lost_answer(call: Call, hanging_up: int) -> None:
    assert connection_failure(_raised(call, "127.0.0.1", hanging_up)) is LOST


def test_exhausted_pools_have_sent_nothing(silent: int) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine(
        "sqlite://", poolclass=sqlalchemy.QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.05
    )
    with engine.connect():
        assert connection_failure(_raised(lambda *_: engine.connect(), "", 0)) is NEVER
    engine.dispose()


def test_httpx_pool_timeout(silent: int) -> None:
    httpx = pytest.importorskip("httpx")
    limits = httpx.Limits(max_connections=1)
    timeout = httpx.Timeout(5, pool=0.05)

    async def exhaust() -> None:
        async with httpx.AsyncClient(limits=limits, timeout=timeout) as client:
            first = asyncio.ensure_future(client.get(f"http://127.0.0.1:{silent}/"))
            await asyncio.sleep(0)
            try:
                await client.get(f"http://127.0.0.1:{silent}/")
            finally:
                first.cancel()

    assert connection_failure(_raised(lambda *_: asyncio.run(exhaust()), "", 0)) is NEVER


def test_asyncio_joins_several_addresses_into_one_error(refusing: int) -> None:
    async def connect() -> object:
        loop = asyncio.get_running_loop()

        async def two_addresses(*_: object, **__: object) -> list[tuple[Any, ...]]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, refusing)) for host in ("127.0.0.1", "127.0.0.2")
            ]

        loop.getaddrinfo = two_addresses  # type: ignore[method-assign]
        return await loop.create_connection(asyncio.Protocol, "shop.example", refusing)

    def call(*_: object) -> object:
        return asyncio.run(connect())

    error = _raised(call, "", 0)
    assert type(error) is OSError
    assert connection_failure(error) is NEVER


def test_a_bare_timeout_of_the_whole_call_is_ambiguous(silent: int) -> None:
    async def call() -> None:
        async def never() -> None:
            await asyncio.Event().wait()

        await asyncio.wait_for(never(), 0.01)

    assert connection_failure(_raised(lambda *_: asyncio.run(call()), "", 0)) is LOST


def test_django_carries_the_driver_as_its_cause(refusing: int) -> None:
    pytest.importorskip("psycopg")
    utils = pytest.importorskip("django.db.utils")
    error = utils.OperationalError("connection failed")
    error.__cause__ = _raised(_psycopg, "127.0.0.1", refusing)
    assert connection_failure(error) is NEVER


def test_an_answer_is_no_connection_failure() -> None:
    requests = pytest.importorskip("requests")
    response = requests.Response()
    response.status_code = 503

    def answered(*_: object) -> Awaitable[None] | None:
        return response.raise_for_status()  # type: ignore[no-any-return]

    assert connection_failure(_raised(answered, "", 0)) is None
