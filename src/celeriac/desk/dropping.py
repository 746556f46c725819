"""Dead letters acknowledged, opened again, purged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from celeriac.core.attempt import DeadLetter, DeadLetterFilter
from celeriac.core.desk import By
from celeriac.desk.choosing import as_of
from celeriac.desk.steps import Step, Steps, pages
from celeriac.store.protocols import DeadLetters

Change = Callable[[Sequence[int], By], int]


def purge(store: DeadLetters, chosen: DeadLetterFilter, by: By, *, dry_run: bool = False) -> Steps:
    """Drop what matches, a page a transaction and step; what fails in the meantime is left alone."""
    return _each_page(store, chosen, by, store.purge_dead_letters, dry_run=dry_run)


def acknowledge(store: DeadLetters, chosen: DeadLetterFilter, by: By, *, dry_run: bool = False) -> Steps:
    """Mark what matches as known, with the note; the steps say which were known before, and what was said of them."""
    return _each_page(store, chosen, by, store.acknowledge_dead_letters, _is_acknowledged, dry_run=dry_run)


def reopen(store: DeadLetters, chosen: DeadLetterFilter, by: By, *, dry_run: bool = False) -> Steps:
    """Take that mark away."""
    return _each_page(store, chosen, by, store.reopen_dead_letters, dry_run=dry_run)


def _is_acknowledged(letter: DeadLetter) -> bool:
    return letter.acked_at is not None


def _each_page(
    store: DeadLetters,
    chosen: DeadLetterFilter,
    by: By,
    change: Change,
    done_before: Callable[[DeadLetter], bool] = lambda _: False,
    *,
    dry_run: bool,
) -> Steps:
    frozen = as_of(chosen, 0.0)
    if dry_run:
        yield Step(done=store.count_dead_letters(frozen))
        return
    for page in pages(store.dead_letters(frozen)):
        done = change([letter.id for letter in page], by)
        yield Step(done=done, gone=len(page) - done, before=list(filter(done_before, page)))
