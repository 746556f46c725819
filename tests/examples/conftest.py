"""The shop is no installed package: its modules are found as where it runs."""

from __future__ import annotations

import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

sys.path[:0] = [path for path in (str(EXAMPLES), str(EXAMPLES / "shop_fastapi")) if path not in sys.path]
