from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sites import Site
from tests.support.plugin import PROGRAMS


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A store of the test's own; its workers die with it."""
    site = Site(tmp_path)
    request.node.stash[PROGRAMS] = site.workers
    yield site
    site.close()


@pytest.fixture
def lasting_site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """The same, with leases that outlast any test: what waits for one to run out is lost here."""
    site = Site(tmp_path, celeriac_lease_seconds=600, celeriac_renew_seconds=200)
    request.node.stash[PROGRAMS] = site.workers
    yield site
    site.close()
