"""One run: place the orders, kill the payments worker half way, wait until every order has its end."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import httpx
from shop.orders import CHARGING, FINAL, PLACED, REFUSED, VALIDATED, Order
from shop.repository import OrderRepository

from examples.demo.letters import about_orders
from examples.demo.shop import Shop

#: Seconds without any order moving after which the rest counts as lost. It is
#: longer than any retry waits, and than a killed worker's lease.
PATIENCE = 75.0
#: Seconds for which the gateway stands still when a quarter of the payments are answered.
OUTAGE = 8.0
#: Seconds without any order moving after which the kill does not wait for half of the payments any longer.
KILL_PATIENCE = 20.0
#: Seconds without any order moving after which the dead letters are looked at, and from then on between two looks.
STILL = 1.0


class Progress:
    """One line that is written over on a terminal; a line now and then elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._last = 0.0

    def show(self, text: str, *, final: bool = False) -> None:
        if self._terminal:
            # A line that wraps could not be written over.
            fits = text if final else text[: shutil.get_terminal_size().columns - 3]
            print(f"\r\033[K  {fits}", end="\n" if final else "", flush=True)
        elif final or time.monotonic() - self._last > 3:
            self._last = time.monotonic()
            print(f"  {text}", flush=True)


class Run:
    """What happens, and when."""

    def __init__(self, shop: Shop, orders: list[Order], wanted: int) -> None:
        self.shop = shop
        self.orders, self.wanted = orders, min(wanted, len(orders))
        self.repository = OrderRepository(shop.folder / "shop.db")
        self.progress = Progress()
        self.accepted: set[int] = set()
        self.refused: list[str] = []  #: what the shop did not take
        self.dead: dict[int, str] = {}
        self.paid_at_kill = 0
        self.circuits: list[dict[str, Any]] | None = None  #: as they were while the gateway stood still
        self.held: set[int] = set()  #: orders that were being charged when the worker was killed
        self.held_still: set[int] = set()  #: those of them that are so still
        self.recovered_after: float | None = None  #: seconds from the kill until none of those was being charged
        self.settled_after = 0.0  #: seconds from the kill until nothing was left to wait for
        self._killed_at = 0.0
        self._looked_at = 0.0
        self._stop = threading.Event()

    def go(self) -> None:
        """The whole of it; raises what went wrong with the shop itself."""
        with ThreadPoolExecutor(1) as background:
            placing = background.submit(self._place)
            try:
                self._kill_half_way(placing)
                placing.result()
            finally:
                self._stop.set()
        self._wait()

    def _place(self) -> None:
        """Place orders, a few at a time, as customers do, until enough are accepted."""
        waiting = iter(self.orders)
        with ThreadPoolExecutor(4) as pool, httpx.Client(base_url=self.shop.url, trust_env=False, timeout=60) as http:
            while batch := list(islice(waiting, min(50, self.wanted - len(self.accepted)))):
                if self._stop.is_set():
                    return
                self.accepted.update(filter(None, pool.map(lambda order: self._post(http, order), batch)))

    def _post(self, http: httpx.Client, order: Order) -> int | None:
        lines = [{"article": each.article, "quantity": each.quantity, "pence": str(each.pence)} for each in order.lines]
        body = {"invoice": order.invoice, "customer": order.customer, "country": order.country, "lines": lines}
        answer = http.post("/orders", json=body)
        if answer.is_client_error:
            self.refused.append(f"invoice {order.invoice}: {answer.text[:200]}")
            return None
        return int(answer.raise_for_status().json()["order_id"])

    def _kill_half_way(self, placing: Future[None]) -> None:
        """kill -9 when half of the payments are answered, or when there are no more to wait for."""
        before, moved = self.repository.ids(), time.monotonic()
        while (paid := self._paid()) < max(1, self.wanted // 2) and time.monotonic() - moved < KILL_PATIENCE:
            if placing.done() and (placing.exception() or not self._unsettled()):
                break
            if paid >= max(1, self.wanted // 4) and self.circuits is None:
                self._stand_still()
            time.sleep(0.02)
            now = self.repository.ids()
            if now != before:
                before, moved = now, time.monotonic()
            self.progress.show(self._where())
        self._kill(paid)

    def _stand_still(self) -> None:
        """The gateway answers nobody for a while; who would pay waits, and keeps his retries."""
        self.circuits = self.shop.stand_still(OUTAGE)
        told = [f"its circuit was {each['state']}, and {each['put_off']} charges put off" for each in self.circuits]
        self.progress.show("; ".join([f"the gateway stood still for {OUTAGE:g} s", *told]), final=True)

    def _kill(self, paid: int) -> None:
        self.paid_at_kill, self._killed_at = paid, time.monotonic()
        self.shop.kill_worker("payments")
        self.held = {order_id for order_id, status in self.repository.ids().items() if status == CHARGING}
        told = f"{paid} of {self.wanted} payments answered; kill -9 for the payments worker and its children"
        self.progress.show(f"{told}, {len(self.held)} orders being charged", final=True)
        self.shop.restart_worker("payments")
        self.progress.show("started it again", final=True)

    def _wait(self) -> None:
        """Until every order has its end, or nothing has moved for a long time."""
        before, moved = self.repository.ids(), time.monotonic()
        self._look_at_held(before)
        while self._unsettled() and time.monotonic() - moved < PATIENCE:
            time.sleep(0.1)
            now = self.repository.ids()
            self._look_at_held(now)
            if now != before:
                before, moved = now, time.monotonic()
            elif time.monotonic() - max(moved, self._looked_at) > STILL:
                self.look_at_letters()
            self.progress.show(self._where())
        self._look_at_held(self.repository.ids())
        self.settled_after = time.monotonic() - self._killed_at
        self.progress.show(self._where(), final=True)

    def _look_at_held(self, states: dict[int, str]) -> None:
        self.held_still = {each for each in self.held - self.dead.keys() if states.get(each) == CHARGING}
        if not self.held_still and self.recovered_after is None:
            self.recovered_after = time.monotonic() - self._killed_at

    def look_at_letters(self) -> None:
        """Which orders ended as dead letters, by now."""
        self.dead = about_orders(self.shop.dead_letters())
        self._looked_at = time.monotonic()

    def _paid(self) -> int:
        """Orders for which the gateway's answer is known."""
        return sum(status not in {PLACED, VALIDATED, CHARGING} for status in self.repository.ids().values())

    def _unsettled(self) -> set[int]:
        """Orders without an end. What is refused ends in a dead letter, where there are any."""
        ended = FINAL if self.shop.stock else FINAL - {REFUSED}
        return {
            order_id for order_id, status in self.repository.ids().items() if status not in ended
        } - self.dead.keys()

    def _where(self) -> str:
        told = [f"placed {len(self.accepted)} of {self.wanted}"]
        told += [f"{count} {status}" for status, count in sorted(self.repository.counts().items())]
        return ", ".join([*told, f"{len(self.dead)} dead letters"] if self.dead else told)
