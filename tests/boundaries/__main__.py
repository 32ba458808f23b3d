"""`make boundaries`: every point of a good upgrade and of a failing one with its rollback."""

import argparse
import contextlib
import queue
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path

from fixtures.broken import build_broken
from fixtures.build import Built, build
from journal.reader import read
from tests.boundaries.runs import Run, carry_out, runs_of
from tests.boundaries.stage import Play, Stage

FAILING = "app-does-not-start"


def plays(built: Built, folder: Path) -> list[Play]:
    """The two upgrades, each walked once undisturbed to learn its entries."""
    broken = build_broken(built, FAILING)
    good = Play("good", built.tarball("5.10.5"), built.catalog, succeeds=True)
    failing = Play("failing", broken.tarball, broken.catalog, succeeds=False)
    return [learnt(good, built, folder / "good"), learnt(failing, built, folder / "failing")]


def learnt(play: Play, built: Built, folder: Path) -> Play:
    """The play with the entries that it writes when nothing strikes."""
    stage = Stage(built, folder)
    try:
        node = stage.fresh()
        stage.tool(play, "upgrade")
        return replace(play, entries=tuple(read(node.root / "relup" / "journal").entries()))
    finally:
        stage.close()


def walk(runs: list[Run], built: Built, folder: Path, *, workers: int) -> list[str]:
    """Carry out all runs, several nodes side by side; what went wrong, one text a run."""
    waiting: queue.SimpleQueue[Run] = queue.SimpleQueue()
    for run in runs:
        waiting.put(run)
    failures: list[str] = []
    threads = [
        threading.Thread(target=_work, args=(waiting, Stage(built, folder / str(n)), failures, len(runs)))
        for n in range(workers)
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        _stop(waiting)
        for thread in threads:
            thread.join()
        raise
    return failures


def _stop(waiting: "queue.SimpleQueue[Run]") -> None:
    """Ctrl-C: each worker ends the run in hand, and with it its node and its clients."""
    with contextlib.suppress(queue.Empty):
        while True:
            waiting.get_nowait()


def _work(waiting: "queue.SimpleQueue[Run]", stage: Stage, failures: list[str], total: int) -> None:
    try:
        while True:
            run = waiting.get_nowait()
            begun = time.monotonic()
            try:
                carry_out(run, stage)
                word = "ok"
            except Exception:
                failures.append(f"{run}\n{traceback.format_exc(limit=-2)}")
                word = f"FAILED\n{failures[-1]}"
                stage.close()
            left = waiting.qsize()
            print(f"{total - left:4}/{total} {time.monotonic() - begun:5.1f} s {run}: {word}", flush=True)
    except queue.Empty:
        return
    finally:
        stage.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="boundaries")
    parser.add_argument("--workers", type=int, default=2, help="nodes side by side")
    parser.add_argument("--every", type=int, default=1, help="only every N-th run")
    parser.add_argument("--only", default="", help="only runs whose description holds this text")
    options = parser.parse_args()
    built = build()
    with tempfile.TemporaryDirectory(prefix="relup-boundaries-") as scratch:
        folder = Path(scratch)
        all_runs = [run for play in plays(built, folder) for run in runs_of(play)]
        runs = [run for run in all_runs if options.only in str(run)][:: options.every]
        failures = walk(runs, built, folder, workers=options.workers)
    for failure in failures:
        print(f"\n{failure}")
    points = len({(run.play.name, run.kill.entry, run.kill.side, run.kill.victim) for run in runs})
    print(f"boundaries: {points} points, {len(runs) - len(failures)} recovered, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
