"""What a server said about coming back: the Retry-After of a 429 or 503.

The errors of the usual clients are known by the names in the method resolution order of their type, so that none of them
is imported; an error of one's own is looked through where it was raised `from` one of those.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

#: The statuses whose Retry-After says when the same request is welcome: too many requests, and out of service.
ASKING = frozenset({429, 503})
_SECONDS = re.compile(r"\d{1,12}(\.\d{1,12})?", re.ASCII)


class _Answer(NamedTuple):
    status: object
    headers: Any


def _of_response(error: Any) -> _Answer:
    response = getattr(error, "response", None)
    return _Answer(getattr(response, "status_code", None), getattr(response, "headers", None))


#: "module.QualName" of a client's error → where it has the answer.
ANSWERS: dict[str, Callable[[Any], _Answer]] = {
    "httpx.HTTPStatusError": _of_response,
    "requests.exceptions.RequestException": _of_response,
    "urllib.error.HTTPError": lambda error: _Answer(error.code, error.headers),
    "aiohttp.client_exceptions.ClientResponseError": lambda error: _Answer(error.status, error.headers),
}


def retry_after(error: BaseException, now: float) -> float | None:
    """Seconds to wait as the server asks; None where no 429 or 503 with a readable Retry-After is behind the error.

    `now` is in seconds since the epoch. A date is counted from the server's own, where its answer has one.
    """
    for answer in _answers(error):
        if answer.status in ASKING:
            found = _read(_header(answer, "Retry-After"), _header(answer, "Date"), now)
            if found is not None:
                return found
    return None


def _answers(error: BaseException) -> Iterator[_Answer]:
    """Of the error and of what it was raised from; chains of causes can be cyclic."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        for base in type(link).__mro__:
            finder = ANSWERS.get(f"{base.__module__}.{base.__qualname__}")
            if finder is not None:
                yield finder(link)
                break
        link = link.__cause__


def _header(answer: _Answer, name: str) -> str:
    # Case-insensitive in each of the clients; a plain dict of somebody's test double is not.
    found = None if answer.headers is None else answer.headers.get(name) or answer.headers.get(name.lower())
    return found.strip() if isinstance(found, str) else ""


def _read(text: str, date: str, now: float) -> float | None:
    if _SECONDS.fullmatch(text):
        return float(text)
    moment = _moment(text)
    if moment is None:
        return None
    # The server's clock may be off, and then both its dates are.
    there = _moment(date)
    return max(moment - (now if there is None else there), 0.0)


def _moment(text: str) -> float | None:
    """Seconds since the epoch of an HTTP date; None for anything else."""
    try:
        parsed = parsedate_to_datetime(text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
