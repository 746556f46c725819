"""A PostgreSQL of the matrix's own, which it may stop, kill and restart; each cell has a schema."""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import psycopg
from psycopg import sql

from tests.faults.brokers.base import DISK, Broker, Missing, Place
from tests.support.own_postgres import USER, Server
from tools.services.postgres import POSTGRES


class Cluster(Server):
    """A server with room for all that a matrix connects."""

    def __init__(self) -> None:
        if shutil.which(POSTGRES.program, path=POSTGRES.path(os.environ.get("PATH"))) is None:
            raise Missing("PostgreSQL's server is not installed on this machine")
        super().__init__(max_connections=300)


class Schema(Place):
    """A schema of the server's; its connections are known by their application's name."""

    def __init__(self, server: Cluster) -> None:
        self._server = server
        self._schema = f"faults_{uuid.uuid4().hex[:12]}"
        self.url = self.through(server.port)

    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._server.port

    def through(self, port: int) -> str:
        return f"postgresql://{USER}@127.0.0.1:{port}/postgres?schema={self._schema}&application_name={self._schema}"

    def _execute(self, statement: str | sql.Composed, *parameters: object) -> None:
        with self._connected() as raw:
            raw.execute(statement, parameters or None)

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
        # Of this session's own, whatever the server is told meanwhile.
        with psycopg.connect(self._server.url, autocommit=True, options="-c default_transaction_read_only=off") as raw:
            yield raw

    def cut(self) -> None:
        self._execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s AND pid <> pg_backend_pid()",
            self._schema,
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self._connected() as raw, raw.transaction():
            table = sql.Identifier(self._schema, "message")
            raw.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(table))
            yield

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """As on a server that has become a standby's."""
        self._read_only("on")
        try:
            yield
        finally:
            self._read_only("off")

    def _read_only(self, value: str) -> None:
        self._execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        self._execute("SELECT pg_reload_conf()")

    def close(self) -> None:
        self.cut()
        self._execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(self._schema)))


class Postgres(Broker):
    name = scheme = "postgresql"
    rests_on = (
        "`synchronous_commit=on` and `fsync=on`, PostgreSQL's defaults: a crash of the server loses no commit. A failover to a "
        "replica that lags loses what it had not received"
    )
    senseless: ClassVar[dict[str, str]] = {
        DISK: "a server that cannot write its log stops itself: the row *broker killed*"
    }

    def __init__(self) -> None:
        self._server = Cluster()
        self._server.start()

    def place(self, folder: Path, need: str) -> Schema:
        return Schema(self._server)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self._server.end(signal.SIGQUIT)
        try:
            yield
        finally:
            self._server.start()

    def restart(self) -> None:
        self._server.end(signal.SIGINT)
        self._server.start()

    def close(self) -> None:
        self._server.close()
