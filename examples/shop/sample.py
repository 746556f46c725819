"""Makes the sample that ships: invented orders, with the dirt that real ones have.

python -m shop.sample > shop/sample_orders.csv
"""

from __future__ import annotations

import csv
import random
import sys
from datetime import datetime, timedelta, timezone

from shop.reading import COLUMNS

COUNTRIES = ("United Kingdom", "France", "Germany", "Norway", "Ireland", "Portugal")
ARTICLES = {"LAMP": 1295, "MUG": 350, "KETTLE": 2499, "TOWEL": 899, "CANDLE": 425, "CLOCK": 1850, "STAMP": 95}


def rows(count: int = 200, seed: int = 11) -> list[list[str]]:
    """Lines of ``count`` invoices, a few of them no good."""
    draw = random.Random(seed)  # noqa: S311  # a sample, not a secret
    found: list[list[str]] = []
    moment = datetime(2025, 1, 6, 9, 0, tzinfo=timezone.utc)
    for number in range(count):
        moment += timedelta(minutes=draw.randint(1, 40))
        invoice, customer, country = f"S{10000 + number}", f"{draw.randint(100, 400)}.0", draw.choice(COUNTRIES)
        for article in draw.sample(sorted(ARTICLES), draw.randint(1, 4)):
            price = f"{ARTICLES[article] / 100:.2f}"
            found.append(
                [
                    invoice,
                    article,
                    f"{article.title()} ",
                    str(draw.randint(1, 6)),
                    f"{moment:%Y-%m-%d %H:%M:%S}",
                    price,
                    customer,
                    country,
                ]
            )
    return found + dirt()


def dirt() -> list[list[str]]:
    """Rows that no shop should charge."""
    at = "2025-01-20 10:00:00"
    return [
        ["C20001", "LAMP", "Lamp", "-1", at, "12.95", "101.0", "France"],
        ["S20002", "MUG", "Mug", "2", at, "3.50", "", "Norway"],
        ["S20003", "CLOCK", "Clock", "1", at, "0.00", "102.0", "Germany"],
        ["S20004", "TOWEL", "Towel", "1", "20th of January", "8.99", "103.0", "Ireland"],
        ["S20005", "STAMP", "Stamp", "three", at, "0.95", "104.0", "Portugal"],
        ["S20006", "CANDLE", "Candle", "1", at, "four pounds", "105.0", "France"],
        ["", "MUG", "Mug", "1", at, "3.50", "106.0", "France"],
    ]


if __name__ == "__main__":
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows())
