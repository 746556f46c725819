"""A task's arguments in a few letters, as a workflow keeps them: so that members of one task are told apart.

What Celery is told to show instead of them (``argsrepr``, ``kwargsrepr``) is shown here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from reprlib import Repr
from typing import Any

#: Letters that are kept of them.
MOST = 40
_short = Repr()
_short.maxstring = _short.maxother = _short.maxlong = 24
_short.maxlevel = _short.maxdict = _short.maxlist = _short.maxtuple = _short.maxset = 3
#: Types whose `repr` is short.
_SMALL = (int, float, bool, type(None))
_LARGE = 10**12
#: Celery's tasks that call one of the app's with each of what they are given.
_EACH = ("celery.map", "celery.starmap")


def shown_arguments(
    task: str, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, options: Mapping[str, Any]
) -> str:
    """Such as ``(3, day='monday')``, at most `MOST` letters of it; nothing where there are none."""
    if task in _EACH and kwargs:
        kwargs = {"it": kwargs.get("it")}
    parts, left = [], MOST
    for part in (*_args(args, options.get("argsrepr")), *_kwargs(kwargs, options.get("kwargsrepr"))):
        parts.append(part)
        left -= len(part) + 2
        if left < 0:
            break
    text = ", ".join(parts)
    if len(text) > MOST - 2:
        text = f"{text[: MOST - 3]}…"
    return f"({text})" if text else ""


def _args(args: Sequence[Any] | None, instead: Any) -> Iterator[str]:
    if instead is not None:
        yield from _instead(instead, "(,)")
    elif args:
        yield from map(_one, args)


def _kwargs(kwargs: Mapping[str, Any] | None, instead: Any) -> Iterator[str]:
    if instead is not None:
        yield from _instead(instead, "{}")
    elif kwargs:
        yield from (f"{name}={_one(value)}" for name, value in kwargs.items())


def _instead(text: Any, brackets: str) -> Iterator[str]:
    """What the sender shows; what stands in brackets already gets no others, and of none there is nothing."""
    said = _harmless(str(text)).strip()
    if said[:1] == brackets[0] and said[-1:] == brackets[-1]:
        said = said[1:-1].rstrip(",")
    if said:
        yield said


def _one(value: Any) -> str:
    if type(value) in _SMALL and (type(value) is not int or -_LARGE < value < _LARGE):
        return repr(value)
    if type(value) is str and len(value) < _short.maxstring:
        return repr(value)
    try:
        return _harmless(_short.repr(value))
    except Exception:  # noqa: BLE001  # somebody's own `__repr__`, or a number of too many digits: it is sent all the same
        return f"<{type(value).__name__}>"


def _harmless(text: str) -> str:
    """Without what not every store takes."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)
