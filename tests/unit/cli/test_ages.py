from __future__ import annotations

from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.cli.ages import age, ago, iso, lasting, took, utc

CONTEXT: Any = None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("2h", 7200), ("3d", 259_200), ("1w", 604_800), ("0s", 0), (" 2h ", 7200)],
)
def test_an_age_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert age(CONTEXT, CONTEXT, text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 hours", "1.5h", "-2h", "2H", "1h30m", "2y", "9999999999s", "٣d"])
def test_anything_else_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(click.BadParameter, match="90s, 15m, 2h, 3d or 1w") as caught:
        age(CONTEXT, CONTEXT, text)
    assert repr(text) in str(caught.value)


def test_an_option_left_out_stays_out() -> None:
    assert age(CONTEXT, CONTEXT, None) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s ago"),
        (0, "0s ago"),
        (59.9, "59s ago"),
        (60, "1m ago"),
        (3599, "59m ago"),
        (3600, "1h ago"),
        (86_399, "23h ago"),
        (86_400, "1d ago"),
        (13 * 86_400, "13d ago"),
        (14 * 86_400, "2w ago"),
    ],
)
def test_how_long_ago_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert ago(seconds) == text


@given(st.integers(min_value=0, max_value=13), st.sampled_from("smhd"))
def test_what_is_shown_can_be_typed_in_again(number: int, unit: str) -> None:
    seconds = age(CONTEXT, CONTEXT, f"{number}{unit}")
    assert seconds is not None
    shown = age(CONTEXT, CONTEXT, ago(seconds).removesuffix(" ago"))
    assert shown == seconds


def test_moments_are_utc() -> None:
    assert iso(0.5) == "1970-01-01T00:00:00.500+00:00"
    assert iso(None) is None
    assert utc(0.5) == "1970-01-01 00:00:00 UTC"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1s"),
        (59, "59s"),
        (60, "1m"),
        (90, "1m 30s"),
        (6000, "1h 40m"),
        (86_400 + 1, "1d 1s"),
        (2_000_000, "3w 2d"),
    ],
)
def test_how_long_it_lasts(seconds: float, text: str) -> None:
    assert lasting(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "said"), [(-0.1, "0 ms"), (0.0564, "56 ms"), (0.9999, "1s"), (1.4, "1s"), (6000, "1h 40m")]
)
def test_what_took_less_than_a_second_has_milliseconds(seconds: float, said: str) -> None:
    assert took(seconds) == said
