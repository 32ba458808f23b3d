"""`make mutants`: does a test go red for every guard that is taken away?

    python -m tests.mutants [WORDS]     only guards whose sentence or file holds WORDS

Everything happens in a copy of the checkout. The tests are run there once with every guard in place, since a
test that is red anyway proves nothing.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.guards import GUARDS, Guard

HOUSE = Path(__file__).resolve().parents[2]
LONGEST_S = 900
"""A mutant that hangs its tests is one that they found."""
GREEN, RED = 0, 1
LAST_WORDS = 3_000


def copied(house: Path, into: Path) -> Path:
    """The sources of a checkout, what is not committed included; the built releases are shared with it."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=house, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (house / name).is_file():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(house / name, into / name)
    (house / "build").mkdir(exist_ok=True)
    (into / "build").symlink_to(house / "build")
    return into


def outcome(house: Path, tests: Sequence[str]) -> tuple[int, str]:
    """pytest's exit code for these tests in that copy, `RED` when they hang; and what it printed last."""
    # An installed relup points at the checkout; here the copy goes first.
    environ = {**os.environ, "PYTHONPATH": str(house), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            words, cwd=house, env=environ, capture_output=True, text=True, timeout=LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired:
        return RED, f"no end after {LONGEST_S} s"
    return done.returncode, done.stdout[-LAST_WORDS:]


def without(guard: Guard, text: str) -> str:
    """The source without the guard.

    Raises:
        ValueError: The guard does not stand there exactly once: the table is out of date.
    """
    if text.count(guard.was) != 1:
        raise ValueError(f"{guard.file} has the guard {text.count(guard.was)} times: {guard.was.strip()}")
    return text.replace(guard.was, guard.becomes)


def is_missed(guard: Guard, house: Path) -> bool:
    """Take the guard away, run its tests, put it back: was a test red?"""
    source = house / guard.file
    text = source.read_text("utf-8")
    source.write_text(without(guard, text), "utf-8")
    try:
        return outcome(house, guard.tests)[0] == RED
    finally:
        source.write_text(text, "utf-8")


def red_already(guards: Sequence[Guard], house: Path) -> list[str]:
    """What the tests that are red with every guard in place said."""
    every_choice = sorted({guard.tests for guard in guards})
    ended = [outcome(house, tests) for tests in every_choice]
    return [said for code, said in ended if code != GREEN]


def main(words: str = "") -> int:
    """Remove every chosen guard; the exit code is 1 when no test misses one of them."""
    guards = [guard for guard in GUARDS if words in f"{guard.file}: {guard.keeps}"]
    with tempfile.TemporaryDirectory(prefix="relup-mutants-") as folder:
        house = copied(HOUSE, Path(folder))
        for said in (red := red_already(guards, house)):
            print(said)
        if red:
            print("mutants: tests are red with every guard in place, so they would prove nothing")
            return 1
        survived = 0
        for guard in guards:
            began = time.monotonic()
            missed = is_missed(guard, house)
            survived += not missed
            word = "red  " if missed else "GREEN"
            print(f"{word} {time.monotonic() - began:6.1f} s  {guard.file}: {guard.keeps}", flush=True)
    print(
        f"mutants: {len(guards)} guards removed, {len(guards) - survived} missed by a test, {survived} survived"
    )
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
