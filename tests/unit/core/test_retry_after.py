"""The Retry-After of real errors of real clients."""

from __future__ import annotations

import asyncio
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from celeriac.core.retry_after import retry_after

#: Sunday, 6 November 1994, 08:49:37 GMT, in the three forms that HTTP knows.
THEN = 784111777.0
DATES = ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]


class _Answering(BaseHTTPRequestHandler):
    answer: ClassVar[tuple[int, dict[str, str]]]

    def do_GET(self) -> None:
        status, headers = self.answer
        self.send_response_only(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answering", (_Answering,), {}))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _urllib(url: str) -> None:
    try:
        urllib.request.urlopen(url)
    except urllib.error.HTTPError as error:
        error.close()  # it is the answer, with its connection
        raise


def _httpx(url: str) -> None:
    import httpx

    httpx.get(url, trust_env=False).raise_for_status()


def _requests(url: str) -> None:
    import requests

    requests.get(url, timeout=10).raise_for_status()


def _aiohttp(url: str) -> None:
    import aiohttp

    async def get() -> None:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            answer.raise_for_status()

    asyncio.run(get())


CLIENTS = [_urllib, _httpx, _requests, _aiohttp]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"Retry-After": "7"}, 7.0),
        (503, {"retry-after": "7"}, 7.0),
        (503, {"Retry-After": "0"}, 0.0),
        (503, {"Retry-After": DATES[0]}, 60.0),
        (503, {"Retry-After": DATES[0], "Date": "Sun, 06 Nov 1994 08:49:07 GMT"}, 30.0),
        (503, {}, None),
        (503, {"Retry-After": "soon"}, None),
        (500, {"Retry-After": "7"}, None),
        (404, {"Retry-After": "7"}, None),
    ],
)
def test_what_a_server_asks(
    client: Callable[[str], None],
    server: Any,
    status: int,
    headers: dict[str, str],
    seconds: float | None,
) -> None:
    server.RequestHandlerClass.answer = (status, headers)
    with pytest.raises(Exception, match=str(status)) as caught:
        client(f"http://127.0.0.1:{server.server_port}/")
    assert retry_after(caught.value, THEN - 60) == seconds
    error = RuntimeError("an error of one's own")
    error.__cause__ = caught.value
    assert retry_after(error, THEN - 60) == seconds


def _error(headers: Any, code: int = 503) -> urllib.error.HTTPError:
    return urllib.error.HTTPError("http://shop", code, "busy", headers, None)


@pytest.mark.parametrize("date", DATES)
def test_dates(date: str) -> None:
    assert retry_after(_error({"Retry-After": date}), THEN - 30) == 30
    assert retry_after(_error({"Retry-After": date}), THEN + 30) == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 120 ", 120),
        ("1.5", 1.5),
        ("-1", None),
        ("1e3", None),
        ("0x10", None),
        ("", None),
        ("٣", None),
        ("9" * 12, 999999999999),
        ("9" * 400, None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 99999999 08:49:37 GMT", None),
        ("tomorrow at nine", None),
    ],
)
def test_what_is_written_there(text: str, seconds: float | None) -> None:
    assert retry_after(_error({"Retry-After": text}), THEN) == seconds


@pytest.mark.parametrize("headers", [None, {}, {"Retry-After": 7}])
def test_headers_that_are_not_there(headers: Any) -> None:
    assert retry_after(_error(headers), THEN) is None


def test_errors_of_no_answer() -> None:
    import requests

    assert retry_after(ValueError(), THEN) is None
    assert retry_after(requests.ConnectionError(), THEN) is None
    circle, other = ValueError(), ValueError()
    circle.__cause__, other.__cause__ = other, circle
    assert retry_after(circle, THEN) is None


def test_what_was_being_handled_is_not_the_cause() -> None:
    """A fallback failed while the primary's 503 was being handled: its own failure is what counts."""

    def call() -> None:
        try:
            raise _error({"Retry-After": "7"})
        except urllib.error.HTTPError:
            raise ValueError("the fallback has no such order")  # noqa: B904

    with pytest.raises(ValueError, match="the fallback") as caught:
        call()
    assert retry_after(caught.value, THEN) is None
