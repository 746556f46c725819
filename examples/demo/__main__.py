"""The demo: place orders, kill -9 the payments worker half way, wait, and read the strangers' books.

make demo                       the sample that ships, on one SQLite file
make demo ORDERS=path N=2000    orders from a file
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
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from examples.demo.processes import EXAMPLES
from examples.demo.shop import LEASE, Shop
from examples.demo.verdict import Verdict, as_text, judge, read_books

sys.path.insert(0, str(EXAMPLES))
from shop.orders import FINAL, Order  # noqa: E402  # the examples are no installed package
from shop.reading import UnreadableFile, read_orders  # noqa: E402
from shop.repository import OrderRepository  # noqa: E402

SAMPLE = EXAMPLES / "shop" / "sample_orders.csv"
#: Seconds without any order moving after which the rest counts as lost. It is
#: longer than any retry waits, and than a killed worker's lease.
PATIENCE = 75.0


class Progress:
    """One line that is written over on a terminal; a line now and then elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._last = 0.0

    def show(self, text: str, *, final: bool = False) -> None:
        if self._terminal:
            print(f"\r\033[K  {text}", end="\n" if final else "", flush=True)
        elif final or time.monotonic() - self._last > 3:
            self._last = time.monotonic()
            print(f"  {text}", flush=True)


def post(url: str, order: Order) -> int:
    """Place one order over HTTP; returns its id."""
    body = {
        "invoice": order.invoice,
        "customer": order.customer,
        "country": order.country,
        "lines": [
            {"article": line.article, "quantity": line.quantity, "pence": str(line.pence)} for line in order.lines
        ],
    }
    request = urllib.request.Request(
        f"{url}/orders", json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # our own web process
        return int(json.load(answer)["order_id"])


class Demo:
    """One run."""

    def __init__(self, shop: Shop, orders: list[Order]) -> None:
        self.shop = shop
        self.orders = orders
        self.repository = OrderRepository(shop.folder / "shop.db")
        self.progress = Progress()
        self.accepted: set[int] = set()
        self.killed_at = 0.0
        self.recovered_after: float | None = None

    def place(self) -> None:
        """Place every order, a few at a time, as customers do."""
        with ThreadPoolExecutor(4) as pool:
            for order_id in pool.map(lambda order: post(self.shop.url, order), self.orders):
                self.accepted.add(order_id)
                self.progress.show(f"placed {len(self.accepted)} of {len(self.orders)} orders")
        self.progress.show(f"placed {len(self.accepted)} of {len(self.orders)} orders", final=True)

    def kill_half_way(self) -> None:
        """kill -9 when half of the charges are made."""
        while self._charged() < len(self.accepted) // 2:
            self.progress.show(self._where())
            time.sleep(0.05)
        self.killed_at = time.monotonic()
        self.progress.show(f"{self._where()}; now kill -9 for the payments worker and its children", final=True)
        self.shop.kill_worker("payments")
        self.progress.show("started it again", final=True)

    def wait(self) -> None:
        """Until every order is final, or nothing has moved for a long time."""
        before, moved = self._states(), time.monotonic()
        while not self._all_final() and time.monotonic() - moved < PATIENCE:
            time.sleep(0.25)
            now = self._states()
            if now != before:
                before, moved = now, time.monotonic()
            self.progress.show(self._where())
        self.recovered_after = time.monotonic() - self.killed_at
        self.progress.show(self._where(), final=True)

    def _charged(self) -> int:
        return sum(1 for status in self.repository.ids().values() if status not in ("placed", "validated"))

    def _states(self) -> dict[int, str]:
        return self.repository.ids()

    def _all_final(self) -> bool:
        return all(status in FINAL for status in self._states().values())

    def _where(self) -> str:
        return ", ".join(f"{count} {status}" for status, count in sorted(self.repository.counts().items()))

    def verdict(self) -> Verdict:
        """From the strangers' books."""
        letters = self.shop.dead_letters()
        dead = {int(letter["args"][0]) for letter in letters if letter.get("args")}  # type: ignore[index]
        return judge(self.accepted, dead, read_books(self.shop.gateway_books, self.shop.mail_books))

    def report(self) -> dict[str, Any] | None:
        """Send the nightly report now and wait for its text."""
        code = (
            "import json\nfrom app.core.celery import celery_app\nfrom app.tasks.reports import nightly_report\n"
            "from celery.result import AsyncResult\nchord = nightly_report.delay().get(timeout=60)\n"
            "print(json.dumps(AsyncResult(chord, app=celery_app).get(timeout=60) if chord else None))"
        )
        import subprocess  # noqa: PLC0415  # only here

        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.shop.folder,
            env=self.shop.env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"  the nightly report failed:\n{done.stderr[-800:]}")
            return None
        found: dict[str, Any] | None = json.loads(done.stdout.splitlines()[-1])
        return found


def redis_url() -> str:
    """Where STOCK=1 finds Redis: the environment, or what `make services` started."""
    if url := os.environ.get("CELERIAC_REDIS_URL"):
        return url
    noted = EXAMPLES.parent / ".services" / "env"
    for line in noted.read_text(encoding="utf-8").splitlines() if noted.exists() else ():
        name, _, value = line.partition("=")
        if name == "CELERIAC_REDIS_URL":
            return value
    raise SystemExit("STOCK=1 needs Redis: run `make services`, or set CELERIAC_REDIS_URL")


def read(path: Path, limit: int | None) -> list[Order]:
    """The orders, and a word on each kind of dirt."""
    try:
        reading = read_orders(path, limit)
    except UnreadableFile as error:
        raise SystemExit(str(error)) from error
    for what, rejected in (("rows", reading.rejected_rows), ("invoices", reading.rejected_invoices)):
        if rejected:
            print(f"  {len(rejected)} {what} rejected, such as: {rejected[0]}")
    if not reading.orders:
        raise SystemExit(f"{path} holds no order that can be placed")
    return reading.orders


def number(name: str) -> int | None:
    """A whole number from the environment."""
    text = os.environ.get(name, "")
    if text and not (text.isdigit() and int(text)):
        raise SystemExit(f"{name}={text}: a number of orders, at least 1")
    return int(text) if text else None


def announce(shop: Shop, orders: list[Order]) -> None:
    """What is about to happen."""
    kind = "stock Celery on Redis" if shop.stock else "celeriac on one SQLite file"
    print(f"The shop on {kind}: {len(orders)} orders. Orders moving: {shop.url}/")
    if not shop.stock:
        print(f"  a killed worker's tasks come back after {LEASE} s here (30 s by default)")


def run(shop: Shop, orders: list[Order]) -> tuple[Verdict, dict[str, Any]]:
    """The whole of it; returns the verdict, and figures for the record."""
    began = time.monotonic()
    shop.start()
    announce(shop, orders)
    demo = Demo(shop, orders)
    demo.place()
    demo.kill_half_way()
    demo.wait()
    verdict = demo.verdict()
    night = demo.report()
    if night:
        best = night["countries"][0]
        print(f"  nightly report: {night['orders']} orders, £{night['pence'] / 100:,.2f}; most from {best[0]}")
    seconds = {
        "seconds": round(time.monotonic() - began, 1),
        "seconds_after_kill": round(demo.recovered_after or 0.0, 1),
    }
    return verdict, {"stock": shop.stock, "orders": len(orders), **seconds}


def conclude(verdict: Verdict, facts: dict[str, Any]) -> None:
    """Print the verdict, and keep it where asked."""
    print(f"\nAs the gateway and the mail server have it, {facts['seconds_after_kill']} s after the kill:")
    print(as_text(verdict))
    print("\nNothing lost, nothing charged twice." if verdict.ok else "\nNot ok.")
    if kept := os.environ.get("VERDICT"):
        Path(kept).write_text(json.dumps({**facts, **verdict.as_dict()}, indent=2) + "\n", encoding="utf-8")


def keep_running(shop: Shop) -> None:
    """Until Ctrl-C."""
    print(f"\nStill running, in {shop.folder}: orders {shop.url}/, Ctrl-C ends it.")
    signal.pause()


def main() -> int:
    """Run the demo; 0 only if nothing was lost and nothing charged twice."""
    limit = number("N")
    orders = read(Path(os.environ.get("ORDERS") or SAMPLE), limit)
    folder = Path(tempfile.mkdtemp(prefix="celeriac-demo-"))
    shop = Shop(
        folder, stock_redis=redis_url() if os.environ.get("STOCK") else None, seed=int(os.environ.get("SEED", "7"))
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        verdict, facts = run(shop, orders)
        conclude(verdict, facts)
        if os.environ.get("KEEP"):
            keep_running(shop)
    except KeyboardInterrupt:
        return 130
    finally:
        shop.stop()
        if not os.environ.get("KEEP"):
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    sys.exit(main())
