"""PostgreSQL, with a cluster of its own; the file is also the program that starts it.

The server refuses to run as root, and its files must be its user's: root starts it as the user of Debian's package, with the
cluster in a folder below the system's for temporary files, since that user may not enter everybody's home.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

USER, DATABASE = "celeriac", "postgres"
#: Version 3.0 of the protocol.
_PROTOCOL = 196_608
#: Where Debian puts the programs that are not for everybody.
_DEBIAN = "/usr/lib/postgresql"


class Postgres:
    name = "postgres"
    variable = "CELERIAC_POSTGRES_URL"
    program = "postgres"
    package = "postgresql"
    port = 5432
    #: A fast shutdown; to SIGTERM it would wait for every client to leave.
    ends_with = "SIGINT"

    def path(self, path: str | None) -> str:
        """Where to look for the program: the newest version first, after what is on PATH."""
        versions = sorted(Path(_DEBIAN).glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
        return os.pathsep.join([path or os.defpath, *map(str, versions)])

    def command(self, program: str, port: int, folder: Path) -> list[str]:
        return [sys.executable, __file__, program, str(port), str(folder)]

    def url(self, host: str, port: int) -> str:
        return f"postgresql://{USER}@{host}:{port}/{DATABASE}"

    def answers(self, url: str) -> bool:
        with contextlib.suppress(OSError):
            return _greeted(url)
        return False


def _greeted(url: str) -> bool:
    """Whether it asks who we are, or lets us in: while it starts it answers with an error."""
    parts = urlsplit(url)
    user, database = unquote(parts.username or USER), unquote(parts.path.lstrip("/")) or DATABASE
    words = b"".join(word.encode() + b"\0" for word in ("user", user, "database", database)) + b"\0"
    with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 5432), timeout=2) as connection:
        connection.sendall(struct.pack("!ii", len(words) + 8, _PROTOCOL) + words)
        return connection.recv(1) == b"R"


def _become(owner: pwd.struct_passwd) -> None:
    os.setgroups([])
    os.setgid(owner.pw_gid)
    os.setuid(owner.pw_uid)
    os.environ["HOME"] = owner.pw_dir


def _owner() -> pwd.struct_passwd:
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def main(
    program: str, port: str, folder: str, address: str = "127.0.0.1", clients: str = "", password: str = ""
) -> None:
    """Make a cluster, and become its server.

    `address` is where it listens, and `clients` are the addresses that come there (as `10.0.0.0/24`). The file `password` has
    what everybody must know; without one nobody must know anything.
    """
    secret = Path(password).read_text() if password else ""
    cluster = Path(tempfile.mkdtemp(prefix="celeriac-postgres-"))
    owner = _owner()
    os.chown(cluster, owner.pw_uid, owner.pw_gid)
    earlier = Path(folder, "cluster")
    if earlier.is_symlink():
        shutil.rmtree(earlier.readlink(), ignore_errors=True)
        earlier.unlink()
    earlier.symlink_to(cluster)
    if os.geteuid() == 0:
        _become(owner)
    os.chdir(cluster)
    data = cluster / "data"
    auth = ["--auth", "trust"]
    if secret:
        kept = cluster / "password"
        kept.touch(0o600)
        kept.write_text(secret)
        auth = ["--auth", "scram-sha-256", "--pwfile", str(kept)]
    initdb = [str(Path(program).with_name("initdb")), "--pgdata", str(data), "--username", USER, *auth]
    subprocess.run([*initdb, "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-instructions"], check=True)
    if clients:
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {clients} scram-sha-256\n")
    listen = ["-c", f"listen_addresses={address}", "-c", f"port={port}", "-c", f"unix_socket_directories={cluster}"]
    # The tests of several processes, each with its own connections, need more than the 100 of old.
    os.execv(program, [program, "-D", str(data), *listen, "-c", "max_connections=300"])  # noqa: S606  # it takes this process's place


POSTGRES = Postgres()

if __name__ == "__main__":
    main(*sys.argv[1:])
