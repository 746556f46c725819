"""TLS of celeriac's own stores is asked for in their URL, in the words of the client that reads it."""

from __future__ import annotations

from celeriac.errors import SettingsError
from celeriac.settings.brokers import capabilities_of

#: How each server is reached over TLS.
_IN_THE_URL = {
    "postgresql": "postgresql://…?sslmode=verify-full&sslrootcert=/etc/ssl/ca.pem",
    "redis+streams": "rediss+streams://…?ssl_ca_certs=/etc/ssl/ca.pem",
}


def check_use_ssl(broker_url: object, use_ssl: object) -> None:
    """Refuse Celery's setting for brokers that do not read it: what is meant to be secret would travel in the clear.

    Raises:
        SettingsError: with what to write instead.
    """
    written = _IN_THE_URL.get(capabilities_of(broker_url).scheme)
    if use_ssl and written:
        raise SettingsError(
            "broker_use_ssl",
            f"it says nothing to this broker, which is reached over TLS by its URL: {written}. Write it there, and leave "
            "the setting out",
        )
