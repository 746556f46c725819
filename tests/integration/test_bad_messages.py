"""What no worker can take is kept for people to look at, and the worker lives on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import chain, chord, group, states
from celery.exceptions import NotRegistered
from kombu import Connection

from celeriac.core.message import TaskMessage
from celeriac.publish.arguments import UnsendableArgument
from celeriac.transport.envelope import pack
from tests.integration.sites import Site, lines, wait_line
from tests.support import wait_for
from tests.support.plugin import PROGRAMS

PATIENCE = 30


@pytest.fixture(scope="module", params=["prefork", "threads", "solo", "gevent"])
def shared_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("bad"))
    site.worker(request.param, concurrency=1 if request.param == "solo" else 2)
    yield site
    site.close()


@pytest.fixture
def site(shared_site: Site, request: pytest.FixtureRequest) -> Iterator[Site]:
    request.node.stash[PROGRAMS] = shared_site.workers
    yield shared_site
    # Whatever it was sent, it goes on working.
    assert shared_site.add.delay(1, 1).get(timeout=PATIENCE) == 2


def _send(site: Site, task_id: str, body: Any, **changed: Any) -> str:
    """A message as Celery makes it, with something changed."""
    headers = {"id": task_id, "task": "add", "lang": "py", "root_id": task_id, **changed.pop("headers", {})}
    content_type = changed.pop("content_type", "application/json")
    properties = {"correlation_id": task_id, "delivery_info": {"exchange": "", "routing_key": "celery"}}
    message = TaskMessage("celery", pack(headers, properties, content_type, "utf-8"), body, task_id, "add")
    site.store.publish([message])
    return task_id


_PICKLE = {"task_serializer": "pickle", "result_serializer": "pickle", "accept_content": ["pickle", "json"]}
GOOD_BODY = json.dumps([[1, 2], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])


def test_the_message_made_here_is_a_good_one(site: Site) -> None:
    """So that what the other tests change is what is bad."""
    task_id = _send(site, site.file("good").rpartition("-")[2], GOOD_BODY)
    assert site.app.AsyncResult(task_id).get(timeout=PATIENCE) == 3


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ("this is no JSON", {}),
        ("[1, 2", {}),
        (b"\xff\xfe\x00", {}),
        (GOOD_BODY, {"content_type": "application/x-unheard-of"}),
        ("gASVAAAA", {"content_type": "application/x-python-serialize"}),
        ('"a text"', {}),
        ("{}", {}),
        ("null", {}),
        ("[]", {}),
        ("[1, {}, {}]", {}),
        ('[[1, 2], ["x"], {}]', {}),
        ('[[1, 2], {}, "options"]', {}),
    ],
    ids=[
        "text",
        "cut",
        "bytes",
        "unknown type",
        "pickle not accepted",
        "json text",
        "object",
        "null",
        "empty",
        "args a number",
        "kwargs a list",
        "options a text",
    ],
)
def test_a_message_that_cannot_be_read(site: Site, body: str | bytes, changed: dict[str, Any]) -> None:
    task_id = _send(site, site.file("bad").rpartition("-")[2], body, **changed)
    record = site.wait_ended([task_id])[task_id]
    assert record.state == states.FAILURE
    letter = site.letter(task_id)
    assert letter.reason in ("undecodable", "invalid")
    assert letter.error
    with pytest.raises(Exception):  # noqa: B017, PT011  # each serializer has its own
        site.app.AsyncResult(task_id).get(timeout=PATIENCE)
    # It can be looked at as it came.
    assert letter.body == body


def test_a_task_that_no_worker_knows(site: Site) -> None:
    result = site.only_here.delay("x")
    site.wait_ended([result.id])
    letter = site.letter(result.id)
    assert (letter.reason, letter.name) == ("unknown-task", "only_here")
    log = site.workers[-1].log()
    assert f"task only_here[{result.id}] is not known to this worker" in log
    assert "ignored and discarded" not in log
    with pytest.raises(NotRegistered, match="only_here"):
        result.get(timeout=PATIENCE)


def test_an_unknown_member_does_not_hang_its_chord(site: Site) -> None:
    result = chord([site.only_here.s("y"), site.add.s(1, 1)], site.collect.s()).delay()
    wait_for(result.ready, PATIENCE)
    assert result.state == states.FAILURE


def test_wrong_arguments_are_a_failure_of_the_task(site: Site) -> None:
    result = site.app.send_task("add", (1, 2, 3))
    with pytest.raises(TypeError):
        result.get(timeout=PATIENCE)
    assert site.letter(result.id).reason == "permanent"


def test_a_result_that_cannot_be_encoded_is_a_failure(site: Site) -> None:
    journal = site.file()
    result = site.unsendable_result.delay(journal)
    with pytest.raises(Exception, match=r"serializable|encode"):
        result.get(timeout=PATIENCE)
    assert lines(journal) == ["run"]
    assert site.letter(result.id).reason == "permanent"


def test_an_end_that_cannot_be_written_is_a_failure_of_its_own(site: Site) -> None:
    """Half a character is text to JSON, and none to a store; those who settle with it are settled."""
    journal = site.file()
    onwards = site.effect.si(journal, "onwards").set(queue="half \ud83d")
    broken = site.effect.s(journal, "broken").apply_async(link=onwards)
    others = [site.effect.delay(journal, str(number)).id for number in range(20)]
    records = site.wait_ended([broken.id, *others])
    assert {records[task_id].state for task_id in others} == {states.SUCCESS}
    assert records[broken.id].state == states.FAILURE
    assert site.letter(broken.id).reason == "unrecordable"
    assert "onwards" not in lines(journal)
    assert lines(journal).count("broken") == 1


def test_a_message_that_is_no_task_is_not_kept(site: Site) -> None:
    with Connection(site.url) as connection:
        connection.SimpleQueue("celery").put({"not": "a task"})
    wait_for(lambda: not site.queues(), PATIENCE)


def test_a_large_result_and_large_arguments_pass(site: Site) -> None:
    text = "é" * 500_000
    assert site.collect.delay(text).get(timeout=PATIENCE) == text


def test_a_worker_with_other_serializers_reads_what_it_accepts(tmp_path_factory: pytest.TempPathFactory) -> None:
    site = Site(tmp_path_factory.mktemp("pickle"), **_PICKLE)
    try:
        site.worker("threads", concurrency=2, env={"C_FORCE_ROOT": "1"})
        assert site.collect.delay({1, 2}).get(timeout=PATIENCE) == {1, 2}
    finally:
        site.close()


def test_what_cannot_travel_is_refused_wherever_in_a_workflow_it_stands(site: Site) -> None:
    bad, good = site.add.s(object(), 1), site.add.s(1, 1)
    for workflow in (
        chain(good, site.add.s(object())),
        chain(good, site.collect.s(), site.add.s(object())),
        chord([good], bad),
        good.set(link=bad),
        group([bad]),
    ):
        with pytest.raises(UnsendableArgument, match=r"task add, argument x|task add, argument y"):
            workflow.delay()
    assert site.queues() == {}


def test_what_follows_a_result_that_cannot_be_encoded_is_not_sent(site: Site) -> None:
    """Celery calls the callbacks before it encodes."""
    journal, after, told = site.file(), site.file("after"), site.file("told")
    linked = site.unsendable_result.apply_async(
        (journal,), link=site.effect.si(after, "link"), link_error=site.on_error_by_id.s(journal=told)
    )
    chained = chain(site.unsendable_result.si(journal), site.effect.si(after, "chain")).delay()
    site.wait_ended([linked.id, chained.parent.id])
    assert site.letter(linked.id).reason == site.letter(chained.parent.id).reason == "permanent"
    wait_line(told, f"error {linked.id}")
    assert site.add.delay(1, 1).get(timeout=30) == 2
    assert lines(after) == []
