"""A circuit breaker as a task declares it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from celeriac.core.retries import Predicate, any_exception
from celeriac.errors import OptionError

OPTION = "circuits"
#: Slices of the window: the oldest is forgotten as a whole.
SLICES = 10
#: Seconds of any of its times, at most.
LONGEST = 7 * 86_400.0
_MOST_CIRCUITS = 8


@dataclass(frozen=True, slots=True)
class Circuit:
    """A circuit breaker for one thing that tasks depend on, with one state for all workers.

    It opens when, of the calls that ended within the last `window` seconds, `minimum` or more, a share of `failures` (0
    to 1) or more has failed. After `open_for` seconds it lets `probes` calls through: when all of them succeed it closes,
    when one fails it is open again. A probe that was not heard of for `open_for` seconds makes room for another. `on`
    says which errors are failures of the thing, and not of the caller: exception types, or a function of the error;
    every `Exception` by default. Raises ValueError or TypeError for what cannot be meant.
    """

    name: str
    failures: float = 0.5
    window: float = 60.0
    minimum: int = 10
    open_for: float = 30.0
    probes: int = 1
    on: Predicate | type[BaseException] | tuple[type[BaseException], ...] = any_exception

    def __post_init__(self) -> None:
        name: object = self.name
        if not (isinstance(name, str) and name.strip() and name.isprintable()):
            raise ValueError(f"Circuit({self.name!r}): a printable name that is not empty, as of what it protects")
        if not (_is_number(self.failures) and 0 < self.failures <= 1):
            raise self._refused("failures", "a share of the calls, over 0 and up to 1; 0.5 is every second one")
        for option in ("window", "open_for"):
            value = getattr(self, option)
            if not (_is_number(value) and 0 < value <= LONGEST):
                raise self._refused(option, "seconds, over 0 and up to a week")
        for option in ("minimum", "probes"):
            if not _is_count(getattr(self, option)):
                raise self._refused(option, "a whole number from 1")
        kinds = self.on if isinstance(self.on, tuple) else (self.on,)
        typed = all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds)
        if not kinds or not (typed or (callable(self.on) and not isinstance(self.on, type))):
            raise TypeError(
                f"Circuit({self.name!r}, on={self.on!r}): exception types, or a function of the error that returns a bool"
            )

    def _refused(self, option: str, meant: str) -> ValueError:
        return ValueError(f"Circuit({self.name!r}, {option}={getattr(self, option)!r}): {meant}")

    def counts(self, error: BaseException) -> bool:
        """Whether this error is a failure of what the circuit protects."""
        on = self.on
        return isinstance(error, on) if isinstance(on, (type, tuple)) else bool(on(error))

    @property
    def width(self) -> float:
        """Seconds of a slice of the window."""
        return self.window / SLICES

    @property
    def numbers(self) -> str:
        """What it opens and closes by, as a text that others can be compared with."""
        return ", ".join(f"{name}={getattr(self, name):g}" for name in _NUMBERS)


_NUMBERS = ("failures", "window", "minimum", "open_for", "probes")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def declared(task: str, option: object, known: Mapping[str, Circuit]) -> tuple[Circuit, ...]:
    """The circuits that a task's ``circuits=`` stands for; ``known`` are those of the app's other tasks, by name.

    Raises:
        OptionError: it is no list of circuits, or one of them contradicts another of its name.
    """
    given = (option,) if isinstance(option, Circuit) else option
    if not isinstance(given, (list, tuple)) or not all(isinstance(one, Circuit) for one in given):
        raise OptionError(task, OPTION, f'{option!r} is no list of Circuit("name", …)')
    if len(given) > _MOST_CIRCUITS:
        raise OptionError(task, OPTION, f"{len(given)} circuits are too many; {_MOST_CIRCUITS} can be combined")
    names = [one.name for one in given]
    for one in given:
        if names.count(one.name) > 1:
            raise OptionError(task, OPTION, f"two circuits have the name {one.name!r}; leave one of them out")
        if known.get(one.name, one) != one:
            problem = (
                f"elsewhere {one.name!r} is {known[one.name]}, and here {one}; make it one value, and name that in both"
            )
            raise OptionError(task, OPTION, problem)
    return tuple(given)
