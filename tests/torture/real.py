"""The same on the real node: kills at random times, then recoveries, judged as at the boundaries."""

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec

from engine.state import Phase
from fixtures.build import Built
from tests.boundaries.point import Order
from tests.boundaries.stage import Play, Stage, Wrong, eventually

RECOVERIES = 6
LONGEST_RUN_S = 4.0


def torture_real(built: Built, folder: Path, *, runs: int, seed: int) -> Counter[str]:
    """So many runs; what ended badly, counted."""
    stage = Stage(built, folder)
    ends: Counter[str] = Counter()
    try:
        for number in range(runs):
            dice = random.Random(f"{seed}-real-{number}")
            catalog = dice.choice((built.catalog, built.reversible_catalog))
            play = Play("random", built.tarball("5.10.5"), catalog, succeeds=True)
            try:
                _run(stage, play, dice)
            except Wrong as error:
                kind = "stuck" if "open after" in str(error) else "torn"
                ends[kind] += 1
                print(f"real run {number}: {kind}: {error}", flush=True)
                stage.close()
    finally:
        stage.close()
    return ends


def _run(stage: Stage, play: Play, dice: random.Random) -> None:
    node = stage.fresh()
    vm_died = _struck(stage, play, "upgrade", dice)
    for round_number in range(RECOVERIES):
        state = stage.told()
        if state is None or not state.is_open:
            break
        if vm_died and not node.is_running and dice.random() < 0.5:
            node.start()
        vm_died |= _struck(stage, play, "recover", dice, spare=round_number > 1)
    else:
        _end_forwards(stage, play)
    if not node.is_running:
        node.start()
    state = stage.told()
    succeeded = state is not None and state.phase == Phase.SUCCEEDED
    booted_anew = vm_died
    # A VM that died after the marker was written boots the target.
    eventually(lambda: stage.require("5.10.5" if succeeded else "5.10.4", booted_anew=booted_anew))
    stage.require_told(target_runs=succeeded)
    if vm_died:
        stage.close()


def _end_forwards(stage: Stage, play: Play) -> None:
    """Past the point of no return `--rollback` is refused however often the dice say it: forwards it ends.

    Raises:
        Wrong: It does not.
    """
    stage.tool(play, "recover", way="do")
    state = stage.told()
    if state is not None and state.is_open:
        raise Wrong(f"open after {RECOVERIES} recoveries and one forwards")


def _struck(stage: Stage, play: Play, command: str, dice: random.Random, *, spare: bool = False) -> bool:
    """Run the tool and kill at a random time; whether the VM was killed."""
    assert stage.node is not None
    victim = "nobody" if spare else dice.choice(("tool", "vm", "both", "tool"))
    order = Order(
        root=str(stage.node.root),
        catalog=str(play.catalog),
        tarball=str(play.tarball),
        command="upgrade" if command == "upgrade" else "recover",
        way=dice.choice(("do", "undo")),
    )
    words = [sys.executable, "-m", "tests.boundaries.tool", msgspec.json.encode(order).decode()]
    tool = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if victim != "nobody":
        time.sleep(dice.random() * LONGEST_RUN_S)
    if victim in ("vm", "both"):
        stage.node.kill()
    if victim in ("tool", "both"):
        tool.kill()
    tool.wait()
    return victim in ("vm", "both")
