"""Tasks that declare when they are tried again, for the tests of that and their workers."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from typing import Any

from celeriac import Retries
from tests.integration.effects import die_once
from tests.integration.tasks import note, task

#: Where retries go: on a broker that tests share, to a queue of the site's own.
ELSEWHERE = os.environ.get("SITE_RETRY_QUEUE", "elsewhere")
QUICK = {"backoff": 0.01, "growth": "fixed"}


@task(bind=True, retries=Retries(2, queue=ELSEWHERE, priority=7, **QUICK))  # type: ignore[arg-type]
def moves(self: Any, journal: str, fails: int = 2) -> None:
    info = self.request.delivery_info
    note(journal, f"{self.request.retries} {info['routing_key']} {info['priority']}")
    if self.request.retries < fails:
        raise ValueError("not here")


@task(bind=True, retries=Retries(None, backoff=0.4, jitter="none", growth="fixed", budget=2.0))
def runs_out_of_time(self: Any, journal: str) -> None:
    note(journal, f"{self.request.retries} {time.time()}")
    raise ValueError("never")


@task(bind=True, retries=Retries(3, budget=60, **QUICK))  # type: ignore[arg-type]
def tells_since_when(self: Any, journal: str, flag: str) -> None:
    """Die in the first run, and tell in each what is known of its beginning."""
    headers = self.request.headers or {}
    note(journal, f"{self.request.retries} {time.time()} {headers.get('celeriac_since', 0)}")
    if not os.path.exists(flag):  # noqa: PTH110
        time.sleep(2.0)
    die_once(flag)
    if self.request.retries < 2:
        raise ValueError("not yet")


@task(bind=True)
def told(self: Any, report: dict[str, Any]) -> dict[str, Any]:
    note(report["args"][0], f"told {report['retries']} {self.request.parent_id == report['id']}")
    return report


@task(bind=True, retries=Retries(1, on_exhausted="told", **QUICK))  # type: ignore[arg-type]
def is_exhausted(self: Any, journal: str) -> None:
    note(journal, f"run {self.request.retries}")
    raise ValueError("never")


@task(retries=Retries(0, on_exhausted="told"))
def is_exhausted_at_once(journal: str) -> None:
    note(journal, "run")
    raise ValueError("never")


@task(retries=Retries(2, on=KeyError, on_exhausted="told"))
def is_not_covered(journal: str) -> None:
    raise ValueError("a bug")


def _called(report: dict[str, Any]) -> None:
    note(report["args"][0], "called")
    from celery import current_app

    current_app.tasks["effect"].delay(report["args"][0], "published")
    raise RuntimeError("and then it raises")


@task(retries=Retries(0, on_exhausted=_called))
def calls_a_function(journal: str) -> None:
    raise ValueError("never")


def _get(client: str, url: str) -> str:
    if client == "httpx":
        import httpx  # few workers need it

        return httpx.get(url, trust_env=False).raise_for_status().text
    if client == "requests":
        import requests  # the same

        answer = requests.get(url, timeout=10)
        answer.raise_for_status()
        return answer.text
    try:
        with urllib.request.urlopen(url) as opened:
            return str(opened.read().decode())
    except urllib.error.HTTPError as error:
        error.close()
        raise


@task()
def asks_a_server(client: str, url: str) -> str:
    return _get(client, url)


@task(retries=Retries(3, backoff=0.01, jitter="none", cap=1.2))
def asks_a_server_patiently(client: str, url: str) -> str:
    return _get(client, url)


@task(autoretry_for=(Exception,), max_retries=2, retry_backoff=True, retry_backoff_max=2, retry_jitter=False)
def asks_a_server_as_ever(client: str, url: str) -> str:
    return _get(client, url)


@task(retries=False)
def asks_a_server_once(client: str, url: str) -> str:
    return _get(client, url)


@task(bind=True, retries=[(KeyError, False), ((ValueError, OSError), Retries(2, **QUICK)), (Exception, 0)])  # type: ignore[arg-type]
def by_kind(self: Any, journal: str, kind: str) -> None:
    note(journal, f"{kind} {self.request.retries}")
    raise {"key": KeyError, "value": ValueError, "type": TypeError}[kind](kind)


@task(bind=True, retries=Retries(2, on_exhausted="told", **QUICK))  # type: ignore[arg-type]
def asks_itself(self: Any, journal: str) -> None:
    note(journal, f"run {self.request.retries}")
    raise self.retry()


@task(bind=True, autoretry_for=(ConnectionError,), max_retries=1, default_retry_delay=0)
def has_a_limit_for_once(self: Any, journal: str, asks: bool = False) -> None:
    note(journal, f"{'asks' if asks else 'fails'} {self.request.retries}")
    if asks and not self.request.retries:
        raise self.retry(max_retries=4, countdown=0.01)
    if not asks:
        raise ConnectionError("down")


def _cannot_say(error: BaseException) -> bool:
    raise RuntimeError("the predicate itself is broken")


@task(retries=Retries(2, on=_cannot_say))
def has_a_broken_policy() -> None:
    raise ValueError("the body's own")
