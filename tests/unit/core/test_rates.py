from __future__ import annotations

import pytest

from celeriac.core.rates import per_second


@pytest.mark.parametrize(
    ("rate", "wanted"),
    [
        (None, None),
        ("10/s", 10.0),
        ("120/m", 2.0),
        ("1800/h", 0.5),
        ("0.5/s", 0.5),
        (" 5 ", 5.0),
        (3, 3.0),
        (0.25, 0.25),
    ],
)
def test_so_many_a_second(rate: str | float | None, wanted: float | None) -> None:
    assert per_second(rate) == wanted


@pytest.mark.parametrize(
    "rate", ["", "0/m", "-1/s", "10/d", "ten/s", "1e3/s", "10/", 0, -1.0, float("inf"), float("nan"), True]
)
def test_what_is_no_rate(rate: str | float) -> None:
    with pytest.raises(ValueError, match="100/m"):
        per_second(rate)
