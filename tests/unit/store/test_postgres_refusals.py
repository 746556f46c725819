"""Which words of libpq's say that a certificate, a file or a value is wrong, and which that a connection broke."""

from __future__ import annotations

import pytest

from celeriac.errors import SettingsError
from celeriac.store.postgres.database import Database
from celeriac.store.postgres.refusals import tls_is_amiss

BEGIN = 'connection to server at "10.0.0.1", port 5432 failed: '


@pytest.mark.parametrize(
    ("said", "amiss"),
    [
        (BEGIN + "SSL error: certificate verify failed", True),
        (BEGIN + 'root certificate file "/ca.pem" does not exist', True),
        (BEGIN + 'server certificate for "a" does not match host name "b"', True),
        (BEGIN + "SSL error: tlsv13 alert certificate required", True),
        (BEGIN + "server does not support SSL, but SSL was required", True),
        (BEGIN + 'private key file "/k" has group or world access', True),
        ('connection is bad: invalid sslmode value: "maybe"', True),
        (BEGIN + "Connection refused", False),
        (BEGIN + "SSL SYSCALL error: EOF detected", False),
        ("SSL connection has been closed unexpectedly", False),
        ("SSL error: unexpected eof while reading", False),
        (BEGIN + "FATAL:  the database system is starting up", False),
        pytest.param(
            f"Multiple connection attempts failed. All failures were:\n- host: 'a': {BEGIN}Connection refused\n"
            f"- host: 'b': {BEGIN}SSL error: certificate verify failed",
            False,
            id="the other host may come back",
        ),
        pytest.param(
            f"Multiple connection attempts failed. All failures were:\n- host: 'a': {BEGIN}SSL error: certificate verify "
            f"failed\n- host: 'b': {BEGIN}SSL error: certificate verify failed",
            True,
            id="neither will do",
        ),
    ],
)
def test_what_waiting_does_not_help(said: str, amiss: bool) -> None:
    assert tls_is_amiss(said) is amiss


@pytest.mark.parametrize(
    "url", ["postgresql://shop:secret@db/shop?sslmod=require", "postgresql://shop:secret@[::1/shop"]
)
def test_a_url_that_libpq_cannot_read_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="libpq cannot read it") as raised:
        Database(url, "celeriac")
    assert "secret" not in str(raised.value)
