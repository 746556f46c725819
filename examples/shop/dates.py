"""Which date a text means. 12/1/2010 is a day in January or in December: the other dates of the file decide."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone

from shop.orders import InvalidOrder

TIME = r"(?:[T ](?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.\d+)?)?)?"
ISO = re.compile(rf"(?P<year>\d{{4}})-(?P<month>\d{{1,2}})-(?P<day>\d{{1,2}}){TIME}Z?", re.ASCII)
SLASHES = re.compile(rf"(?P<one>\d{{1,2}})/(?P<two>\d{{1,2}})/(?P<year>\d{{4}}|\d{{2}}){TIME}", re.ASCII)

MONTH_FIRST, DAY_FIRST, EITHER = "month/day", "day/month", "either"


@dataclass(frozen=True)
class Convention:
    """How the dates with slashes of one file are meant, and why."""

    order: str
    reason: str = ""

    def read(self, text: str) -> datetime:
        """A date and time, as UTC: an orders file names no time zone.

        Raises InvalidOrder for what is no date, and for what is two of them.
        """
        if found := ISO.fullmatch(text):
            return _made(text, found, int(found["month"]), int(found["day"]))
        if found := SLASHES.fullmatch(text):
            one, two = int(found["one"]), int(found["two"])
            month, day = (one, two) if self._month_first(text, one, two) else (two, one)
            return _made(text, found, month, day)
        raise InvalidOrder(f"date {text!r} is none: 2010-12-31 08:26:00, 12/31/2010 8:26 or 31/12/2010 8:26", "date")

    def _month_first(self, text: str, one: int, two: int) -> bool:
        if self.order != EITHER:
            return self.order == MONTH_FIRST
        if one <= 12 and two <= 12 and one != two:
            raise InvalidOrder(f"date {text!r} may be month/day or day/month: the file has both", "date")
        return two > 12


def detect(texts: Iterable[str]) -> Convention:
    """The convention of a file, by those of its dates that can be read in one way only."""
    slashes = [found for found in map(SLASHES.fullmatch, texts) if found]
    if not slashes:
        return Convention(MONTH_FIRST)
    months = next((found[0] for found in slashes if int(found["two"]) > 12 >= int(found["one"])), None)
    days = next((found[0] for found in slashes if int(found["one"]) > 12 >= int(found["two"])), None)
    if months and days:
        return Convention(
            EITHER, f"dates are both month/day ({months}) and day/month ({days}): what can be either is out"
        )
    if days:
        return Convention(DAY_FIRST, f"dates are read as day/month, as {days} is")
    if months:
        return Convention(MONTH_FIRST, f"dates are read as month/day, as {months} is")
    return Convention(
        MONTH_FIRST, f"dates are taken as month/day, such as {slashes[0][0]}: none in the file decides it"
    )


def _made(text: str, found: re.Match[str], month: int, day: int) -> datetime:
    year = int(found["year"]) + (2000 if len(found["year"]) == 2 else 0)
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError as error:
        raise InvalidOrder(f"date {text!r}: {error}", "date") from None
