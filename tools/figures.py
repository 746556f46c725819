"""Puts kept results into the pages: ``python -m tools.figures``. A block without results stays empty."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "examples" / "demo" / "results"
BENCH = ROOT / "benchmarks" / "results" / "latest.json"
PAGES = (ROOT / "README.md", ROOT / "benchmarks" / "README.md")

ROWS = {
    "accepted": "orders accepted",
    "confirmed": "confirmed: charged and mailed",
    "declined": "declined by the bank",
    "dead_lettered": "dead-lettered",
    "failed_unseen": "failed, and kept nowhere",
    "lost": "**lost**",
    "charged_twice": "**charged twice**",
    "absorbed": "repeated calls that the gateway's key absorbed",
    "repeated_mails": "repeated mails",
}

#: The questions of which the first page has the answers: what stock Celery is asked too, and what a store is for.
FIRST = (
    "publish",
    "bulk",
    "drain-solo",
    "drain-threads",
    "drain-prefork",
    "latency",
    "idle",
    "memory",
    "backlog",
    "servers",
)
#: Configurations that are celeriac on a store, by the store's own name.
STORES = {"celeriac": "SQLite", "postgres": "PostgreSQL", "streams": "Redis"}


def demo() -> str:
    """Stock beside ours: the same shop, seed and kill."""
    kept = [DEMO / f"{name}.json" for name in ("stock", "celeriac")]
    if not all(path.exists() for path in kept):
        return ""
    stock, ours = (json.loads(path.read_text(encoding="utf-8")) for path in kept)
    lines = ["| by the gateway's and the mail server's books | stock Celery on Redis | celeriac |", "|---|---:|---:|"]
    lines += [f"| {label} | {stock[name]} | {ours[name]} |" for name, label in ROWS.items()]
    return "\n".join(lines)


def bench(first: bool = False) -> str:
    """The table of the newest run of each question, or of those that come first."""
    if not BENCH.exists():
        return ""
    found = json.loads(BENCH.read_text(encoding="utf-8"))
    answers = [answer for question, answer in found["answers"].items() if not first or question in FIRST]
    lines = ["| what | stock | celeriac | unit | bar |", "|---|---:|---:|---|---|"]
    # What has no bar is for who looks into a question, in benchmarks/results.
    lines += [_row(figure) for answer in answers for figure in answer["figures"] if figure["bar"]]
    commands = ", ".join(dict.fromkeys(f"`{answer['command']}`" for answer in answers))
    machine = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    ratios = "Medians; a ratio is the median of the rounds' ratios, ours over stock Celery's in the same round."
    return "\n".join([*lines, "", f"{ratios} {commands} on {machine}."])


def _row(figure: dict[str, Any]) -> str:
    found = list(figure["values"].items())
    (first, theirs), (last, ours) = found[0], found[-1]
    middle = [f"{statistics.median(values):,.1f}" for values in (theirs, ours)]
    if len(figure["values"]) == 1:
        return _line(figure, ["", f"{middle[1]} ({STORES.get(first, first)})"])
    if first != "stock":  # both are ours
        middle = [f"{value} ({name})" for value, name in zip(middle, (first, last), strict=True)]
    return _line(figure, middle)


def _line(figure: dict[str, Any], middle: list[str]) -> str:
    verdict = (
        figure["bar"] if figure["met"] is None else f"{'met' if figure['met'] else '**not met**'}: {figure['bar']}"
    )
    return f"| {figure['question']} | {middle[0]} | {middle[1]} | {figure['unit']} | {verdict} |"


def filled(text: str) -> str:
    """A page with its blocks as the results have them."""
    for name, block in (("demo", demo()), ("bench", bench()), ("first", bench(first=True))):
        text = _with_block(text, name, block)
    return text


def _with_block(text: str, name: str, block: str) -> str:
    pattern = rf"(<!-- figures:{name} -->).*?(<!-- /figures:{name} -->)"
    found = re.search(pattern, text, re.DOTALL)
    if found is None:
        return text
    between = f"\n{block}\n" if block else "\n"
    return text[: found.end(1)] + between + text[found.start(2) :]


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
