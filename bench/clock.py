"""How the benches time: the same work many times, alternating with what it is held against, medians told."""

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from bench.rows import Row


def seconds(work: Callable[[], object]) -> float:
    """How long one run of `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def medians(works: Mapping[str, Callable[[], object]], *, times: int) -> dict[str, float]:
    """The median seconds of each work, run in turns so that a busy moment hits all alike.

    The first turn warms caches and is not counted.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(times + 1):
        for name, work in works.items():
            took = seconds(work)
            if turn:
                taken[name].append(took)
    return {name: statistics.median(all_of_it) for name, all_of_it in taken.items()}


def command(words: Sequence[str], *, environ: Mapping[str, str] | None = None) -> Callable[[], object]:
    """Running a program to its end, its words thrown away; one that fails is an error."""

    def run() -> None:
        subprocess.run(words, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)

    return run


def below(name: str, value: float, *, unit: str, goal: float, baseline: float | None = None) -> Row:
    """A row whose goal is a value not reached.

    Args:
        name: What was measured.
        value: In `unit`.
        unit: Of value, goal and baseline.
        goal: Met when `value` is smaller.
        baseline: The same the other way.
    """
    ratio = value / baseline if baseline else None
    return Row(
        name=name,
        value=value,
        unit=unit,
        baseline=baseline,
        ratio=ratio,
        goal=f"< {goal:g} {unit}",
        met=value < goal,
    )
