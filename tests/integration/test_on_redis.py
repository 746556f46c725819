"""Queueing and deaths on Redis: those tests of the embedded store that show most of another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.faults.test_kills import (  # noqa: F401  # collected here too
    test_a_chord_that_grew_in_a_run_that_died_is_complete,
    test_a_pool_process_dies_and_the_worker_goes_on,
    test_a_stopped_worker_settles_nothing,
    test_a_worker_dies,
    test_killed_while_messages_wait,
)
from tests.integration.keeping import Keep
from tests.integration.sites import RedisSite, Site
from tests.integration.test_queueing import (  # noqa: F401  # collected here too
    test_a_delayed_task_waits_in_the_store_and_outlives_the_worker,
    test_a_free_slot_takes_work_while_the_others_are_busy,
    test_a_revoke_holds_though_no_worker_heard_it,
    test_purge_drops_what_waits_and_says_so_in_the_ledger,
    test_the_higher_priority_goes_first,
    test_workers_meet_and_share_revokes,
    test_workers_take_from_their_own_queues,
)


@pytest.fixture
def site(tmp_path: Path, redis_url: str, keep: Keep) -> Site:
    """A prefix of the test's own; its workers die with it."""
    return keep(RedisSite(tmp_path, redis_url))
