"""A PostgreSQL of the matrix's own, which it may stop, kill and restart; each cell has a schema."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import psycopg
from psycopg import sql

from tests.faults.brokers.base import DISK, Broker, Missing, Place
from tests.support import Program, free_port, wait_for
from tools.services.postgres import POSTGRES

USER = "faults"


class Server(Program):
    """A cluster in a folder of its own, run by the user of Debian's package where this one is root."""

    def __init__(self) -> None:
        binary = shutil.which(POSTGRES.program, path=POSTGRES.path(os.environ.get("PATH")))
        if binary is None:
            raise Missing("PostgreSQL's server is not installed on this machine")
        folder = Path(tempfile.mkdtemp(prefix="celeriac-faults-postgres-"))
        self.port = free_port()
        self.url = f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"
        self._owner = _give(folder)
        self._make(Path(binary).with_name("initdb"), folder)
        listen = ["-c", "listen_addresses=127.0.0.1", "-p", str(self.port), "-k", str(folder)]
        command = [*self._owner, binary, "-D", str(folder / "data"), *listen, "-c", "max_connections=300"]
        super().__init__(command, folder, name="postgres")

    def _make(self, initdb: Path, folder: Path) -> None:
        options = ["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8"]
        made = [*self._owner, str(initdb), "--pgdata", str(folder / "data"), *options, "--no-instructions"]
        subprocess.run(made, check=True, capture_output=True, cwd=folder)

    def ready(self) -> bool:
        return POSTGRES.answers(self.url)

    def end(self, number: signal.Signals) -> None:
        """SIGINT is the fast shutdown, SIGQUIT the immediate one, after which it recovers as from a crash."""
        os.kill(self.pid, number)
        self.wait()
        wait_for(lambda: not self.processes(), 30, "the server's processes do not end")

    def close(self) -> None:
        if self.running:
            self.end(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)


def _give(folder: Path) -> list[str]:
    """What to put before a command so that it runs as the folder's owner: the server refuses to run as root."""
    if os.geteuid() != 0:
        return []
    owner = next(known for name in ("postgres", "nobody") if (known := _user(name)) is not None)
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    return ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups", "--"]


def _user(name: str) -> pwd.struct_passwd | None:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(name)
    return None


class Schema(Place):
    """A schema of the server's; its connections are known by their application's name."""

    def __init__(self, server: Server) -> None:
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
        self._server = Server()
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
