"""Which errors are one and the same, by a table."""

from __future__ import annotations

import time

import pytest

from celeriac.core.fingerprints import DIGITS, fingerprint, normalised

TABLE = [
    # numbers
    ("gateway refused order 7", "gateway refused order <n>"),
    ("Error 111 connecting to localhost:6379. Connection refused.", "Error <n> connecting to localhost:<n>. Connection refused."),
    ("connection to 127.0.0.1:5432 refused", "connection to <n> refused"),
    ("-3.5e10 is < 0, of 1,000 rows", "<n> is < <n>, of <n> rows"),
    ("HTTP/1.1 503", "HTTP/<n> <n>"),
    ("line 3, column 14", "line <n>, column <n>"),
    # ids and hexadecimal digits
    ("no order 550e8400-e29b-41d4-a716-446655440000", "no order <id>"),
    ("no order 550E8400E29B41D4A716446655440000", "no order <id>"),
    ("ord_3fKx9Q is missing", "<id> is missing"),
    ("<Order object at 0x7f3a10>", "<Order object at <hex>>"),
    ("blob deadbeef01 not found", "blob <hex> not found"),
    ("/srv/tmpab12cd/x.txt", "/srv/<id>/x.txt"),
    ("task_7 on port5432 of host12", "task_<n> on port<n> of host<n>"),
    ("utf8: cafe deadline facade", "utf<n>: cafe deadline facade"),
    # quoted values
    ("order 'abc' not found for customer \"x y\"", "order <value> not found for customer <value>"),
    ("column `price` and “net” and «brutto»", "column <value> and <value> and <value>"),
    (r"it said 'don\'t' twice", "it said <value> twice"),
    ("b'\\x00\\x01' is no text", "<value> is no text"),
    ("'customer_id'", "<value>"),
    ("can't connect, isn't it", "can't connect, isn't it"),
    ("the customers' orders aren't there", "the customers' orders aren't there"),
    # times, addresses
    ("since 2026-11-26T06:30:46.123+00:00 away", "since <time> away"),
    ("since 2026-11-26 06:30:46 away", "since <time> away"),
    ("due on 2026-11-26", "due on <time>"),
    ("no user a.b+c@shop.example", "no user <email>"),
    ("GET https://api.shop.example/orders/7?token=abc&x=1 failed", "GET https://api.shop.example/orders/<n>?<query> failed"),
    ("is it so? yes", "is it so? yes"),
    # lines and blanks
    ("  one\n\n two\tthree ", "one two three"),
    ("1\n2\n3\n4\n5\nsix", "<n> <n> <n> <n> <n>"),
    ("", ""),
    ("Bestellung 7 für Müller fehlt", "Bestellung <n> für Müller fehlt"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "same"), TABLE)
def test_what_is_taken_out(error: str, same: str) -> None:
    assert normalised(error) == same


def test_a_text_that_was_cut_in_a_quoted_value_is_the_same_as_another() -> None:
    first, second = (f"bad payload '{character * 9_000}'" for character in "ab")
    assert normalised(first) == normalised(second) == "bad payload <value>"


def test_type_and_text_make_it_and_the_task_does_not() -> None:
    known = fingerprint("builtins.ValueError", "no amount for order 7")
    assert known == fingerprint("builtins.ValueError", "no amount for order 12345")
    assert known != fingerprint("builtins.KeyError", "no amount for order 7")
    assert known != fingerprint("builtins.ValueError", "no currency for order 7")
    assert len(known) == DIGITS


@pytest.mark.parametrize(
    "piece",
    ["1", "a", "1a", "'", '"', "\\", "a@", "?a=", "0x", "-", ".", "a" * 40 + "1" * 40, "1" * 40 + "a", "é", "\udcff"],
)
def test_no_text_holds_it_up(piece: str) -> None:
    """A text comes from anywhere; a pattern that tries every way through it would take hours."""
    began = time.monotonic()
    fingerprint("ValueError", piece * 200_000)
    assert time.monotonic() - began < 5
