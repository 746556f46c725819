"""However a message comes to PostgreSQL, who waits for work is told."""

from __future__ import annotations

import time

import pytest

from celeriac.store.postgres import copying
from celeriac.store.protocols import News
from celeriac.testing.conformance.harness import publish, task
from tests.conformance.postgres import PostgresHarness
from tests.support import patient


@pytest.mark.parametrize("count", [1, 2, copying.WORTH_IT, 4 * copying.WORTH_IT])
@pytest.mark.parametrize("generation", [None, 0])
def test_a_publish_of_any_size_is_told(harness: PostgresHarness, count: int, generation: int | None) -> None:
    store = harness.open()
    mark = store.mark(News.WORK)
    publish(harness.open(), *(task(f"t{number}", generation=generation) for number in range(count)))
    began = time.monotonic()
    assert store.wait(patient(10), mark, News.WORK) != mark
    assert time.monotonic() - began < patient(5)
