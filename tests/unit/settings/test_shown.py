"""No password is shown, whatever it is made of and wherever its URL turns up."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery
from celeriac.errors import CeleriacError, SettingsError
from celeriac.settings import explain, postgres_url, redis_store_url, shown_url
from celeriac.store.tables import Outside

#: Parts of the passwords below.
SECRETS = ("hunter2", "s3cret")


def _leaks(text: str) -> bool:
    return any(secret in text for secret in SECRETS)


def _whole_text(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield f"{error!r} {error}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://shop:hunter2@db/shop", "postgresql://shop:**@db/shop"),
        ("postgresql://shop@db/shop", "postgresql://shop@db/shop"),
        ("redis+streams://:hunter2@db/0?prefix=a", "redis+streams://:**@db/0?prefix=a"),
        ("amqp://u:hunter2@a//;amqp://u:s3cret@b//", "amqp://u:**@a//;amqp://u:**@b//"),
        ("sqlite:////var/lib/shop.db", "sqlite:////var/lib/shop.db"),
        ("postgresql://u:hunter2/s3cret@db/shop", "postgresql://u:**@db/shop"),
        ("postgresql://u:hunter2@s3cret@db/shop", "postgresql://u:**@db/shop"),
        (
            "postgresql://db/shop?user=u&password=hunter2&sslmode=on",
            "postgresql://db/shop?user=u&password=**&sslmode=on",
        ),
        (["redis://:hunter2@a", "redis://:s3cret@b"], "redis://:**@a;redis://:**@b"),
        (None, "None"),
    ],
)
def test_a_url_is_shown_without(url: object, shown: str) -> None:
    assert shown_url(url) == shown


HALVES = ("/", "#", "?", "[", "@", "%zz")


@pytest.mark.parametrize("between", HALVES)
def test_what_libpq_would_misread_is_refused_unseen(between: str) -> None:
    url = f"postgresql://shop:hunter2{between}s3cret@db.internal:5432/shop"
    for parse in (postgres_url, Outside):
        with pytest.raises(SettingsError, match=r"quote\(password") as caught:
            parse(url)
        assert not any(map(_leaks, _whole_text(caught.value)))


@pytest.mark.parametrize("between", sorted(set(HALVES) - {"@", "%zz"}))  # which the client of Redis takes as they are
def test_what_a_redis_would_be_told_otherwise_is_refused_unseen(between: str) -> None:
    with pytest.raises(SettingsError, match=r"quote\(password") as caught:
        redis_store_url(f"redis+streams://:hunter2{between}s3cret@db.internal:6379/0")
    assert not any(map(_leaks, _whole_text(caught.value)))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://shop:hunter%2F2@db/shop?application_name=me@here",
        "postgresql://db:5432/shop?user=shop@corp",
        "postgresql://shop%40corp:pw@[::1]:5432/shop",
        "postgresql://u:pw@h1:1,h2:2/shop?target_session_attrs=read-write",
    ],
)
def test_what_is_written_well_is_taken(url: str) -> None:
    assert postgres_url(url).conninfo


def test_an_option_that_libpq_does_not_know_is_named() -> None:
    app = Celery("shop", broker="postgresql://shop:hunter2@127.0.0.1:1/db?sslmod=on", set_as_current=False)
    with pytest.raises(SettingsError, match="sslmod") as caught:
        app.store  # noqa: B018  # the first access opens it
    assert not any(map(_leaks, _whole_text(caught.value)))


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(
            {"broker_url": "amqp://u:hunter2@127.0.0.1:1//;amqp://u:s3cret@127.0.0.1:1//"}, id="several brokers"
        ),
        pytest.param({"broker_url": "redis://u:hunter2@127.0.0.1:1/0"}, id="redis"),
        pytest.param({"broker_url": "postgresql://u:hunter2@127.0.0.1:1/db"}, id="a store"),
        pytest.param(
            {"broker_url": "postgresql://u:hunter2@127.0.0.1:1/db", "result_backend": "rpc://"}, id="another backend"
        ),
        pytest.param(
            {"broker_url": "redis://127.0.0.1:1", "celeriac_ledger": "postgresql://u:hunter2@127.0.0.1:1/db"},
            id="a ledger",
        ),
        pytest.param(
            {"broker_url": "redis://127.0.0.1:1", "celeriac_ledger": "amqp://u:hunter2@a;amqp://u:s3cret@b"},
            id="no ledger",
        ),
    ],
)
def test_a_publish_that_fails_does_not_tell(settings: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    app = Celery("shop", set_as_current=False, celeriac_publish_timeout=1.0, **settings)
    with pytest.raises((CeleriacError, OSError)) as caught:
        app.send_task("some.task", (1,))
    assert not any(map(_leaks, _whole_text(caught.value)))
    assert not _leaks(caplog.text)


def test_the_settings_are_shown_without() -> None:
    app = Celery(
        "shop",
        broker="redis://u:hunter2@127.0.0.1:1/0",
        ledger="postgresql://u:s3cret@127.0.0.1:1/db",
        celeriac_outboxes=["postgresql://u:hunter2@a/x", "postgresql://u:s3cret@b/x"],
        set_as_current=False,
    )
    assert "celeriac_ledger" in app.conf.humanize()
    assert not _leaks(app.conf.humanize())
    assert not _leaks(repr(explain(app)))


def test_a_bug_report_is_written_without(tmp_path: Path) -> None:
    source = "from celeriac import Celery\napp = Celery('shop', broker='redis://a:hunter2@h/0', ledger='postgresql://a:s3cret@h/d')"
    (tmp_path / "reported.py").write_text(source)
    command = [sys.executable, "-m", "celery", "-A", "reported", "report"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    assert "celeriac_ledger" in done.stdout
    assert not _leaks(done.stdout + done.stderr)
