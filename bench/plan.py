"""How long a plan looks at two release trees, in a process of its own, beside OTP's beam_lib on the same beams.

Measured is what a plan does with files: both trees read, every module compared, the hop read and resolved, all
findings made. The node's part is a few calls (see the bench of the node).
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from bench.big_trees import make_trees
from bench.memory import peak_mib
from bench.rows import Row
from engine.release.analysis import case_of, findings_of
from engine.release.comparison import compare_trees
from engine.release.hop import read_hop
from engine.release.tree import ReleaseTree

TIMES = 3
PLAN_GOAL_S = 3.0
COMPARISON_GOAL_S = 1.0
MEMORY_GOAL_MIB = 256.0
_BEAM_LIB = """
[Old, New] = init:get_plain_arguments(),
Files = filelib:wildcard(Old ++ "/lib/*/ebin/*.beam") ++ filelib:wildcard(New ++ "/lib/*/ebin/*.beam"),
{Us, _} = timer:tc(fun() -> [beam_lib:md5(F) || F <- Files] end),
io:format("~w", [Us]), halt().
"""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One plan: seconds of the comparison and of all, on the clock and on the CPU, peak memory, what it found."""

    comparison_s: float
    plan_s: float
    plan_cpu_s: float
    peak_mib: float
    changed: int
    findings: int


def rows() -> list[Row]:
    """5,000 beams, the size of a real pair of releases; and twice as many, shown without a goal."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            *_rows_for(Path(folder) / "real", modules=2_500, has_goal=True),
            *_rows_for(Path(folder) / "double", modules=5_000, has_goal=False),
        ]


def _rows_for(folder: Path, *, modules: int, has_goal: bool) -> list[Row]:
    old, new, hop = make_trees(folder, modules=modules)
    runs = sorted((_in_a_child(old, new, hop) for _ in range(TIMES)), key=lambda run: run.plan_s)
    middle = runs[TIMES // 2]
    beam_lib = _beam_lib_s(old, new)
    beams = f"{2 * modules:,} beams"

    def row(name: str, value: float, unit: str, goal: float, baseline: float | None = None) -> Row:
        return Row(
            name=f"plan: {name}, {beams}",
            value=value,
            unit=unit,
            baseline=baseline,
            ratio=value / baseline if baseline else None,
            goal=f"< {goal:g} {unit}" if has_goal else None,
            met=value < goal if has_goal else None,
        )

    return [
        row(
            "two trees compared (beside beam_lib:md5)", middle.comparison_s, "s", COMPARISON_GOAL_S, beam_lib
        ),
        row(f"whole plan, {middle.changed} modules differ", middle.plan_s, "s", PLAN_GOAL_S),
        Row(name=f"plan: the same in CPU seconds, {beams}", value=middle.plan_cpu_s, unit="s"),
        row("peak memory", max(run.peak_mib for run in runs), "MiB", MEMORY_GOAL_MIB),
    ]


def _in_a_child(old: Path, new: Path, hop: Path) -> Measured:
    command = [sys.executable, "-m", "bench.plan", str(old), str(new), str(hop)]
    done = subprocess.run(
        command, capture_output=True, check=True, cwd=Path(__file__).resolve().parent.parent
    )
    return msgspec.json.decode(done.stdout, type=Measured)


def _beam_lib_s(old: Path, new: Path) -> float:
    command = ["erl", "-noshell", "-eval", _BEAM_LIB, "-extra", str(old), str(new)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout) / 1e6


def _measure(old: Path, new: Path, hop: Path) -> Measured:
    begun, begun_cpu = time.perf_counter(), time.process_time()
    trees = ReleaseTree.read(old), ReleaseTree.read(new)
    comparison = compare_trees(*trees)
    compared = time.perf_counter()
    case = case_of(read_hop(hop), live_tree=trees[0], target=trees[1], comparison=comparison)
    findings = findings_of(case)
    _ = comparison.importers  # what a plan has to read when a changed module lost a function
    ended = time.perf_counter()
    return Measured(
        comparison_s=compared - begun,
        plan_s=ended - begun,
        plan_cpu_s=time.process_time() - begun_cpu,
        peak_mib=peak_mib(),
        changed=len(comparison.changed),
        findings=len(findings),
    )


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(_measure(*map(Path, sys.argv[1:4]))))
