"""The demo: place orders, kill -9 the payments worker half way, wait, and read the strangers' books.

make demo                       the sample that ships, on one SQLite file
make demo ORDERS=path N=2000    orders from a file, until 2,000 are accepted
make demo JSON=path             the verdict for machines too, with every reason
make demo STOCK=1               the same shop, seed and kill on stock Celery with Redis
make demo KEEP=1                leave it running
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from shop.reading import Reading

from examples.demo import source
from examples.demo.night import Night, spend
from examples.demo.run import Run
from examples.demo.shop import LEASE, Shop
from examples.demo.stock import own_database, redis_url
from examples.demo.verdict import Verdict, as_text, judge, read_books


def announce(shop: Shop, wanted: int, reading: Reading) -> None:
    """What is about to happen."""
    kind = f"stock Celery on Redis (database {shop.env['CELERY_BROKER_URL'].rpartition('/')[2]})"
    print(f"The shop on {kind if shop.stock else 'celeriac on one SQLite file'}: {wanted} orders. See {shop.url}/")
    if not shop.stock:
        print(f"  a killed worker's tasks come back after {LEASE} s here (30 s by default)")
    rows, invoices = len(reading.rejected_rows), len(reading.rejected_invoices)
    print(f"  {len(reading.orders)} good orders; {rows} rows and {invoices} invoices rejected, see the end", flush=True)


def conclude(run: Run, night: Night) -> tuple[Verdict, dict[str, Any]]:
    """The verdict from the strangers' books, and what else was seen."""
    books = read_books(run.shop.gateway_books, run.shop.mail_books)
    return judge(run.accepted, set(run.dead), books, night), {
        "seconds_after_kill": round(run.settled_after, 1),
        "recovery_seconds": None if run.recovered_after is None else round(run.recovered_after, 1),
        "paid_at_kill": run.paid_at_kill,
        "being_charged_at_kill": len(run.held),
        "being_charged_still": len(run.held_still),
        "refused_by_the_shop": run.refused,
        "circuits": run.circuits,
        "dead_letters": [{"order": order_id, "error": error} for order_id, error in sorted(run.dead.items())],
        "nightly_report": {"day": night.day, "workflow": night.workflow, "states": night.states},
    }


def show(verdict: Verdict, facts: dict[str, Any], reading: Reading) -> None:
    """Print the verdict."""
    print(f"\nAs the gateway and the mail server have it, {facts['seconds_after_kill']} s after the kill:")
    print(as_text(verdict))
    held, recovered = facts["being_charged_at_kill"], facts["recovery_seconds"]
    still = f"and {facts['being_charged_still']} are so still"
    after = still if recovered is None else f"and had their answer {recovered} s later"
    print(f"  {held} orders were being charged when the worker was killed, {after}")
    for letter in facts["dead_letters"][:5]:
        print(f"  dead letter: order {letter['order']}: {letter['error']}")
    print("\n".join(source.told(reading)))
    if facts["refused_by_the_shop"]:
        print(f"  refused by the shop: {len(facts['refused_by_the_shop'])}, such as {facts['refused_by_the_shop'][0]}")
    print("\nNothing lost, nothing charged twice." if verdict.ok else "\nNot ok.", flush=True)


def perform(shop: Shop, path: Path, reading: Reading, wanted: int, kept: Path | None) -> Verdict:
    """The whole of it, printed and kept."""
    began = time.monotonic()
    shop.start()
    announce(shop, wanted, reading)
    run = Run(shop, reading.orders, wanted)
    run.go()
    run.look_at_letters()
    verdict, facts = conclude(run, spend(shop))
    show(verdict, facts, reading)
    if kept:
        seconds = {"stock": shop.stock, "orders": wanted, "seconds": round(time.monotonic() - began, 1)}
        document = {**seconds, **facts, **verdict.as_dict(), "reading": source.as_facts(path, reading)}
        kept.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return verdict


def keep_running(shop: Shop) -> None:
    """Until Ctrl-C."""
    print(f"\nStill running, in {shop.folder}: orders {shop.url}/, Ctrl-C ends it.", flush=True)
    signal.pause()


def main() -> int:
    """Run the demo; 0 only if nothing was lost and nothing charged twice."""
    path, kept, seed = source.orders_file(), source.verdict_path(), source.number("SEED", 7) or 7
    reading = source.read(path)
    wanted = min(source.number("N") or len(reading.orders), len(reading.orders))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="celeriac-demo-"))
        if not os.environ.get("KEEP"):
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stock = stack.enter_context(own_database(redis_url())) if os.environ.get("STOCK") else None
        shop = Shop(folder, stock_redis=stock, seed=seed)
        stack.callback(shop.stop)
        try:
            verdict = perform(shop, path, reading, wanted, kept)
            if os.environ.get("KEEP"):
                keep_running(shop)
        except KeyboardInterrupt:
            return 130
        return 0 if verdict.ok else 1


if __name__ == "__main__":
    sys.exit(main())
