"""What the demo is told: the file of orders, how many, and where the verdict goes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from shop.reading import Reading, UnreadableFile, read_orders

from examples.demo import EXAMPLES

SAMPLE = EXAMPLES / "shop" / "sample_orders.csv"


def number(name: str, default: int | None = None) -> int | None:
    """A whole number from the environment."""
    text = os.environ.get(name, "")
    if text and not (text.isascii() and text.isdigit() and 0 < int(text) < 10**9):
        raise SystemExit(f"{name}={text}: a whole number, at least 1")
    return int(text) if text else default


def verdict_path() -> Path | None:
    """Where JSON= wants the verdict; told before the run when it cannot be written there."""
    text = os.environ.get("JSON", "")
    path = Path(text) if text else None
    if path and (path.is_dir() or not path.resolve().parent.is_dir()):
        raise SystemExit(f"JSON={path}: name a file in a folder that exists")
    return path


def orders_file() -> Path:
    """The file of ORDERS=, or the sample."""
    return Path(os.environ.get("ORDERS") or SAMPLE)


def read(path: Path) -> Reading:
    """The orders of a file; ends the program, with the reasons, when it has none."""
    try:
        reading = read_orders(path)
    except UnreadableFile as error:
        raise SystemExit(str(error)) from error
    if not reading.orders:
        raise SystemExit("\n".join([f"{path} holds no order that can be placed", *told(reading)]))
    return reading


def told(reading: Reading) -> list[str]:
    """A line for each way to understand the file, and for each kind of dirt, with an example."""
    lines = [f"  {note}" for note in reading.notes]
    for kind, count in reading.counted().items():
        first = next(reason.text for reason in reading.reasons if f"{reason.what}: {reason.kind}" == kind)
        lines.append(f"  rejected, {kind:<34}{count:>8}   such as: {first}")
    return lines


def as_facts(path: Path, reading: Reading) -> dict[str, Any]:
    """The same for machines, with every reason."""
    return {
        "file": path.name,
        "good_orders": len(reading.orders),
        "notes": reading.notes,
        "rejected": reading.counted(),
        "reasons": [{"what": each.what, "kind": each.kind, "text": each.text} for each in reading.reasons],
    }
