"""`celery -A app revoke`: what would be revoked, what was, and what it does not mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery.bin.base import CLIContext
from click.testing import CliRunner, Result

from celeriac import Celery
from celeriac.cli.revoke import SHOWN, revoke

Invoke = Callable[..., Result]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    made = Celery("shop", broker=f"sqlite:///{tmp_path}/shop.db", set_as_current=False)

    @made.task(shared=False, name="shop.mail")
    def mail(to: str) -> None: ...

    yield made
    made.store.close()


@pytest.fixture
def invoke(app: Celery) -> Invoke:
    def run(*arguments: str, on: Celery = app, answer: str | None = None) -> Result:
        return CliRunner().invoke(revoke, arguments, input=answer, obj=CLIContext(app=on, no_color=True, workdir=None))

    return run


def test_a_dry_run_shows_what_matches(app: Celery, invoke: Invoke) -> None:
    sent = [app.tasks["shop.mail"].delay(f"c{number}@x.org") for number in range(SHOWN + 2)]
    heads, *lines = invoke("--task", "shop.*", "--dry-run").output.splitlines()
    assert heads.split() == ["TASK", "ID", "SENT", "QUEUE", "TASK"]
    assert lines[0].split() == [sent[0].id, "0s", "ago", "celery", "shop.mail"]
    assert lines[SHOWN:] == ["… and 2 more", "", "22 tasks would be revoked; nothing was done"]
    found = json.loads(invoke("--argument", "to=c7@x.org", "--dry-run", "--json").output)
    assert found == {"matched": 1, "ids": [sent[7].id]}
    assert len(list(app.waiting.find(task="*"))) == SHOWN + 2


def test_it_is_asked_first(app: Celery, invoke: Invoke) -> None:
    app.tasks["shop.mail"].delay("c@x.org")
    for answer in ("n\n", ""):
        refused = invoke("--queue", "celery", answer=answer)
        assert refused.exit_code == 1
        assert f"Revoke 1 task in {app.store.location}?" in refused.output
        assert "Not confirmed, so nothing was revoked; --yes does it without a question" in refused.output
        assert len(list(app.waiting.find(task="*"))) == 1
    assert invoke("--queue", "celery", "-y").output == "1 task revoked\n"
    assert list(app.waiting.find(task="*")) == []


@pytest.mark.parametrize("options", [("--yes",), ("--dry-run",), ()])
def test_where_nothing_matches_it_says_so(app: Celery, invoke: Invoke, options: tuple[str, ...]) -> None:
    done = invoke("--task", "shop.mial", *options)
    assert (done.exit_code, done.output) == (0, f"Nothing that waits in {app.store.location} matches.\n")


def test_a_task_id_is_not_what_it_takes(app: Celery, invoke: Invoke) -> None:
    sent = app.tasks["shop.mail"].delay("c@x.org")
    done = invoke(sent.id, "--yes")
    assert done.exit_code == 2
    assert "control revoke ID" in done.output
    assert len(list(app.waiting.find(task="*"))) == 1


def test_without_a_condition_nothing_is_meant(invoke: Invoke) -> None:
    assert "Say what to revoke" in invoke("--yes").output
    assert "--queue is empty" in invoke("--queue", "", "--yes").output


def test_without_a_ledger_it_says_what_to_do(invoke: Invoke) -> None:
    done = invoke("--queue", "mail", on=Celery("shop", broker="redis://127.0.0.1:1/0", set_as_current=False))
    assert (done.exit_code, "keeps no ledger" in done.output) == (1, True)


def test_who_did_it_and_why_is_in_the_log(app: Celery, invoke: Invoke) -> None:
    for number in range(2):
        app.tasks["shop.mail"].delay(f"c{number}@x.org")
    invoke("--task", "shop.*", "--dry-run")
    invoke("--task", "shop.*", answer="n\n")
    assert app.store.actions() == []
    invoke("--task", "shop.*", "--older-than", "0s", "--as", "ada", "--note", "sent twice", "--yes")
    [line] = app.store.actions()
    assert (line.who, line.verb.value) == ("ada", "revoked")
    assert line.note == "2 tasks that waited: task shop.*, older than 0 s; sent twice"
