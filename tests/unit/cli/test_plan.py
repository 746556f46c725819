"""The plan of an app: read from its declarations, on every terminal."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import celery
import pytest
from celery.bin.base import CLIContext
from click.testing import CliRunner, Result

from celeriac import Celery, Concurrency, FairShare, Queue, Rate
from celeriac.cli.plan import plan
from celeriac.publish import plan as plans

Invoke = Callable[..., Result]
QUEUES = [
    Queue("critical", order="strict", time_limit=60, soft_time_limit=50),
    Queue("default", weight=3),
    Queue("mail", weight=1, limits=[Rate("100/m"), Concurrency(5, key="{task}", name="smtp")]),
    Queue("gateway", concurrency=2, prefetch=1, priority=5),
    Queue("slow.one", concurrency=1),
]


def by_tenant(*_: Any, **__: Any) -> None:
    """A route that only a call can ask."""


def nothing() -> None: ...


def of(parcel: int) -> None: ...


def shop(tmp_path: Path, broker: str | None = None, **conf: Any) -> Celery:
    app = Celery("shop", broker=broker or f"sqlite:///{tmp_path}/none/of/this/is/there.db", set_as_current=False)
    app.conf.update({"task_queues": QUEUES, "task_default_queue": "default", **conf})
    for name in ("parcels.charge", "parcels.refund", "parcels.mail"):
        app.task(name=name, shared=False)(nothing)
    app.task(name="parcels.report", shared=False, limits=FairShare("{parcel}"))(of)
    return app


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.setenv("CELERY_APP", "shop")
    monkeypatch.setattr("sys.argv", ["celery"])
    monkeypatch.setattr(
        plans, "tasks_of", lambda app: [app.tasks[n] for n in sorted(app.tasks) if n.startswith("parcels")]
    )

    def invoke(app: Any, *arguments: str) -> Result:
        return CliRunner().invoke(plan, arguments, obj=CLIContext(app=app, no_color=False, workdir=None))

    return invoke


ROUTES = {"parcels.[cr]*": "gateway", "parcels.mail": {"queue": "mail"}, re.compile("nothing"): "default"}


def test_the_page_says_it_all_and_needs_no_broker(tmp_path: Path, show: Invoke) -> None:
    app = shop(tmp_path, task_routes={"parcels.mail": "mail", "*.charge": "gateway"}, beat_schedule=NIGHTLY)
    result = show(app)
    assert result.exit_code == 0, result.output
    blocks = [
        [re.split(r"\s{2,}", line.strip()) for line in block.splitlines()] for block in result.output.split("\n\n")
    ]
    assert blocks[0] == [
        ["QUEUE", "TASKS", "SHARE", "CONCURRENCY", "PREFETCH", "TIME LIMIT", "PRIORITY"],
        ["critical", "0", "strict", "-", "-", "60 s (soft 50 s)", "-"],
        ["default", "2", "weight 3", "-", "-", "-", "-"],
        ["mail", "1", "weight 1", "-", "-", "-", "-"],
        ["gateway", "1", "-", "2", "1", "-", "5"],
        ["slow.one", "0", "-", "1", "-", "-", "-"],
    ]
    assert blocks[1] == [
        ["LIMIT", "OF"],
        ['Rate("100/m")', "queue mail"],
        ['Concurrency(5, key="{task}", name="smtp")', "queue mail"],
        ['FairShare(key="{parcel}")', "task parcels.report"],
    ]
    assert blocks[2] == [
        ["TASK", "QUEUE", "BY"],
        ["parcels.refund", "default", "task_default_queue"],
        ["parcels.report", "default", "task_default_queue"],
        ["parcels.mail", "mail", "task_routes['parcels.mail']"],
        ["parcels.charge", "gateway", "task_routes['*.charge']"],
    ]
    assert blocks[3][:5] == [
        ["PROCESS", "COMMAND"],
        ["worker", "celery -A shop worker -n worker@%h -Q critical,default,mail -c auto"],
        ["gateway", "celery -A shop worker -n gateway@%h -Q gateway -c 2"],
        ["slow-one", "celery -A shop worker -n slow-one@%h -Q slow.one -c 1"],
        ["beat", "celery -A shop beat"],
    ]
    assert not list(tmp_path.iterdir()), "no store was opened"


NIGHTLY = {"nightly": {"task": "parcels.report", "schedule": 60.0}}


def test_an_app_that_declares_nothing_has_one_worker(tmp_path: Path, show: Invoke) -> None:
    app = shop(tmp_path, task_queues=None, task_routes={"parcels.mail": "mail"}, worker_concurrency=8)
    document = json.loads(show(app, "--json").output)
    assert [(queue["name"], queue["declared"], len(queue["tasks"])) for queue in document["queues"]] == [
        ("default", True, 3),
        ("mail", False, 1),
    ]
    assert document["processes"][0] == {
        "name": "worker",
        "command": ["celery", "-A", "shop", "worker", "-n", "worker@%h", "-Q", "default,mail", "-c", "8"],
    }


def test_a_procfile_is_a_line_a_process(tmp_path: Path, show: Invoke) -> None:
    app = shop(
        tmp_path, task_queues=[Queue("default"), Queue("beat", concurrency=1), Queue("Wörk & co", concurrency=3)]
    )
    lines = show(app, "--procfile").output.splitlines()
    assert lines[:3] == [
        "beat-2: celery -A shop worker -n beat-2@%h -Q beat -c 1",
        "W-rk-co: celery -A shop worker -n W-rk-co@%h -Q 'Wörk & co' -c 3",
        "default: celery -A shop worker -n default@%h -Q default -c auto",
    ]
    assert all(re.match(r"[A-Za-z0-9-]+: celery -A shop ", line) for line in lines)
    assert [line.split(":")[0] for line in lines] == list(dict.fromkeys(line.split(":")[0] for line in lines))


def test_where_the_broker_deals_out_by_itself_each_share_has_a_worker(tmp_path: Path, show: Invoke) -> None:
    document = json.loads(show(shop(tmp_path, "redis://host"), "--json").output)
    workers = [
        one["command"][one["command"].index("-Q") + 1] for one in document["processes"] if "-Q" in one["command"]
    ]
    assert workers == ["critical", "default", "mail", "gateway", "slow.one"]
    share, limits = document["notes"]
    assert share.startswith("weight, order and prefetch of critical and 3 more have no effect: the redis broker")
    assert limits.startswith("concurrency and limits of mail and 2 more have no effect: the redis broker keeps none")
    ledger = shop(tmp_path, "redis://host", celeriac_ledger=f"sqlite:///{tmp_path}/ledger.db")
    assert len(json.loads(show(ledger, "--json").output)["notes"]) == 1


def test_what_the_declarations_leave_open_is_said(tmp_path: Path, show: Invoke) -> None:
    routes = (by_tenant, {"nobody.*": "mail", "parcels.mail": {"exchange": "x", "routing_key": "y"}})
    output = show(shop(tmp_path, task_routes=routes)).output
    assert f"Note: the function {__name__}.by_tenant of task_routes is asked at each call" in output
    assert "Note: task_routes['nobody.*'] matches no task of this app." in output
    assert "Note: parcels.mail: an exchange decides where they go." in output


def test_a_route_to_an_undeclared_queue_is_an_error(tmp_path: Path, show: Invoke) -> None:
    result = show(shop(tmp_path, task_routes={"parcels.mail": "mial"}))
    assert result.exit_code == 1
    assert result.output.startswith(
        "Error: task_routes['parcels.mail'] leads to the queue 'mial', which is not declared (did you"
    )


def test_a_plain_celery_app_is_told(show: Invoke) -> None:
    assert "make it one of celeriac's" in show(celery.Celery("plain", set_as_current=False)).output


def test_two_forms_at_once_are_refused(tmp_path: Path, show: Invoke) -> None:
    assert "Choose one of" in show(shop(tmp_path), "--json", "--procfile").output


def test_it_fits_a_narrow_terminal_and_commands_are_never_cut(
    tmp_path: Path, show: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.cli.plan.width", lambda: os.terminal_size((80, 24)).columns)
    long = {"parcels.*": {"queue": "gateway"}}
    app = shop(tmp_path, task_routes=long)
    app.task(name="parcels." + "a_very_long_name_" * 6, shared=False)(nothing)
    blocks = show(app).output.split("\n\n")
    for block in blocks[:3]:
        assert max(map(len, block.splitlines())) <= 80
    assert "-Q critical,default,mail -c auto" in blocks[3]
    assert "…" in blocks[2]
    assert "\x1b" not in "".join(blocks)
