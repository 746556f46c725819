"""PostgreSQL and Redis on a host of their own, with a password: workers and clients come by the network that a test cuts,
the test itself by a socket in a folder, which knows no network.

Each server says by itself how often a task was settled: whatever the stores' own code believes, what is written down twice is
seen twice.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from celeriac.store.redis.packing import unpack_text
from tests.support import Program, free_port
from tests.support.hosts import Hosts
from tests.support.proxy import Proxy
from tools.services.postgres import DATABASE, POSTGRES, USER
from tools.services.redis import REDIS
from tools.services.service import Service

SECRET = "between these hosts only"
QUOTED = "between%20these%20hosts%20only"
#: Writes down every time that a task is closed.
WATCH = """
CREATE TABLE celeriac.closing (task_id text NOT NULL, worker text);
CREATE FUNCTION celeriac.closed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO celeriac.closing VALUES (NEW.task_id, NEW.worker);
    RETURN NEW;
END $$;
CREATE TRIGGER closed AFTER INSERT OR UPDATE ON celeriac.task FOR EACH ROW WHEN (NEW.closed)
    EXECUTE FUNCTION celeriac.closed();
"""
#: Whether a task is closed in a record of Redis's, and by whom.
OPEN_RECORD = "local record = cmsgpack.unpack(ARGV[1]) return {record[2], record[6]}"


class FarServer(Program):
    """A server on the host `server`; `url` is its address for the others, `here` for the tests' own process."""

    url: str
    here: str

    def watch(self) -> None:
        """From now on it is known how often each task is closed; the store's tables are there."""

    def closings(self) -> list[tuple[str, str | None]]:
        """Each time that a task was settled, and by whom."""
        raise NotImplementedError


class FarPostgres(FarServer):
    def __init__(self, hosts: Hosts, folder: Path) -> None:
        port, address, self.cluster = free_port(), hosts.address("server"), folder / "cluster"
        (folder / "secret").write_text(SECRET)
        command = POSTGRES.command(_program(POSTGRES), port, folder)
        options = [address, hosts.subnet, str(folder / "secret")]
        super().__init__(hosts.on("server", [*command, *options]), folder, name="postgres")
        self.url = f"postgresql://{USER}:{QUOTED}@{address}:{port}/{DATABASE}"
        self._by_socket = f"postgresql://{USER}:{QUOTED}@/{DATABASE}?port={port}&host="

    @property
    def here(self) -> str:  # type: ignore[override]  # the folder is made when the server starts
        return self._by_socket + str(self.cluster.resolve())

    def ready(self) -> bool:
        with suppress(psycopg.OperationalError, FileNotFoundError), closing(psycopg.connect(self.here)):
            return True
        return False

    def watch(self) -> None:
        with closing(psycopg.connect(self.here, autocommit=True)) as raw:
            raw.execute(WATCH)

    def closings(self) -> list[tuple[str, str | None]]:
        with closing(psycopg.connect(self.here)) as raw:
            return [(row[0], row[1]) for row in raw.execute("SELECT task_id, worker FROM celeriac.closing").fetchall()]

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.cluster.resolve(), ignore_errors=True)


class FarRedis(FarServer):
    """Its log on disk has every change, in order, before whoever made it is answered: `appendfsync always`."""

    def __init__(self, hosts: Hosts, folder: Path) -> None:
        port, address = free_port(), hosts.address("server")
        # The path of a socket may be no longer than a hundred bytes.
        self._data = Path(tempfile.mkdtemp(prefix="celeriac-redis-"))
        self._socket = self._data / "socket"
        settings = self._data / "redis.conf"
        settings.touch(0o600)
        settings.write_text(
            f'bind {address}\nport {port}\nunixsocket {self._socket}\nrequirepass "{SECRET}"\ndir {self._data}\nsave ""\n'
            "appendonly yes\nappendfsync always\nauto-aof-rewrite-percentage 0\nmaxmemory-policy noeviction\n"
        )
        super().__init__(hosts.on("server", [_program(REDIS), str(settings)]), folder, name="redis")
        self._door = Door(self._socket)
        self.url = f"redis+streams://:{QUOTED}@{address}:{port}/0"
        self.here = f"redis+streams://:{QUOTED}@127.0.0.1:{self._door.port}/0"

    def ready(self) -> bool:
        with suppress(redis.ConnectionError), closing(self._raw()) as raw:
            return bool(raw.ping())
        return False

    def _raw(self) -> Any:
        return redis.Redis(unix_socket_path=str(self._socket), password=SECRET)

    def closings(self) -> list[tuple[str, str | None]]:
        records = [(key.rpartition(b"}:t:")[2].decode(), value) for key, value in self._sets() if b"}:t:" in key]
        with closing(self._raw()) as raw:
            opened = [(task_id, *raw.eval(OPEN_RECORD, 0, value)) for task_id, value in records]
        return [(task_id, unpack_text(worker)) for task_id, closed, worker in opened if closed == b"1"]

    def _sets(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key that was ever given a text, and the text."""
        for log in sorted(self._data.rglob("*.aof")):
            for name, *words in _commands(log.read_bytes()):
                if name.upper() in (b"SET", b"MSET"):
                    yield from zip(words[::2], words[1::2], strict=False)

    def close(self) -> None:
        super().close()
        self._door.close()
        shutil.rmtree(self._data, ignore_errors=True)


class Door(Proxy):
    """A port of this host's that leads to a socket in a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__("", 0)

    def _connect(self) -> socket.socket:
        door = socket.socket(socket.AF_UNIX)
        door.connect(str(self._path))
        return door


def _commands(log: bytes) -> Iterator[list[bytes]]:
    """The commands of an append-only file; the last may be half written, and is then left out."""
    file = io.BytesIO(log)
    while head := file.readline():
        try:
            words = []
            for _ in range(int(head[1:])):
                length = int(file.readline()[1:])
                words.append(file.read(length + 2)[:length])
        except ValueError:
            return
        yield words


def _program(service: Service) -> str:
    found = shutil.which(service.program, path=service.path(os.environ.get("PATH")))
    if found is None:
        reason = f"there is no {service.program} on this machine: `make services` installs it, as root"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


KINDS: dict[str, type[FarPostgres | FarRedis]] = {"postgresql": FarPostgres, "redis": FarRedis}
