"""``python -m tests.faults``: run the matrix and print it. FAULTS=short|full, SEED=, BROKERS= and ONLY= are its environment."""

from __future__ import annotations

import os
import random
import sys
from tests.faults.brokers import BROKERS
from tests.faults.cell import SIZES
from tests.faults.injections import FAULTS
from tests.faults.matrix import run_matrix

def main() -> int:
    seed = int(os.environ.get("SEED") or random.randrange(1_000_000))
    size = SIZES[os.environ.get("FAULTS") or "short"]
    brokers = [BROKERS[b] for b in (os.environ.get("BROKERS") or ",".join(BROKERS)).split(",")]
    only = os.environ.get("ONLY") or ""
    faults = [f for f in FAULTS if only in f.name or only == f.__name__]
    print("SEED", seed)
    bad = 0
    for o in run_matrix(brokers, faults, seed, size):
        bad += not o.good
        v = o.verdict
        if v is None:
            print(o.broker, "|", o.fault, "|", o.reason or o.error, o.folder or "", f"{o.seconds:.1f}s", flush=True)
        else:
            print(o.broker, "|", o.fault, "|", v.accepted, {k: len(x) for k, x in v.zeros.items() if x} or "good", "runs", v.repeated, "plain", v.plain_repeated, "rec", v.recovery, "inj", v.injected, o.folder or "", f"{o.seconds:.1f}s", flush=True)
    return bool(bad)


sys.exit(main())
