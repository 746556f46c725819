"""Runs the whole shop, kills a worker half way, and counts what was lost."""

import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1]
# The shop is no installed package: its modules are imported as they are where it runs.
if str(EXAMPLES) not in sys.path:
    sys.path.insert(0, str(EXAMPLES))
