"""Queueing and deaths on PostgreSQL: the tests of the embedded store, on the other one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.faults.test_kills import *  # noqa: F403  # every test there is
from tests.integration.sites import PostgresSite, Site
from tests.integration.test_queueing import *  # noqa: F403  # every test there is
from tests.support.plugin import PROGRAMS


@pytest.fixture
def site(tmp_path: Path, postgres_url: str, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A schema of the test's own; its workers die with it."""
    site = PostgresSite(tmp_path, postgres_url)
    request.node.stash[PROGRAMS] = site.workers
    yield site
    site.close()
