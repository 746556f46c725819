"""Files that cannot be used: said with the file's name and what to do, and never damaged."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from celeriac.errors import StoreCorrupt, StoreError, StoreReadOnly, StoreTooNew, StoreUnavailable
from celeriac.store.sqlite import SQLiteStore, database
from celeriac.store.sqlite.migrate import MIGRATIONS
from celeriac.testing.conformance.harness import claim, ids, publish, state_of, task

NOBODY = 65_534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def _made(path: Path) -> bytes:
    """A store with something in it, closed; returns the file's bytes."""
    store = SQLiteStore(path)
    publish(store, *[f"{number}" for number in range(200)])
    store.close()
    return path.read_bytes()


def _refused(kind: type[StoreError], path: Path, *, saying: str) -> StoreError:
    """Opening raises ``kind``, which names the file, what is wrong and a next step."""
    with pytest.raises(kind, match=saying) as caught:
        publish(SQLiteStore(path), "a")
    assert type(caught.value) is kind
    assert str(path) in str(caught.value)
    assert caught.value.remedy in str(caught.value)
    return caught.value


# -- not ours


def test_random_bytes_are_corrupt_and_left_as_they_are(path: Path) -> None:
    noise = os.urandom(20_000)
    path.write_bytes(noise)
    _refused(StoreCorrupt, path, saying="not a database")
    assert path.read_bytes() == noise


def test_a_text_file_is_left_as_it_is(path: Path) -> None:
    path.write_text("[broker]\nurl = sqlite:///shop.db\n")
    _refused(StoreCorrupt, path, saying="not a database")
    assert path.read_text().startswith("[broker]")


@pytest.mark.parametrize("version", [0, 1, 7])
def test_another_application_s_database_is_not_touched(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE customer (id INTEGER PRIMARY KEY)")
        raw.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    _refused(StoreCorrupt, path, saying="another application")
    assert path.read_bytes() == before
    assert sorted(found.name for found in path.parent.iterdir()) == [path.name]


def test_a_truncated_file_is_corrupt(path: Path) -> None:
    whole = _made(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreCorrupt, match="malformed") as caught:
        _use_everything(SQLiteStore(path))
    assert str(path) in str(caught.value)
    assert "Restore a backup" in str(caught.value)


def test_damage_in_the_middle_is_corrupt(path: Path) -> None:
    whole = bytearray(_made(path))
    page = 4_096
    for start in range(2 * page, len(whole), page):
        whole[start : start + 200] = os.urandom(200)
    path.write_bytes(whole)
    with pytest.raises(StoreCorrupt, match="malformed"):
        _use_everything(SQLiteStore(path))


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    store = SQLiteStore(path)
    publish(store, "a")
    assert ids(claim(store)) == ["a"]
    store.close()


def test_a_newer_schema_is_not_written_to(path: Path) -> None:
    _made(path)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    error = _refused(StoreTooNew, path, saying=f"schema version is 99, and this celeriac knows up to {len(MIGRATIONS)}")
    assert isinstance(error, StoreTooNew)
    assert (error.found, error.supported) == (99, len(MIGRATIONS))
    assert path.read_bytes() == before


def test_a_store_that_could_not_open_leaves_nothing_open(path: Path) -> None:
    _made(path)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreTooNew) as caught:
        SQLiteStore(path)
    assert caught.value is not None  # its traceback holds the frames
    assert _open_files(path) == []


# -- not there


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "shop.db"
    _refused(StoreUnavailable, path, saying=f"the folder {path.parent} does not exist; create it")


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    _refused(StoreUnavailable, tmp_path / "file" / "shop.db", saying="does not exist")


def test_a_folder_where_the_file_should_be(path: Path) -> None:
    path.mkdir()
    _refused(StoreCorrupt, path, saying="it is a folder")


def test_a_word_that_is_no_synchronous_is_said(path: Path) -> None:
    with pytest.raises(StoreError, match="synchronous is 'ful', and may be normal or full"):
        SQLiteStore(path, synchronous="ful")


def test_an_old_sqlite_is_told_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(StoreError, match=r"3\.37 or newer") as caught:
        SQLiteStore(path)
    assert str(path) in str(caught.value)
    assert not path.exists()


# -- read-only


def _as_nobody(code: str, *arguments: str) -> None:
    """Run code as a user whom permissions bind; root is bound by none."""
    become = f"import os\nif os.getuid() == 0:\n    os.setgid({NOBODY})\n    os.setuid({NOBODY})\n"
    command = [sys.executable, "-c", _IMPORTS + become + code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


#: Imported before the user changes, who may not read where this is installed.
_IMPORTS = """
import sys
import tempfile
from celeriac.errors import StoreReadOnly
from celeriac.store.sqlite import SQLiteStore
from celeriac.testing.conformance.harness import publish

def refused(saying):
    try:
        publish(SQLiteStore(sys.argv[1]), "a")
    except StoreReadOnly as error:
        assert sys.argv[1] in str(error) and saying in str(error) and error.remedy in str(error), str(error)
    else:
        raise SystemExit("it was written")
"""


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that anybody can reach, unlike those that pytest makes."""
    folder = Path(tempfile.mkdtemp(prefix="celeriac-public-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_read_only_file(public: Path) -> None:
    path = public / "shop.db"
    _made(path)
    path.chmod(0o444)
    public.chmod(0o777)
    _as_nobody("refused(sys.argv[1] + ' may not be written')", str(path))


def test_a_read_only_folder(public: Path) -> None:
    path = public / "shop.db"
    public.chmod(0o555)
    _as_nobody("refused(sys.argv[2] + ' may not be written')", str(path), str(public))


def test_a_read_only_folder_round_a_writable_file(public: Path) -> None:
    """The write-ahead log lies beside the file."""
    path = public / "shop.db"
    _made(path)
    path.chmod(0o666)
    public.chmod(0o555)
    _as_nobody("refused(sys.argv[2] + ' may not be written')", str(path), str(public))


def test_a_folder_that_may_not_be_entered(public: Path) -> None:
    path = public / "closed" / "shop.db"
    path.parent.mkdir(mode=0o700)
    code = "os.umask(0)\nrefused('may not be entered')"
    if os.getuid() != 0:
        path.parent.chmod(0)
    _as_nobody(code, str(path))
    path.parent.chmod(0o700)


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="only root may mount")
def test_a_read_only_file_system(tmp_path: Path) -> None:
    path = tmp_path / "mounted" / "shop.db"
    path.parent.mkdir()
    with _mounted(path.parent, "size=2m") as remount:
        _made(path)
        remount("ro")
        _refused(StoreReadOnly, path, saying="may not be written")


# -- full


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="only root may mount")
def test_a_full_disk_loses_nothing_and_goes_on_unaided(tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    folder.mkdir()
    with _mounted(folder, "size=3m"):
        ballast = folder / "ballast"
        ballast.write_bytes(b"\0" * 1_000_000)
        store = SQLiteStore(folder / "shop.db")
        accepted = _fill(store, body="x" * 20_000)
        with pytest.raises(StoreUnavailable, match="full disk") as caught:
            publish(store, task("refused", body="x" * 20_000))
        assert str(folder / "shop.db") in str(caught.value)
        ballast.unlink()
        publish(store, "again")
        assert ids(claim(store, limit=1_000)) == [*accepted, "again"]
        _sound(store)
        store.close()


def test_a_file_at_its_limit_loses_nothing_and_goes_on_unaided(path: Path) -> None:
    store = SQLiteStore(path)
    raw = store.database.writer.raw()
    raw.execute("PRAGMA max_page_count = 100")
    accepted = _fill(store, body="x" * 20_000)
    with pytest.raises(StoreUnavailable, match="full"):
        publish(store, *[f"all-{number}" for number in range(200)])
    raw.execute("PRAGMA max_page_count = 10000")
    publish(store, "again")
    assert ids(claim(store, limit=1_000)) == [*accepted, "again"]
    _sound(store)
    store.close()


# -- interrupted


@pytest.mark.parametrize("where", ["begun", "committing"])
def test_an_interrupted_write_holds_no_lock(path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """A time limit is raised wherever the interpreter happens to be."""
    store, other = SQLiteStore(path), SQLiteStore(path, busy_timeout=0.3)
    _interrupt(monkeypatch, where)
    with pytest.raises(KeyboardInterrupt):
        publish(store, "a")
    monkeypatch.undo()
    publish(other, "b")
    publish(store, "c")
    assert ids(claim(store)) == ["b", "c"]
    store.close()
    other.close()


def _interrupt(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    begin = database.Connection._begin

    def begin_and_stop(self: database.Connection, raw: sqlite3.Connection) -> None:
        begin(self, raw)
        raise KeyboardInterrupt

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    if where == "begun":
        monkeypatch.setattr(database.Connection, "_begin", begin_and_stop)
    else:
        monkeypatch.setattr("celeriac.store.relational.queue.publish", stop)


def test_a_long_wait_for_another_writer_ends_with_a_reason(path: Path) -> None:
    store, other = SQLiteStore(path, busy_timeout=0.2), SQLiteStore(path)
    with other.database.writer.writing():
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match="locked") as caught:
            publish(store, "a")
        assert 0.2 <= time.monotonic() - begun < 2
    assert str(path) in str(caught.value)
    publish(store, "a")
    assert state_of(store, "a") == "PENDING"
    store.close()
    other.close()


# -- helpers


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[Callable[[str], None]]:
    """A file system of its own; yields what remounts it."""

    def mount(*arguments: str) -> None:
        subprocess.run(["mount", *arguments, str(folder)], check=True, capture_output=True)

    try:
        mount("-t", "tmpfs", "-o", options, "tmpfs")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no mount here: {error}")
    try:
        yield lambda option: mount("-o", f"remount,{option}")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _use_everything(store: SQLiteStore) -> None:
    try:
        while claim(store, limit=10):
            publish(store, f"{time.monotonic_ns()}")
        store.sizes()
    finally:
        store.close()


def _fill(store: SQLiteStore, body: str) -> list[str]:
    """Publish until there is no space; returns what was accepted."""
    accepted: list[str] = []
    while len(accepted) < 1_000:
        name = f"{time.monotonic_ns()}"
        try:
            publish(store, task(name, body=body))
        except StoreUnavailable:
            return accepted
        accepted.append(name)
    raise AssertionError("the disk never was full")


def _sound(store: SQLiteStore) -> None:
    with store.database.reader.reading() as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def _open_files(path: Path) -> list[str]:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        return []
    names = [str(entry.readlink()) for entry in folder.iterdir() if entry.is_symlink()]
    return [name for name in names if name.startswith(str(path))]
