"""Celery's setting for TLS, on brokers that are asked for it in their URL."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac import Celery
from celeriac.errors import SettingsError


@pytest.mark.parametrize(
    ("broker", "written"),
    [
        ("redis+streams://db/0", r"rediss\+streams://…\?ssl_ca_certs="),
        ("rediss+streams://db/0", r"rediss\+streams://…\?ssl_ca_certs="),
        ("postgresql://db/shop", r"postgresql://…\?sslmode="),
    ],
)
@pytest.mark.parametrize("defaults", ["safe", "celery"])
@pytest.mark.parametrize("use_ssl", [True, {"ssl_ca_certs": "/etc/ca.pem"}])
def test_it_is_refused_where_nobody_would_read_it(broker: str, written: str, defaults: Any, use_ssl: Any) -> None:
    app = Celery("shop", broker=broker, defaults=defaults, broker_use_ssl=use_ssl, set_as_current=False)
    with pytest.raises(SettingsError, match=written):
        _ = app.conf.broker_url


@pytest.mark.parametrize("broker", ["amqp://db", "amqps://db", "rediss://db", "sqlite:///shop.db"])
def test_others_have_it(broker: str) -> None:
    app = Celery("shop", broker=broker, broker_use_ssl={"ca_certs": "/etc/ca.pem"}, set_as_current=False)
    assert app.conf.broker_use_ssl == {"ca_certs": "/etc/ca.pem"}


def test_a_ledger_beside_is_reached_by_its_own_url() -> None:
    app = Celery("shop", broker="amqps://db", ledger="postgresql://db/shop?sslmode=require", set_as_current=False)
    app.conf.broker_use_ssl = {"ca_certs": "/etc/ca.pem"}
    assert app.conf.broker_use_ssl
