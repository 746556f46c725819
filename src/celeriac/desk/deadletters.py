"""``app.dead_letters``: the desk in Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypedDict

from celeriac.core.attempt import DeadLetter, DeadLetterFilter
from celeriac.core.desk import Action, By, ErrorGroup
from celeriac.core.rates import per_second
from celeriac.desk import dropping, export, redrive
from celeriac.desk.choosing import ArgumentFilter, Choice
from celeriac.desk.editing import Edit
from celeriac.desk.steps import Done
from celeriac.desk.who import whoami
from celeriac.store.protocols import Store

if TYPE_CHECKING:
    from typing_extensions import Unpack

File = str | PathLike[str] | IO[str]


class Filter(TypedDict, total=False):
    """Which dead letters; every given condition must hold.

    ``task`` and ``queue`` are names or globs; ``error`` is a part of the error's type or text; ``fingerprint`` is of a group;
    ``argument`` is ``"order_id=7"``, or a text in the arguments; ages are in seconds; ``acknowledged`` is False unless given,
    None for either kind.
    """

    task: str
    queue: str
    error: str
    fingerprint: str
    argument: str
    older_than: float
    newer_than: float
    acknowledged: bool | None


class DeadLetters:
    """The tasks that gave up: looked at, acknowledged, redriven, purged, exported and imported.

    What is asked for by ids, of dead letters or of tasks, is meant whether it is acknowledged or not. Every method that
    changes something says who does it, ``user@host`` unless told otherwise, in the log.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    @property
    def _store(self) -> Store:
        store: Store = self._app.store
        return store

    def _chosen(self, ids: Sequence[int | str], conditions: Filter) -> DeadLetterFilter:
        given: dict[str, Any] = dict(conditions)
        argument = given.pop("argument", None)
        choice = Choice(tuple(map(str, ids)), argument=argument and ArgumentFilter.parse(argument), **given)
        return choice.look_up(self._app, self._store)

    def _named(self, what: str, ids: Sequence[int | str], conditions: Filter) -> DeadLetterFilter:
        if not ids and not set(conditions) - {"acknowledged"}:
            raise ValueError(
                f"which dead letters are to be {what}? Give ids or a filter such as task='shop.*'; task='*' means all"
            )
        return self._chosen(ids, conditions)

    # -- looking

    def __iter__(self) -> Iterator[DeadLetter]:
        return self.find()

    def find(self, *ids: int | str, newest: int | None = None, **conditions: Unpack[Filter]) -> Iterator[DeadLetter]:
        """Those that match, or the ``newest`` so many of them, oldest first, with every attempt.

        Raises:
            UnknownDeadLetter: an id is nobody's.
        """
        return self._store.dead_letters(self._chosen(ids, conditions), newest=newest)

    def count(self, **conditions: Unpack[Filter]) -> int:
        """How many match."""
        return self._store.count_dead_letters(self._chosen((), conditions))

    def groups(self, **conditions: Unpack[Filter]) -> list[ErrorGroup]:
        """Those that match by the kind of their error, the largest group first."""
        return self._store.error_groups(self._chosen((), conditions))

    def log(self, task_id: str | None = None, *, newest: int = 200) -> list[Action]:
        """What was done, by whom and when: the newest so many lines, or one task's, oldest first."""
        return self._store.actions(task_id, newest=newest)

    # -- acting

    def redrive(
        self,
        *ids: int | str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        values: Mapping[str, Any] | None = None,
        to: str | None = None,
        rate: str | float | None = None,
        ignore_expiry: bool = False,
        alone: bool = False,
        from_start: bool = False,
        dry_run: bool = False,
        who: str | None = None,
        note: str | None = None,
        **conditions: Unpack[Filter],
    ) -> Done:
        """Send them again, oldest first; what is refused stays, and says why.

        Args:
            ids: of dead letters or of tasks.
            args: all positional arguments anew.
            kwargs: all keyword arguments anew.
            values: single arguments by name.
            to: another queue than the one each was in.
            rate: no more than so many, ``"100/m"`` or a number a second.
            ignore_expiry: also those past their ``expires``, which is dropped.
            alone: also members of chords that are not known any more, without these.
            from_start: long tasks begin anew; otherwise they go on from their checkpoints.
            dry_run: send nothing; whether keys are free is not found out.
            who: ``user@host`` of this process unless given.
            note: goes into the log.
            conditions: a filter.

        Raises:
            UnknownDeadLetter, UnknownQueue, ValueError: nothing was sent.
        """
        how = redrive.How(Edit(args, kwargs, values or {}), to, per_second(rate), ignore_expiry, alone, from_start)
        chosen = self._named("redriven", ids, conditions)
        return Done.of(redrive.redrive(self._app, chosen, _by(who, note), how, dry_run=dry_run))

    def acknowledge(
        self, *ids: int | str, note: str | None = None, who: str | None = None, **conditions: Unpack[Filter]
    ) -> Done:
        """Take note of them: they leave the list that is shown by default."""
        chosen = self._named("acknowledged", ids, conditions)
        return Done.of(dropping.acknowledge(self._store, chosen, _by(who, note)))

    def reopen(
        self, *ids: int | str, note: str | None = None, who: str | None = None, **conditions: Unpack[Filter]
    ) -> Done:
        """Put acknowledged ones back on that list."""
        conditions.setdefault("acknowledged", True)
        chosen = self._named("reopened", ids, conditions)
        return Done.of(dropping.reopen(self._store, chosen, _by(who, note)))

    def purge(
        self, *ids: int | str, note: str | None = None, who: str | None = None, **conditions: Unpack[Filter]
    ) -> Done:
        """Drop them for good."""
        chosen = self._named("purged", ids, conditions)
        return Done.of(dropping.purge(self._store, chosen, _by(who, note)))

    # -- away and back

    def export(self, file: File, *ids: int | str, who: str | None = None, **conditions: Unpack[Filter]) -> int:
        """Write them to a file, one line of JSON each; returns how many. They stay where they are."""
        chosen = self._chosen(ids, conditions)
        with _opened(file, "w") as into:
            return export.export(self._store, chosen, into, _by(who, None))

    def import_(self, file: File, *, partial: bool = False, who: str | None = None, note: str | None = None) -> Done:
        """Add those of an export that are not known; ``gone`` counts the others.

        Raises:
            DamagedExport: naming the line; nothing was imported.
        """
        with _opened(file, "r") as source:
            return Done.of(export.import_(self._store, source, _by(who, note), partial=partial))


def _by(who: str | None, note: str | None) -> By:
    return By(who or whoami(), note)


def _opened(file: File, mode: str) -> AbstractContextManager[IO[str]]:
    if isinstance(file, (str, PathLike)):
        return Path(file).open(mode, encoding="utf-8", errors="surrogateescape" if mode == "r" else None)
    return nullcontext(file)
