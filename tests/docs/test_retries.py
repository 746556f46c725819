"""What the page on retries shows is what its code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import DOCS, write
from tests.support import Worker, free_port, wait_for
from tests.support.program import Program

PAGE = DOCS / "how-to" / "retries.md"
#: What no two runs have in common: moments, waits, and the folder.
VARYING = re.compile(r"\[[^\]]*: WARNING/\w+\]|\d+\.\d s|\d+s ago +|FAILED +|(/\w[\w.-]*)+/\w+\.db")
CLIENT = """
from shop import charge

assert charge.delay(7).get(timeout=60) == "ch_7"
try:
    charge.delay(8).get(timeout=60)
except Exception as error:
    print(type(error))
"""


def steady(text: str) -> list[str]:
    return [" ".join(VARYING.sub("…", line).split()) for line in text.splitlines() if line.strip()]


class Gateway(Program):
    """The page's own, ready once it listens."""

    def __init__(self, port: int, folder: Path) -> None:
        super().__init__([sys.executable, "gateway.py", str(port)], folder, name="gateway")
        self.port = port

    def ready(self) -> bool:
        import socket

        with socket.socket() as knocking:
            return knocking.connect_ex(("127.0.0.1", self.port)) == 0


def test_the_page_shows_a_real_run(tmp_path: Path) -> None:
    write(PAGE, tmp_path)
    port = free_port()
    env = {"SHOP_GATEWAY": f"http://127.0.0.1:{port}"}
    with Gateway(port, tmp_path) as gateway, Worker("shop", tmp_path, pool="solo", env=env) as worker:
        subprocess.run([sys.executable, "-c", CLIENT], cwd=tmp_path, check=True, timeout=120)
        wait_for(lambda: "gave up" in worker.log_of_this_run(), 30)
        told = [line for line in worker.log_of_this_run().splitlines() if "gave up" in line]
        seen = gateway.log_of_this_run()
    listed = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "shop", "dead", "list"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    shown = re.findall(r"```text\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert [steady(text) for text in (seen, *told, listed)] == [steady(text) for text in shown]
    moments = [float(line.split()[0]) for line in seen.splitlines()]
    assert moments[1] - moments[0] >= 2.0 - 0.11  # they are shown in tenths
