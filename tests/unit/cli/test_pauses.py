"""`celery -A app pause`, `resume`, `pauses`: what they say, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from celery.bin.base import CLIContext
from click.testing import CliRunner, Result

from celeriac import Celery
from celeriac.cli.pauses import pause, pauses, resume

Invoke = Callable[..., Result]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    made = Celery("shop", broker=f"sqlite:///{tmp_path}/shop.db", set_as_current=False)

    @made.task(shared=False, name="shop.mail")
    def mail() -> None: ...

    yield made
    made.store.close()


@pytest.fixture
def invoke(app: Celery, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.delenv("CELERY_APP", raising=False)
    monkeypatch.setattr("sys.argv", ["celery", "-A", "orders"])

    def run(command: click.Command, *arguments: str, on: Celery = app) -> Result:
        return CliRunner().invoke(command, arguments, obj=CLIContext(app=on, no_color=True, workdir=None))

    return run


def test_a_pause_says_how_it_ends(invoke: Invoke) -> None:
    done = invoke(pause, "task", "shop.mail", "--note", "the server is down")
    assert done.output == (
        "Task shop.mail is paused. What runs goes on; what waits stays until\n  celery -A orders resume task shop.mail\n"
    )
    assert "was paused already: by " in invoke(pause, "task", "shop.mail").output
    heads, line = invoke(pauses).output.splitlines()
    assert heads.split() == ["PAUSED", "NAME", "SINCE", "WAITING", "BY", "NOTE"]
    assert line.startswith("task    shop.mail  0s ago        0  ")
    assert line.endswith("the server is down")
    assert invoke(resume, "task", "shop.mail").output == "Task shop.mail goes on.\n"
    assert invoke(pauses).output == "Nothing is paused.\n"


def test_a_name_that_nobody_knows_is_not_paused(invoke: Invoke) -> None:
    done = invoke(pause, "task", "shop.mial")
    assert done.exit_code == 2
    assert "the nearest is 'shop.mail'. Nothing was paused; --anyway pauses it all the same" in done.output
    assert json.loads(invoke(pauses, "--json").output) == []
    done = invoke(resume, "queue", "mail")
    assert (done.exit_code, "Queue mail is not paused" in done.output) == (2, True)


def test_a_queue_that_a_task_is_routed_to_is_known_before_anything_waits_there(app: Celery, invoke: Invoke) -> None:
    app.conf.task_routes = {"shop.mail": {"queue": "letters"}}
    assert "the nearest is 'letters'" in invoke(pause, "queue", "leters").output
    assert "Queue letters is paused" in invoke(pause, "queue", "letters").output


def test_tasks_of_modules_that_only_workers_import_are_known(
    tmp_path: Path, app: Celery, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "letters_of_the_shop.py").write_text(
        "from celery import current_app\n\n\n@current_app.task(name='letters.send')\ndef send() -> None: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    app.conf.include = ["letters_of_the_shop"]
    app.set_current()
    assert "Task letters.send is paused" in invoke(pause, "task", "letters.send").output


@pytest.mark.parametrize("command", [(pause, "queue", "mail"), (resume, "queue", "mail"), (pauses,)])
def test_without_a_ledger_it_says_what_to_do(invoke: Invoke, command: tuple[click.Command, str]) -> None:
    away = Celery("shop", broker="redis://:secret@127.0.0.1:1/0", set_as_current=False)
    done = invoke(*command, on=away)
    assert done.exit_code == 1
    assert "which keeps no ledger, and none is named beside it" in done.output
    assert 'Name one (ledger="postgresql://…")' in done.output
    assert "secret" not in done.output
