"""The night of the demo: the report is sent while the mail server is away, is blocked, looked at, and resumed."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from shop.repository import OrderRepository

from examples.demo.shop import Shop

#: What is done once, after the figures of each country.
LAST_STEPS = ("compile", "mail", "close")


@dataclass
class Night:
    """What was to be done for a day's report, and how often each step was done."""

    day: str
    expected: frozenset[str] = frozenset()
    steps: dict[str, int] = field(default_factory=dict)
    workflow: str | None = None  #: None of stock Celery's
    states: list[str] = field(default_factory=list)  #: in which it came to rest, one after the other


def spend(shop: Shop) -> Night:
    """Have the report of today made, and say what happens. What goes wrong is told, and found missing in the journal."""
    repository = OrderRepository(shop.folder / "shop.db")
    countries = repository.countries()
    night = Night(str(datetime.now(timezone.utc).date()))
    night.expected = frozenset([*(f"figures of {each}" for each in countries), *(LAST_STEPS if countries else ())])
    try:
        _report(shop, night)
    except RuntimeError as error:
        print(f"  the nightly report failed: {error}")
    night.steps = repository.steps(night.day)
    return night


def _report(shop: Shop, night: Night) -> None:
    if shop.stock:
        # Nobody could resume it.
        found = _nightly(shop, night, "send", night.day)
    else:
        with shop.without_mail():
            print("  the mail server is taken away, and the nightly report sent")
            found = _nightly(shop, night, "send", night.day)
            if found:
                _show(shop, "show", found["workflow"])
        if found:
            found = _resume(shop, night, found)
    if found and found["report"]:
        _tell(found["report"])


def _resume(shop: Shop, night: Night, blocked: dict[str, Any]) -> dict[str, Any] | None:
    print("  the mail server is back")
    _show(shop, "resume", blocked["workflow"])
    began = time.monotonic()
    found = _nightly(shop, night, "wait", blocked["last"])
    print(f"  its workflow has {night.states[-1]} within {time.monotonic() - began:.1f} s")
    return found


def _nightly(shop: Shop, night: Night, *command: str) -> dict[str, Any] | None:
    # Under the name that it has on the shop's path.
    printed = shop.run("-m", "demo.nightly", *command)
    found: dict[str, Any] | None = json.loads(printed.splitlines()[-1])
    if found:
        night.workflow = found["workflow"]
        night.states.append(found["state"])
    return found


def _show(shop: Shop, command: str, workflow: str) -> None:
    """Do what a user does in a terminal."""
    print(f"\n  $ celery -A app.core.celery workflow {command} {workflow}")
    lines = shop.celery("workflow", command, workflow).splitlines()
    print("\n".join(f"  {line}".rstrip() for line in lines), end="\n\n", flush=True)


def _tell(report: dict[str, Any]) -> None:
    best = report["countries"][0]
    print(f"  nightly report: {report['orders']} orders, £{report['pence'] / 100:,.2f}; most from {best[0]}")
