from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest

from celeriac.core.attempt import DeadLetterFilter
from celeriac.core.desk import By, Redrive
from celeriac.desk import choosing, dropping, redrive, steps
from celeriac.errors import DeadLetterError, StoreUnavailable

from .conftest import ME, Invoke, Shop


def summary(result: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(result.stdout)
    return document


# -- which are chosen, and the question before many


def test_nothing_chosen_is_not_everything(shop: Shop, cli: Invoke) -> None:
    shop.fail()
    for command in ("redrive", "purge"):
        for more in ([], ["--yes"], ["--dry-run"], ["--json", "--yes"]):
            result = cli(command, *more)
            assert result.exit_code == 2
            assert "--all" in result.stderr
            assert "--task" in result.stderr
    assert len(shop.letters()) == 1


def test_one_needs_no_question(shop: Shop, cli: Invoke) -> None:
    letter = shop.fail()
    assert cli("redrive", letter.task_id).exit_code == 0
    assert shop.letters() == []


@pytest.mark.parametrize("command", ["redrive", "purge"])
@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_without_a_yes_nothing_happens(shop: Shop, cli: Invoke, command: str, answer: str) -> None:
    ids = [shop.fail().id, shop.fail().id]
    result = cli(command, "--all", answer=answer)
    assert result.exit_code == 1
    assert f"{command.capitalize()} 2 dead letters in {shop.store.location}? [y/N]" in result.stderr
    assert "nothing was done" in result.stderr
    assert "--yes" in result.stderr
    assert shop.ids() == ids


@pytest.mark.parametrize(("arguments", "answer"), [([], "y\n"), (["--yes"], ""), (["-y"], "")])
def test_with_a_yes_all_of_them_go(shop: Shop, cli: Invoke, arguments: list[str], answer: str) -> None:
    for _ in range(3):
        shop.fail()
    result = cli("redrive", "--all", *arguments, answer=answer)
    assert (result.exit_code, result.stdout) == (0, "3 redriven\n")
    assert shop.letters() == []
    assert shop.store.size("payments") == 3


@pytest.mark.parametrize("command", ["redrive", "purge"])
def test_filters_and_ids_choose(shop: Shop, cli: Invoke, command: str) -> None:
    old = shop.fail("shop.charge", ago=7200)
    mail = shop.fail("shop.mail", ago=7200, queue="notifications")
    new = shop.fail("shop.charge")
    assert cli(command, "--task", "shop.charge", "--older-than", "1h").exit_code == 0
    assert shop.ids() == [mail.id, new.id]
    assert old.id not in shop.ids()
    result = cli(command, mail.id, new.task_id, "--queue", "notifications")
    assert result.exit_code == 0
    assert shop.ids() == [new.id], "an id does not overrule a filter"
    assert cli(command, "--task", "other.*").stdout == f"None of 1 dead letter in {shop.store.location} matches.\n"


@pytest.mark.parametrize("command", ["redrive", "purge"])
def test_an_unknown_id_stops_it_before_anything_is_done(shop: Shop, cli: Invoke, command: str) -> None:
    letter = shop.fail()
    result = cli(command, letter.id, 99, "no-such-task", "--yes")
    assert result.exit_code == 1
    assert "99, no-such-task" in result.stderr
    assert "Nothing was done" in result.stderr
    assert shop.ids() == [letter.id]


def test_nothing_there_is_no_error(shop: Shop, cli: Invoke) -> None:
    result = cli("redrive", "--all")
    assert (result.exit_code, result.stdout) == (0, f"No dead letters in {shop.store.location}.\n")
    assert summary(cli("redrive", "--all", "--json"))["matched"] == 0


@pytest.mark.parametrize("command", ["redrive", "purge"])
def test_a_dry_run_says_what_it_would_do_and_does_nothing(shop: Shop, cli: Invoke, command: str) -> None:
    letters = [shop.fail() for _ in range(25)]
    result = cli(command, "--all", "--dry-run")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[1].split()[0] == str(letters[0].id)
    assert lines[21] == "and 5 more"
    assert lines[-1] == f"25 would be {'redriven' if command == 'redrive' else 'purged'}; nothing was done"
    assert len(shop.letters()) == 25
    assert shop.store.size("payments") == 0


# -- while it runs


class Meddler:
    """Does something after so many transactions of a redrive."""

    def __init__(self, shop: Shop, after: int, what: Callable[[], Any]) -> None:
        self.redrive_all, self.after, self.what, self.calls = shop.store.redrive_all, after, what, 0

    def __call__(self, redrives: Sequence[Redrive]) -> list[DeadLetterError | None]:
        answers = self.redrive_all(redrives)
        self.calls += 1
        if self.calls == self.after:
            self.what()
        return answers


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redrive, "AT_ONCE", 1)


@pytest.mark.usefixtures("one_by_one")
def test_what_fails_again_meanwhile_is_not_sent_again(shop: Shop, cli: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [shop.fail().id for _ in range(3)]
    monkeypatch.setattr(shop.store, "redrive_all", Meddler(shop, 1, lambda: shop.bury(shop.claim())))
    assert cli("redrive", "--all", "--yes").stdout == "3 redriven\n"
    (failed_again,) = shop.letters()
    assert failed_again.id not in ids
    assert failed_again.generation == 1


def test_nor_by_those_who_use_the_functions(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "PAGE", 1)
    shop.fail()
    for count, step in enumerate(redrive.redrive(shop.app, DeadLetterFilter(), ME), 1):
        assert (step.done, count) == (1, 1), "it would go on for ever"
        shop.bury(shop.claim())
    assert len(shop.letters()) == 1


def test_what_failed_after_the_question_was_put_is_left_alone(
    shop: Shop, cli: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fail()
    shop.fail()

    def answer(*_: Any, **__: Any) -> bool:
        shop.store.seconds_ago = -3600.0  # an hour has passed at the prompt
        shop.fail(ago=-1800.0)
        shop.store.seconds_ago = -3600.0
        return True

    monkeypatch.setattr("celeriac.cli.bulk.click.confirm", answer)
    assert cli("purge", "--newer-than", "15m").stdout == "2 purged\n", "the age counts from when they were counted"
    assert len(shop.letters()) == 1


@pytest.mark.usefixtures("one_by_one")
def test_one_that_somebody_else_took_is_counted_apart(shop: Shop, cli: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [shop.fail().id for _ in range(3)]
    monkeypatch.setattr(
        shop.store, "redrive_all", Meddler(shop, 1, lambda: shop.store.purge_dead_letters([ids[1]], ME))
    )
    result = cli("redrive", "--all", "--yes")
    assert (result.exit_code, result.stdout) == (0, "2 redriven, 1 already gone\n")


@pytest.mark.usefixtures("one_by_one")
def test_ctrl_c_ends_it_between_two_and_says_how_far_it_came(
    shop: Shop, cli: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    for _ in range(5):
        shop.fail()
    monkeypatch.setattr(shop.store, "redrive_all", Meddler(shop, 2, lambda: signal.raise_signal(signal.SIGINT)))
    result = cli("redrive", "--all", "--yes")
    assert (result.exit_code, result.stdout) == (130, "Stopped: 2 redriven, 3 not reached\n")
    assert len(shop.letters()) == 3
    assert shop.store.size("payments") == 2
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("one_by_one")
def test_ctrl_c_after_the_last_one_changes_nothing(shop: Shop, cli: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.fail()
    shop.fail()
    monkeypatch.setattr(shop.store, "redrive_all", Meddler(shop, 2, lambda: signal.raise_signal(signal.SIGINT)))
    result = cli("redrive", "--all", "--yes")
    assert (result.exit_code, result.stdout) == (0, "2 redriven\n")


@pytest.fixture
def heeded() -> Iterator[None]:
    """Ctrl-C, which a shell has its background jobs ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded", "one_by_one")
def test_a_second_ctrl_c_does_not_wait(shop: Shop, cli: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second one was not heard")

    shop.fail()
    shop.fail()
    monkeypatch.setattr(shop.store, "redrive_all", Meddler(shop, 1, twice))
    assert cli("redrive", "--all", "--yes").exit_code == 1
    assert len(shop.letters()) == 1


@pytest.mark.usefixtures("one_by_one")
def test_a_store_that_fails_half_way_is_told_with_the_count(
    shop: Shop, cli: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise StoreUnavailable(shop.store.location, "database or disk is full")

    for _ in range(4):
        shop.fail()
    monkeypatch.setattr(shop.store, "redrive_all", Meddler(shop, 3, fail))
    result = cli("redrive", "--all", "--yes")
    assert (result.exit_code, result.stdout) == (1, "2 redriven, 2 not reached\n")
    assert "database or disk is full" in result.stderr


@pytest.mark.usefixtures("one_by_one")
def test_no_reader_holds_a_snapshot_meanwhile(shop: Shop) -> None:
    for _ in range(5):
        shop.fail()
    with closing(sqlite3.connect(shop.store.location)) as other:
        for step in redrive.redrive(shop.app, DeadLetterFilter(), ME):
            assert step.done == 1
            busy, *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            assert busy == 0, "a checkpoint that has to wait for a reader lets the log grow"


def test_many_go_in_one_transaction(shop: Shop, cli: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redrive, "AT_ONCE", 2)
    meddler = Meddler(shop, 2, lambda: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr(shop.store, "redrive_all", meddler)
    for _ in range(5):
        shop.fail()
    result = cli("redrive", "--all", "--yes")
    assert (result.exit_code, result.stdout) == (130, "Stopped: 4 redriven, 1 not reached\n")
    assert (len(shop.letters()), shop.store.size("payments"), meddler.calls) == (1, 4, 2)


def test_with_a_rate_each_has_its_own(shop: Shop, cli: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    meddler = Meddler(shop, 2, lambda: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr(shop.store, "redrive_all", meddler)
    for _ in range(3):
        shop.fail()
    result = cli("redrive", "--all", "--yes", "--rate", "1000/s")
    assert (result.exit_code, result.stdout) == (130, "Stopped: 2 redriven, 1 not reached\n")


def test_many_pages_are_all_sent(shop: Shop, cli: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "PAGE", 3)
    for _ in range(10):
        shop.fail()
    assert cli("redrive", "--all", "--yes").stdout == "10 redriven\n"
    assert shop.store.size("payments") == 10


# -- dropped for good


def test_purged_is_purged(shop: Shop, cli: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "PAGE", 3)
    kept = shop.fail("reports.nightly")
    for _ in range(7):
        shop.fail("shop.charge", ago=60)
    result = cli("purge", "--task", "shop.*", "--yes")
    assert (result.exit_code, result.stdout) == (0, "7 purged\n")
    assert shop.ids() == [kept.id]
    assert shop.store.size("payments") == 0
    assert summary(cli("purge", kept.id, "--json"))["purged"] == 1
    assert shop.letters() == []


def test_purging_counts_what_was_there(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = shop.fail(), shop.fail()
    purge = shop.store.purge_dead_letters

    def late(ids: list[int], by: By) -> int:
        purge([first.id], by)
        return purge(ids, by)

    monkeypatch.setattr(shop.store, "purge_dead_letters", late)
    (step,) = dropping.purge(shop.store, DeadLetterFilter(), ME)
    assert (step.done, step.gone) == (1, 1)
    assert second.id not in shop.ids()


def test_a_filter_as_of_a_moment_keeps_what_it_meant_then() -> None:
    chosen = DeadLetterFilter(task="a", older_than=10.0, newer_than=100.0)
    assert choosing.as_of(chosen, 5.0) == DeadLetterFilter(task="a", older_than=15.0, newer_than=105.0)
    assert choosing.as_of(DeadLetterFilter(), 5.0) == DeadLetterFilter(older_than=5.0)
    assert choosing.as_of(DeadLetterFilter(), -5.0) == DeadLetterFilter(older_than=0.0), "a clock was set back"
