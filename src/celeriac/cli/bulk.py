"""Doing one thing to many dead letters: asked first, seen while it runs, stopped at any time."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import click

from celeriac.cli.screen import echo, plural, to_json
from celeriac.cli.text import one_line
from celeriac.core.attempt import DeadLetter
from celeriac.desk.steps import Done, Refusal, Steps
from celeriac.errors import CeleriacError

#: Refusals written out; JSON has them all.
SHOWN = 20
#: Dead letters from which on it takes long enough to be watched.
WORTH_A_BAR = 100
#: What a shell expects of a command that Ctrl-C ended.
INTERRUPTED = 130


@dataclass(frozen=True)
class Action:
    """The words for what is done: ``redrive``, ``redriven``, ``Redriving``; whether it is only tried out.

    ``gone`` says of those that were not there any more, or already were.
    """

    verb: str
    participle: str
    label: str
    dry_run: bool = False
    gone: str = "already gone"
    thing: str = "dead letter"


@dataclass
class Tally:
    """What has been done so far, of how many that matched."""

    action: Action
    matched: int
    so_far: Done = field(default_factory=Done)
    stopped: bool = False
    failure: CeleriacError | None = None

    @property
    def refusals(self) -> list[Refusal]:
        return self.so_far.refused

    @property
    def left(self) -> int:
        """How many were not reached."""
        return max(self.matched - self.so_far.done - self.so_far.gone - len(self.refusals), 0)

    @property
    def exit_code(self) -> int:
        if self.stopped:
            return INTERRUPTED
        return 1 if (self.refusals and not self.action.dry_run) or self.failure else 0

    def text(self) -> str:
        """For people: ``12 redriven, 1 refused``."""
        would = "would be " if self.action.dry_run else ""
        parts = [f"{self.so_far.done:,} {would}{self.action.participle}"]
        parts += [f"{len(self.refusals):,} {would}refused"] if self.refusals else []
        parts += [f"{self.so_far.gone:,} {self.action.gone}"] if self.so_far.gone else []
        parts += [f"{self.left:,} not reached"] if self.stopped or self.failure else []
        return ", ".join(parts) + ("; nothing was done" if would else "")

    def data(self) -> dict[str, Any]:
        """For programs."""
        return {
            "dry_run": self.action.dry_run,
            "matched": self.matched,
            self.action.participle: self.so_far.done,
            "refused": [refusal_data(refusal) for refusal in self.refusals],
            "gone": self.so_far.gone,
            "left": self.left,
            "interrupted": self.stopped,
            "error": str(self.failure) if self.failure else None,
        }


def refusal_data(refusal: Refusal) -> dict[str, Any]:
    """For programs, which dead letter stays and why."""
    letter = refusal.letter
    return {
        "id": letter.id,
        "task_id": letter.task_id,
        "task": letter.name,
        "why": type(refusal.error).__name__,
        "error": str(refusal.error),
    }


def ask(question: str) -> None:
    """Go on only when the answer is yes.

    Raises:
        click.ClickException: it is no, or nobody is there to answer.
    """
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        agreed = False
        echo("", err=True)
    if not agreed:
        raise click.ClickException("Not confirmed, so nothing was done; --yes does it without a question")


def carry_out(steps: Steps, tally: Tally) -> None:
    """Take the steps until they end, Ctrl-C is pressed or the store fails; the tally says which."""
    with closing(steps), stoppable() as stopped, _progress(tally.matched, tally.action.label) as advance:
        try:
            for step in steps:
                advance(tally.so_far.add(step))
                if stopped():
                    tally.stopped = tally.left > 0
                    break
        except CeleriacError as error:
            tally.failure = error


def _progress(total: int, label: str) -> AbstractContextManager[Callable[[int], None]]:
    if total < WORTH_A_BAR or not sys.stderr.isatty():
        return nullcontext(lambda _: None)
    return _bar(total, label)


@contextmanager
def _bar(total: int, label: str) -> Iterator[Callable[[int], None]]:
    # Redrawn at most two hundred times: drawing costs more than redriving.
    with click.progressbar(length=total, label=label, file=sys.stderr, update_min_steps=max(total // 200, 1)) as bar:
        yield bar.update


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C was pressed, so that it falls between two steps.

    A second Ctrl-C interrupts at once.
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set  # only the main thread hears signals
        return

    def note(*_: object) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def report(tally: Tally, *, as_json: bool) -> None:
    """Say what was done and leave with the exit code that goes with it."""
    if as_json:
        echo(to_json(tally.data()))
    else:
        _tell(tally)
    if tally.failure is not None:
        raise click.ClickException(one_line(str(tally.failure)))
    raise click.exceptions.Exit(tally.exit_code)


def _tell(tally: Tally) -> None:
    for refusal in tally.refusals[:SHOWN]:
        echo(click.style("refused ", fg="yellow") + one_line(str(refusal.error)), err=True)
    hidden = len(tally.refusals) - SHOWN
    if hidden > 0:
        echo(f"and {plural(hidden)} more; --json names every one", err=True)
    _tell_of_earlier(tally.so_far.before)
    echo(("Stopped: " if tally.stopped else "") + tally.text())


def _tell_of_earlier(letters: list[DeadLetter]) -> None:
    for letter in letters[:SHOWN]:
        said = f": {one_line(letter.note)}" if letter.note else ""
        who = one_line(letter.acked_by or "?")
        echo(
            f"dead letter {letter.id} was acknowledged before, by {who}{said}; `dead log {letter.id}` has it all",
            err=True,
        )
    if len(letters) > SHOWN:
        echo(f"and {plural(len(letters) - SHOWN)} more were acknowledged before", err=True)
