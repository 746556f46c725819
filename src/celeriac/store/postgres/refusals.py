"""What a person can put right when libpq cannot connect, read from what it says."""

from __future__ import annotations

#: What a server says that has none left: to anybody, to this role, to this database; PgBouncer's word for it is the last.
_NO_MORE = ("too many clients", "remaining connection slots", "too many connections", "no more connections allowed")
#: A certificate, a file, a value; not a connection over TLS that broke.
_OF_TLS = ("certificate", "private key file", "does not support SSL", "invalid ssl")
TLS_REMEDY = (
    "; sslmode in the URL says what is asked of the server's certificate, sslrootcert names the file with the one that "
    "vouches for it, sslcert and sslkey those of this client's own"
)


def hint(said: str, kept: int) -> str:
    """What to add to the driver's words; a process keeps so many connections."""
    if not any(words in said for words in _NO_MORE):
        return ""
    return f"; a process of celeriac keeps up to {kept}, a worker two more: raise max_connections, or run fewer"


def tls_is_amiss(said: str) -> bool:
    """Whether TLS is why the driver could not connect: to each of the hosts, where it tried several."""
    tries = [line for line in said.splitlines() if " failed: " in line] or [said]
    return all(any(words in line for words in _OF_TLS) for line in tries)
