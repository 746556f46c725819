"""PostgreSQL servers of one test's own, which it may fill, stop and promote; a standby of one; PgBouncer before one."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest

from tests.support.ports import free_port
from tests.support.program import Program
from tests.support.waiting import wait_for
from tools.services.postgres import POSTGRES

USER = "owned"


def program(name: str) -> str:
    """The path of one of PostgreSQL's programs, or of PgBouncer; the test is skipped, or fails under CI, without it."""
    path = POSTGRES.path(os.environ.get("PATH")) or ""
    found = shutil.which(name, path=os.pathsep.join((path, "/usr/sbin", "/usr/local/sbin")))
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return found


class Owned(Program):
    """A program that will not run as root, in a folder of its user's."""

    def __init__(self, name: str, port: int) -> None:
        self.port = port
        folder = Path(tempfile.mkdtemp(prefix=f"celeriac-own-{name}-"))
        self.as_owner = _give(folder)
        super().__init__([], folder, name=name)

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def ready(self) -> bool:
        with contextlib.suppress(psycopg.Error), psycopg.connect(self.url, connect_timeout=5):
            return True
        return False

    def end(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """SIGINT is the fast shutdown, SIGQUIT the immediate one."""
        os.kill(self.pid, number)
        self.wait()
        wait_for(lambda: not self.processes(), 30, f"{self.name}'s processes do not end")

    def close(self) -> None:
        if self.running:
            self.end()
        shutil.rmtree(self.folder, ignore_errors=True)


class Server(Owned):
    """A cluster, empty or the standby of another; ``settings`` are the server's."""

    def __init__(self, *, standby_of: Server | None = None, **settings: object) -> None:
        super().__init__("postgres", free_port())
        data = self.folder / "data"
        if standby_of is None:
            made = [
                program("initdb"),
                "--pgdata",
                str(data),
                "--username",
                USER,
                "--auth",
                "trust",
                "--encoding",
                "UTF8",
            ]
        else:
            made = [program("pg_basebackup"), "-D", str(data), "-R", "-X", "stream", "-c", "fast", "-d", standby_of.url]
        subprocess.run([*self.as_owner, *made], check=True, capture_output=True, cwd=self.folder)
        given = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder, **settings}
        options = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
        self.command = [*self.as_owner, program("postgres"), "-D", str(data), *options]


class Bouncer(Owned):
    """PgBouncer before a server."""

    def __init__(self, server: Server, pool_mode: str, **settings: object) -> None:
        super().__init__("pgbouncer", free_port())
        self._users = self.folder / "users.txt"
        self._users.write_text(f'"{USER}" ""\n')
        given = {
            "listen_addr": "127.0.0.1", "listen_port": self.port, "auth_type": "trust", "auth_file": self._users,
            "unix_socket_dir": "", "pool_mode": pool_mode, **settings,
        }  # fmt: skip
        lines = ["[databases]", f"postgres = host=127.0.0.1 port={server.port}", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in given.items()]
        file = self.folder / "pgbouncer.ini"
        file.write_text("\n".join(lines) + "\n")
        self.command = [*self.as_owner, program("pgbouncer"), str(file)]

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """SIGTERM is the fast shutdown. SIGQUIT it may have been started to ignore, as a shell has its background jobs."""
        super().end(number)


def _give(folder: Path) -> list[str]:
    """What to put before a command so that it runs as the folder's owner: the servers refuse to run as root."""
    if os.geteuid() != 0:
        return []
    owner = next(known for name in ("postgres", "nobody") if (known := _user(name)) is not None)
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    return ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups", "--"]


def _user(name: str) -> pwd.struct_passwd | None:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(name)
    return None
