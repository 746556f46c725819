"""The URL of a PostgreSQL schema."""

from __future__ import annotations

import pytest

from celeriac import Celery
from celeriac.errors import SettingsError
from celeriac.settings import is_postgres, postgres_url
from celeriac.transport.postgres import PostgresTransport


@pytest.mark.parametrize(
    ("url", "conninfo", "schema"),
    [
        ("postgresql://shop@db/shop", "postgresql://shop@db/shop", "celeriac"),
        ("postgres://db/shop", "postgresql://db/shop", "celeriac"),
        ("postgresql://db/shop?schema=tasks&sslmode=require", "postgresql://db/shop?sslmode=require", "tasks"),
        ("postgresql://u:p%40ss@db:5433/shop", "postgresql://u:p%40ss@db:5433/shop", "celeriac"),
    ],
)
def test_the_schema_is_ours_and_the_rest_is_libpqs(url: str, conninfo: str, schema: str) -> None:
    assert is_postgres(url)
    found = postgres_url(url)
    assert (found.conninfo, found.schema) == (conninfo, schema)


@pytest.mark.parametrize("schema", ["", "Shop", "a-b", "1st", "x" * 49, 'a"b'])
def test_a_schema_that_cannot_be_named_is_refused(schema: str) -> None:
    with pytest.raises(SettingsError, match="schema"):
        postgres_url(f"postgresql://db/shop?schema={schema}")


@pytest.mark.parametrize("url", ["sqla+postgresql://db", "sqlite:///shop.db", "redis://", None, ""])
def test_what_is_none(url: object) -> None:
    assert not is_postgres(url)


def test_a_password_is_never_shown() -> None:
    url = "postgresql://shop:secret@db/shop"
    assert "secret" not in repr(postgres_url(url))
    app = Celery("shop", broker=url, set_as_current=False)
    assert "secret" not in PostgresTransport.as_uri(None, url)  # type: ignore[arg-type]  # it asks nothing of itself
    assert "secret" not in app.backend.as_uri()
    assert app.has_store
    assert app.conf.result_backend == url


@pytest.mark.parametrize("scheme", ["postgresql", "redis+streams"])
def test_a_password_is_not_told_with_a_workers_statistics(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("shop", broker=f"{scheme}://shop:secret@db/0", set_as_current=False)
    connection = app.connection_for_read()
    transport = connection.get_transport_cls()
    monkeypatch.setattr(transport, "__init__", lambda self, client: setattr(self, "client", client))  # it opens nothing
    told = connection.info()
    assert told["transport"] == scheme
    assert "secret" not in str({name: value for name, value in told.items() if name != "password"})
