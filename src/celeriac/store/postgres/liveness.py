"""What a server does about a client whose host vanished in the middle of a transaction.

Left to itself it waits for the operating system to notice, two hours by default, and all that while the transaction's rows
stay locked: nobody can take over the task that was being claimed or settled, and a lock on a key or on the limits holds
everyone up.
"""

from __future__ import annotations

from typing import Any

import psycopg

#: Seconds that a transaction may wait for its client's next statement. Ours follow one another at once, so that only a
#: stopped process or a lost one takes as long; one that comes back finds its work undone and its connection closed.
ABANDONED = 10.0
#: Errors after which the connection is no more.
GONE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    # The class of its code, and so the driver, calls it an internal error.
    psycopg.errors.IdleInTransactionSessionTimeout,
)


def abandoned() -> dict[str, str]:
    """The server's settings by which it gives such a client up."""
    return {
        "idle_in_transaction_session_timeout": f"{int(ABANDONED * 1000)}ms",
        # For what it is about to send, and for a session that only listens.
        "tcp_keepalives_idle": "10s",
        "tcp_keepalives_interval": "5s",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "20s",
    }


def configure(raw: psycopg.Connection[Any], **settings: str) -> None:
    """Set these for the session, in one round trip."""
    pairs = [text for pair in settings.items() for text in pair]
    calls = ", ".join(["set_config(%s, %s, false)"] * len(settings))
    raw.execute(f"SELECT {calls}", pairs)  # made of nothing but calls with parameters
