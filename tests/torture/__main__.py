"""`make torture N=1000`: N runs on the VM in memory, and 50 on the real node."""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from fixtures.build import Built, build
from tests.torture.oracle import Lost, Stuck, Torn
from tests.torture.play import Torture
from tests.torture.real import torture_real
from tests.torture.small import make_small

REAL_RUNS = 50


def torture_small(built: Built, folder: Path, *, runs: int, seed: int) -> Counter[str]:
    """So many runs on the VM in memory; each has its own dice, so that one can be repeated alone."""
    small = make_small(built, folder)
    bad: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for number in range(runs):
        dice = random.Random(f"{seed}-{number}")
        catalog = dice.choice((built.catalog, built.reversible_catalog))
        try:
            ends[Torture(small, folder / "root", catalog, dice).run()] += 1
        except (Lost, Torn, Stuck) as error:
            kind = type(error).__name__.lower()
            bad[kind] += 1
            print(f"run {number}: {kind}: {error}", flush=True)
        if number % 100 == 99:
            print(f"{number + 1} runs, {dict(bad) or 'all well'}", flush=True)
    for end, count in sorted(ends.items()):
        print(f"{count:6} ended at {end}")
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(prog="torture")
    parser.add_argument("runs", nargs="?", type=int, default=1000, help="runs on the VM in memory")
    parser.add_argument("--real", type=int, default=REAL_RUNS, help="runs on the real node")
    parser.add_argument("--seed", type=int, default=None, help="of a run to repeat")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else int(time.time())
    print(f"torture: seed {seed}", flush=True)
    built = build()
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="relup-torture-", dir=shm if shm.is_dir() else None) as scratch:
        ends = torture_small(built, Path(scratch), runs=options.runs, seed=seed)
    with tempfile.TemporaryDirectory(prefix="relup-torture-") as scratch:
        ends += torture_real(built, Path(scratch), runs=options.real, seed=seed)
    total = options.runs + options.real
    print(f"torture: {total} runs, {ends['lost']} lost, {ends['torn']} torn, {ends['stuck']} stuck")
    return 1 if ends else 0


if __name__ == "__main__":
    sys.exit(main())
