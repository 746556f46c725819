from __future__ import annotations

from celery.app.defaults import DEFAULTS as CELERYS

from celeriac.settings import OwnSettings, defaults_reference
from celeriac.settings.own import OWN_NAMES
from celeriac.settings.policy import DEFAULTS


def test_every_default_is_in_the_reference_once() -> None:
    rows = defaults_reference()
    settings = [(row.setting, row.when) for row in rows]
    assert len(settings) == len(set(settings))
    assert {row.setting for row in DEFAULTS} | OWN_NAMES <= {row.setting for row in rows}
    assert all(row.reason and row.when for row in rows)


def test_a_row_says_what_it_replaces_and_where() -> None:
    late = next(row for row in defaults_reference() if row.setting == "task_acks_late")
    assert late.group == "safe"
    assert (late.value, late.instead_of) == ("True", repr(CELERYS["task_acks_late"]))
    assert late.when == "sqlite, postgresql, redis+streams, quorum queues, any broker with a ledger"


def test_own_settings_have_their_unit_and_what_none_means() -> None:
    rows = {row.setting: row for row in defaults_reference() if row.group == "own"}
    assert rows["celeriac_lease_seconds"].value == f"{OwnSettings().lease_seconds:g}"
    assert rows["celeriac_lease_seconds"].when == "seconds"
    assert rows["celeriac_dead_letter_expires"].value == "None: for ever"


def test_the_options_of_the_url() -> None:
    options = [(row.setting, row.value) for row in defaults_reference() if row.group == "sqlite URL"]
    assert options == [("?synchronous=normal", "default"), ("?synchronous=full", "")]


def test_the_options_of_a_redis_url() -> None:
    options = [(row.setting, row.value) for row in defaults_reference() if row.group == "redis+streams URL"]
    assert options[:2] == [("?prefix=celeriac", "default"), ("?durability=always", "default")]
    assert {value for _, value in options[2:]} == {""}
