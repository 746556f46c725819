"""A message that lies in a pipe goes to one reader, whole: the process, or the parent that takes it back."""

from __future__ import annotations

import os
import pickle
import struct
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.pool import READY
from billiard.queues import _SimpleQueue

from celeriac.worker import begun
from celeriac.worker.ahead import Ahead, keep_apart, keeps_apart

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="packet mode is Linux's")


@pytest.fixture
def queue() -> Iterator[Any]:
    made = _SimpleQueue(wnonblock=True)
    yield made
    made.close()


def _packed(content: object) -> bytes:
    body = pickle.dumps(content)
    return struct.pack(">I", len(body)) + body


def _job(number: int) -> Any:
    return SimpleNamespace(number=number, _payload=(_packed(number), memoryview(b""), 0))


def _process(queue: Any) -> Any:
    return SimpleNamespace(inq=queue, inqW_fd=queue._writer.fileno())


def test_a_pipe_keeps_messages_apart_when_told_so(queue: Any) -> None:
    assert not keeps_apart(queue)
    assert keep_apart(queue)
    assert keeps_apart(queue)
    for number in range(3):
        os.write(queue._writer.fileno(), _packed(number))
    assert [pickle.loads(begun._read_packets(queue._reader.fileno())) for _ in range(3)] == [0, 1, 2]


def test_what_was_written_is_taken_back_once(queue: Any) -> None:
    keep_apart(queue)
    ahead, job, process = Ahead(), _job(1), _process(queue)
    assert ahead.take_back(process) is None
    assert ahead.write(job, process)
    assert job._write_to is process
    assert ahead.take_back(process) is job
    assert job._write_to is None
    assert ahead.take_back(process) is None
    assert not queue._reader.poll(0)


def test_what_its_process_has_read_cannot_be_taken_back(queue: Any) -> None:
    keep_apart(queue)
    ahead, job, process = Ahead(), _job(1), _process(queue)
    ahead.write(job, process)
    begun._read_packets(queue._reader.fileno())
    assert ahead.take_back(process) is None
    assert job._write_to is process
    assert ahead.begins(process.inqW_fd)
    assert not ahead.begins(process.inqW_fd)


def test_what_is_anothers_stays(queue: Any) -> None:
    keep_apart(queue)
    ahead, process = Ahead(), _process(queue)
    os.write(process.inqW_fd, _packed("earlier"))
    ahead.write(_job(1), process)
    assert ahead.take_back(process) is None
    read = [pickle.loads(begun._read_packets(queue._reader.fileno())) for _ in range(2)]
    assert sorted(map(str, read)) == ["1", "earlier"]


def test_what_does_not_fit_in_one_piece_is_not_laid_ahead(queue: Any) -> None:
    keep_apart(queue)
    job = _job(1)
    job._payload = (job._payload[0][:4], memoryview(job._payload[0][4:]), 4)
    assert not Ahead().write(job, _process(queue))
    assert not queue._reader.poll(0)


def test_each_of_many_goes_to_one_reader_whole(queue: Any) -> None:
    """The process reads while its parent takes back."""
    keep_apart(queue)
    ahead, process = Ahead(), _process(queue)
    read: list[int] = []

    def work() -> None:
        while (number := pickle.loads(begun._read_packets(queue._reader.fileno()))) is not None:
            read.append(number)

    worker = threading.Thread(target=work)
    worker.start()
    taken: list[int] = []
    for number in range(3_000):
        assert ahead.write(_job(number), process)
        if number % 3 == 0:
            time.sleep(0.00005)
        job = ahead.take_back(process)
        if job is not None:
            taken.append(job.number)
        ahead.begins(process.inqW_fd)
    os.write(process.inqW_fd, _packed(None))
    worker.join(30)
    assert sorted(read + taken) == list(range(3_000))
    assert read
    assert taken


@pytest.mark.parametrize("packets", [True, False])
@pytest.mark.parametrize("size", [0, 1, 4_000, 4_092, 4_096, 65_536, 5_000_000])
def test_a_message_of_any_size_is_read_whole_and_leaves_the_next(queue: Any, size: int, packets: bool) -> None:
    if packets:
        keep_apart(queue)
    os.set_blocking(queue._writer.fileno(), True)
    sent = ["x" * size, "next"]

    def write() -> None:
        for content in sent:
            message = _packed(content)
            # As Celery does where it is too long for one piece: the length first.
            parts = [message] if len(message) <= 4_096 else [message[:4], message[4:]]
            for part in parts:
                left = memoryview(part)
                while left:
                    left = left[os.write(queue._writer.fileno(), left) :]

    writer = threading.Thread(target=write)
    writer.start()
    read = begun._read_packets if packets else begun._read_bytes
    assert [pickle.loads(read(queue._reader.fileno())) for _ in sent] == sent
    writer.join()


@pytest.mark.parametrize("packets", [True, False])
@pytest.mark.parametrize("start", [b"", struct.pack(">I", 10), struct.pack(">I", 10) + b"half"])
def test_a_pipe_that_ends_within_a_message_is_said_so(queue: Any, packets: bool, start: bytes) -> None:
    if packets:
        keep_apart(queue)
    os.write(queue._writer.fileno(), start)
    queue._writer.close()
    read = begun._read_packets if packets else begun._read_bytes
    with pytest.raises(EOFError):
        read(queue._reader.fileno())
    queue._writer = None


def test_a_parent_sees_what_its_process_began() -> None:
    seen = begun.Begun()
    assert seen.job < 0
    child = os.fork()
    if child == 0:
        seen.say(7, 12.5)
        os._exit(0)
    os.waitpid(child, 0)
    assert (seen.job, seen.moment) == (7, 12.5)


def test_what_plain_pickle_cannot_do_is_left_to_billiards(queue: Any) -> None:
    class Nowhere:
        pass

    outbox = begun._Outbox(queue, begun.Begun())
    os.set_blocking(queue._writer.fileno(), True)
    outbox.put((READY, (1, None, (True, "fine"), 3)))
    assert queue.get() == (READY, (1, None, (True, "fine"), 3))
    with pytest.raises((AttributeError, pickle.PicklingError)):
        outbox.put((READY, (1, None, (True, Nowhere()), 3)))
