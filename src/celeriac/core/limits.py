"""Limits on what runs at once, and how often: what a task declares, and what its messages carry of it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from inspect import Signature
from typing import Any, NamedTuple

from celeriac.core.templates import ArgumentTemplate, KeyFunction, Origin, bind

OPTION = "limits"
#: Seconds of a rate that may be used at once: a worker does not look a thousand times a second.
_AT_ONCE = 0.1
_PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RATE = re.compile(r"(\d+)\s*/\s*([smhd])")
_MOST_LIMITS = 8
#: No SQL store reads this back out of JSON.
_NUL, _SHOWN_NUL = "\x00", "\\x00"
#: Of a packed limit; and what no number in it reaches.
_PARTS, _MOST = 5, 2**53


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most `slots` runs at the same time, over all workers; with a `key`, for each of its values.

    `key` is a template over the task's arguments (`"customer:{customer_id}"`) or a function of them. Tasks whose
    limits have the same `name` share their slots; without one the limit is its task's own. A run that dies gives its
    slot back when its lease is over. Raises ValueError for what cannot be meant.
    """

    slots: int
    key: str | KeyFunction | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if not _is_whole(self.slots):
            hint = "to stop a task for a while, pause it: celery -A <app> pause task <name>"
            raise ValueError(f"Concurrency({self.slots!r}): a whole number from 1; {hint}")
        _check_name(self)

    @property
    def rule(self) -> Rule:
        return Rule(slots=self.slots)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many starts in a time, over all workers: `Rate("100/m")`; with a `key`, for each of its values.

    The unit is one of s, m, h, d. Starts are spread over the time; `burst` is how many may come at once after a pause
    (by default what falls into a tenth of a second, at least 1), so that no stretch of the unit's length sees more than
    the number and the burst together. A run that is repeated counts again. `key` and `name` as in `Concurrency`.
    Raises ValueError for what cannot be meant.
    """

    rate: str
    key: str | KeyFunction | None = None
    name: str | None = None
    burst: int | None = None

    def __post_init__(self) -> None:
        count, _ = self._parsed()
        if self.burst is not None and not (_is_whole(self.burst) and self.burst <= count):
            raise ValueError(f"Rate({self.rate!r}, burst={self.burst!r}): a whole number from 1 to {count}")
        _check_name(self)

    def _parsed(self) -> tuple[int, float]:
        found = _RATE.fullmatch(_text(self.rate))
        if found is None:
            raise ValueError(f'Rate({self.rate!r}): a number a unit of time, as "100/m"; the units are s, m, h and d')
        if int(found[1]) < 1:
            hint = "to stop a task for a while, pause it: celery -A <app> pause task <name>"
            raise ValueError(f"Rate({self.rate!r}): nothing would ever run; {hint}")
        return int(found[1]), _PERIODS[found[2]]

    @property
    def rule(self) -> Rule:
        count, period = self._parsed()
        return Rule(every=period / count, burst=self.burst or max(1, math.ceil(count * _AT_ONCE / period)))


@dataclass(frozen=True, slots=True)
class FairShare:
    """No limit, but turns: a worker takes one task of each value of `key`, over and over.

    So one customer's hundred thousand tasks do not keep another's ten waiting. The other limits with a key do the same.
    """

    key: str | KeyFunction
    name: str | None = None

    def __post_init__(self) -> None:
        _check_name(self)

    @property
    def rule(self) -> Rule:
        return Rule()


Limit = Concurrency | Rate | FairShare


def _check_name(limit: Limit) -> None:
    if limit.name is None:
        return
    text = _text(limit.name)
    if not text.strip() or not text.isprintable():
        raise ValueError(f"{type(limit).__name__}(name={limit.name!r}): a printable text that is not empty")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


class Rule(NamedTuple):
    """The numbers of a limit: `slots` at once; a start `every` so many seconds, `burst` of them at once."""

    slots: int | None = None
    every: float | None = None
    burst: int = 1


class Bound(NamedTuple):
    """One limit as a message carries it: the limit's name, the value of its key, and its numbers."""

    name: str
    value: str
    rule: Rule

    @property
    def bucket(self) -> str:
        """What those that share the limit have in common."""
        return f"{self.name}\x1f{self.value}"


def pack(bounds: Iterable[Bound]) -> str:
    """The same text for the same limits: a lane is found by it."""
    ordered = [[bound.name, bound.value, *bound.rule] for bound in sorted(bounds)]
    return json.dumps(ordered, separators=(",", ":"), ensure_ascii=False)


def unpack(text: str) -> list[Bound]:
    """What `pack` made."""
    return [Bound(name, value, Rule(*rule)) for name, value, *rule in json.loads(text)]


def as_written(text: object) -> str | None:
    """A message's limits, if `pack` can have made them; None for what else a message may bring.

    What a claim cannot read would stop all claims from its queue.
    """
    return text if isinstance(text, str) and _is_packed(text) else None


@lru_cache(maxsize=1024)
def _is_packed(text: str) -> bool:
    try:
        given = json.loads(text)
        bounds = [Bound(name, value, Rule(*rule)) for name, value, *rule in given]
        plain = all(type(one) is list and len(one) == _PARTS for one in given)
        return (
            plain and bool(bounds) and all(map(_is_sound, bounds)) and len({one.bucket for one in bounds}) == len(given)
        )
    except (ValueError, TypeError, RecursionError):
        return False


def _is_sound(bound: Bound) -> bool:
    """Whether every store can count it; raises ValueError for half a character."""
    slots, every, burst = bound.rule
    texts = all(isinstance(text, str) for text in bound[:2]) and _NUL.encode() not in bound.bucket.encode()
    paced = every is None or (type(every) in (int, float) and 0 < every <= _PERIODS["d"])
    numbers = [burst] if slots is None else [burst, slots]
    return texts and paced and all(_is_whole(number) and number < _MOST for number in numbers)


class Limits:
    """A task's limits, checked where it is declared.

    Raises:
        OptionError: naming the limit that cannot work, and why.
    """

    def __init__(self, task: str, declared: object, signature: Signature) -> None:
        self._task, self._signature = task, signature
        origin = Origin(task, OPTION)
        self._limits = compiled(origin, as_limits(origin, declared), signature)

    @property
    def rules(self) -> dict[str, Rule]:
        """Their numbers, by name."""
        return {limit.name: limit.rule for limit in self._limits}

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
        """What this call's message carries; None where nothing is limited. Raises `ArgumentError`."""
        if not self._limits:
            return None
        arguments = bind(self._task, self._signature, args, kwargs).arguments
        return pack([limit.bind(arguments) for limit in self._limits])


def as_limits(origin: Origin, declared: object) -> list[Limit]:
    """What is declared, one or a list. Raises the origin's error."""
    given = (declared,) if isinstance(declared, Limit) else declared
    if not isinstance(given, (list, tuple)) or not all(isinstance(one, Limit) for one in given):
        raise origin.wrong(f"{declared!r} is no list of Concurrency(...), Rate(...) and FairShare(...)")
    if len(given) > _MOST_LIMITS:
        raise origin.wrong(f"{len(given)} limits are too many; {_MOST_LIMITS} can be combined")
    return list(given)


def compiled(origin: Origin, limits: Sequence[Limit], signature: Signature) -> list[Compiled]:
    """The limits with their keys made for calls of this signature. Raises the origin's error."""
    found = [Compiled(origin, limit, signature) for limit in limits]
    names = [limit.name for limit in found]
    for name in names:
        if names.count(name) > 1:
            raise origin.wrong(f"two limits have the name {name!r}; give one of them a name of its own")
    return found


class Named:
    """A limit under its name."""

    def __init__(self, origin: Origin, limit: Limit) -> None:
        self.rule = limit.rule
        owner = origin.task if origin.queue is None else f"queue {origin.queue}"
        kind = type(limit).__name__
        shown = limit.key if isinstance(limit.key, str) else getattr(limit.key, "__qualname__", "")
        name = limit.name or " ".join(part for part in (owner, kind.lower(), shown) if part)
        self.name = name.replace(_NUL, _SHOWN_NUL)


class Compiled(Named):
    """A limit that says of a call what it counts for."""

    def __init__(self, origin: Origin, limit: Limit, signature: Signature) -> None:
        super().__init__(origin, limit)
        origin = origin._replace(what=f"the key of its {type(limit).__name__}")
        self._template = None if limit.key is None else ArgumentTemplate(origin, limit.key, signature)

    def bind(self, arguments: Mapping[str, Any]) -> Bound:
        value = "" if self._template is None else self._template.of(arguments)
        return Bound(self.name, value.replace(_NUL, _SHOWN_NUL), self.rule)


def joined(limits: str | None, bounds: Iterable[Bound]) -> str | None:
    """A message's limits, and these of its queue; one that both have is one."""
    known = {(bound.name, bound.value): bound for bound in bounds}
    known |= {(bound.name, bound.value): bound for bound in (unpack(limits) if limits else ())}
    return pack(known.values()) if known else None


def combined(rules: Mapping[str, Rule], declared: Mapping[str, Rule], origin: Origin) -> dict[str, Rule]:
    """All limits by name. Raises the origin's error where a name stands for two things."""
    for name, rule in declared.items():
        known = rules.get(name)
        if known is not None and known != rule:
            problem = f"the name {name!r} stands for other numbers ({known}, here {rule}); those that share a limit give the same"
            raise origin.wrong(problem)
    return {**rules, **declared}


def with_rule(bound: Bound, rules: Mapping[str, Rule]) -> Bound:
    """The limit with the numbers that are declared now: a deploy changes them for what waits, too."""
    rule = rules.get(bound.name)
    return bound if rule is None or rule == bound.rule else bound._replace(rule=rule)
