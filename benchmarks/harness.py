"""Brokers, workers, and what they cost, measured from outside."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import psycopg
import redis
from psycopg import sql

import celeriac
from benchmarks.configs import CONFIGS, Config

ROOT = Path(__file__).resolve().parents[1]
#: Shows where a measurement is.
Say = Callable[[str], None]
#: Redis database of the benchmarks; it is flushed before every run.
REDIS_DATABASE = 9
#: A schema a run: a process that has seen one does not look again whether it is there.
_RUNS = count(1)


def _server(variable: str) -> str:
    """The server that `make services` started, or the environment's."""
    url = os.environ.get(variable)
    noted = ROOT / ".services" / "env"
    if not url and noted.exists():
        lines = dict(line.partition("=")[::2] for line in noted.read_text(encoding="utf-8").splitlines())
        url = lines.get(variable)
    if not url:
        raise SystemExit(f"a server is needed for the comparison: run `make services`, or set {variable}")
    return url


def redis_url() -> str:
    """Redis, in a database of the benchmarks' own."""
    url = _server("CELERIAC_REDIS_URL")
    return f"{url.rstrip('/').rsplit('/', 1)[0] if url.count('/') > 2 else url.rstrip('/')}/{REDIS_DATABASE}"


def postgres_url() -> str:
    """PostgreSQL; what is measured has a schema of its own."""
    return _server("CELERIAC_POSTGRES_URL")


@dataclass
class Broker:
    """A fresh broker for one run, and how far it has come."""

    config: Config
    url: str
    folder: Path

    def done(self) -> int:
        """Results stored so far.

        Asked in constant time: a look that walks all results takes from the broker, or from the second core, what is
        being measured.
        """
        if self.config.server == "postgres":
            with psycopg.connect(self.url.partition("?")[0]) as raw:
                done = sql.SQL("SELECT count(*) FROM {}.task").format(sql.Identifier(self.schema))
                row = raw.execute(done).fetchone()
                return int(row[0]) if row else 0
        if self.config.server == "redis+streams":
            with closing(redis.Redis.from_url(redis_url())) as client:
                return int(client.zcard("{celeriac}:expiry:tasks"))
        if self.config.server == "redis":
            # Of all that stock Celery keeps in Redis, only results expire.
            with closing(redis.Redis.from_url(self.url)) as client:
                return int(client.info("keyspace").get(f"db{REDIS_DATABASE}", {}).get("expires", 0))
        with closing(sqlite3.connect(self.folder / "bench.db")) as raw:
            # A no-op has no row before it has settled, and none is deleted.
            return int(raw.execute("SELECT coalesce(max(rowid), 0) FROM task").fetchone()[0])

    @property
    def schema(self) -> str:
        """On PostgreSQL, the run's own."""
        return self.url.partition("?schema=")[2]

    @property
    def env(self) -> dict[str, str]:
        paths = os.pathsep.join([str(ROOT), str(ROOT / "src")])
        return {**os.environ, "BENCH_CONFIG": self.config.name, "BENCH_BROKER": self.url, "PYTHONPATH": paths}


def drop_schema(name: str) -> None:
    """All tables that a run has left there."""
    with psycopg.connect(postgres_url().partition("?")[0], autocommit=True) as raw:
        raw.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


@contextmanager
def broker(name: str) -> Iterator[Broker]:
    """An empty broker of one configuration."""
    config = CONFIGS[name]
    folder = Path(tempfile.mkdtemp(prefix="celeriac-bench-"))
    try:
        if config.server.startswith("redis"):
            url = redis_url()
            with closing(redis.Redis.from_url(url)) as client:
                client.flushdb()
            if config.server == "redis+streams":
                url = f"{url.replace('redis://', 'redis+streams://', 1)}?durability=none"
        elif config.server == "postgres":
            url = f"{postgres_url()}?schema=celeriac_bench_{os.getpid()}_{next(_RUNS)}"
            celeriac.Celery("bench", broker=url).store.close()  # made before anything is measured
        else:
            url = f"sqlite:///{folder / 'bench.db'}"
        at = Broker(config, url, folder)
        try:
            yield at
        finally:
            if at.schema:
                drop_schema(at.schema)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def client(at: Broker, code: str) -> Any:
    """Run ``code`` in a fresh client process; returns the JSON it prints last."""
    setup = (
        "import json, time, random, sys\n"
        "from benchmarks.apps.tasks import app, behind, guarded, noop, one_at_once, started, turn, unlucky\n"
    )
    done = subprocess.run([sys.executable, "-c", setup + code], env=at.env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the client failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def publish(at: Broker, count: int) -> None:
    """Put no-ops into the queue."""
    client(at, f"for _ in range({count}): noop.delay()\nprint(1)")


class Worker:
    """A real worker, ready, and its process tree."""

    def __init__(self, at: Broker, pool: list[str]) -> None:
        self.log = at.folder / "worker.log"
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "benchmarks.apps.tasks",
            "worker",
            "-l",
            "WARNING",
            "-P",
            *pool,
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=at.env, cwd=at.folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def tree(self) -> list[psutil.Process]:
        """The worker and its children."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def cpu(self) -> float:
        """CPU seconds of the living tree."""
        return sum(sum(process.cpu_times()[:2]) for process in self.tree())

    def pss(self) -> float:
        """Proportional set size of the tree, in MB."""
        return sum(process.memory_full_info().pss for process in self.tree()) / 1e6

    def stop(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def worker(at: Broker, pool: list[str]) -> Iterator[Worker]:
    """A worker that is always ended."""
    running = Worker(at, pool)
    try:
        yield running
    finally:
        running.stop()


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 300.0, every: float = 0.05) -> None:
    """Wait; raise RuntimeError saying what did not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(every)


@dataclass
class Figure:
    """One line of a table: a value a run for each configuration, and the bar."""

    question: str
    unit: str
    values: dict[str, list[float]]
    bar: str = ""
    met: bool | None = None

    def median(self, name: str) -> float:
        return statistics.median(self.values[name])


def ratios(values: dict[str, list[float]], over: str = "stock") -> list[float]:
    """celeriac over another configuration, round by round."""
    return [ours / theirs for ours, theirs in zip(values["celeriac"], values[over], strict=True)]
