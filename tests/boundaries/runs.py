"""The runs at one point: strike, recover, judge. What must be so after each is decided here."""

from collections.abc import Iterator
from dataclasses import dataclass

from engine.state import folded
from journal.events import Entry
from tests.boundaries.point import Kill, Way
from tests.boundaries.stage import Play, Stage, Wrong, eventually

TARGET = "5.10.5"
BASE = "5.10.4"


@dataclass(frozen=True)
class Run:
    """One kill and the way of the recovery after it.

    Attributes:
        boot_first: After a VM death the node is started before `recover`, not after it.
    """

    play: Play
    kill: Kill
    way: Way
    boot_first: bool = False

    def __str__(self) -> str:
        kill = self.kill
        at = self.play.entries[kill.entry - 1].event
        step = f" {getattr(at, 'name', '')} {getattr(at, 'direction', '')}".rstrip()
        return (
            f"{self.play.name}: {kill.victim} dies {kill.side} entry {kill.entry} "
            f"({type(at).__name__}{step}), recover {self.way}"
        )


def runs_of(play: Play) -> Iterator[Run]:
    """Every run of a play: each entry, both sides, each victim, both ways where the VM lives.

    The first entry is the journal's own beginning, which the store writes; its deaths are tested there.
    """
    for entry in range(2, len(play.entries) + 1):
        for side in ("before", "after"):
            for way in ("do", "undo"):
                yield Run(play, Kill(entry=entry, side=side, victim="tool"), way)
            for victim in ("vm", "both"):
                kill = Kill(entry=entry, side=side, victim=victim)
                yield Run(play, kill, "do", boot_first=entry % 2 == 0)


def carry_out(run: Run, stage: Stage) -> None:
    """Do one run.

    Raises:
        Wrong: Afterwards something is not as it must be.
    """
    node = stage.fresh()
    stage.tool(run.play, "upgrade", kill=run.kill)
    if run.kill.victim == "tool":
        _after_tool_death(run, stage)
    else:
        node.kill()
        _after_vm_death(run, stage)


def _after_tool_death(run: Run, stage: Stage) -> None:
    written = _written(run)
    if run.way == "undo" and _refuses_undo(written):
        _require_refused_undo(run, stage)
        run = Run(run.play, run.kill, "do")
    end = stage.tool(run.play, "recover", way=run.way)
    assert end is not None, "nobody kills the recovery"
    at_target = _ends_at_target(run, written)
    if end.error not in _expected_errors(run, written):
        raise Wrong(f"recover ended with {end}")
    eventually(lambda: stage.require(TARGET if at_target else BASE, booted_anew=False))
    stage.require_told(target_runs=at_target)


def _require_refused_undo(run: Run, stage: Stage) -> None:
    before = stage.told()
    end = stage.tool(run.play, "recover", way="undo")
    if end is None or end.error != "past_point_of_no_return":
        raise Wrong(f"recover --rollback past the point of no return ended with {end}")
    if stage.told() != before:
        raise Wrong("a refused rollback changed the journal")


def _after_vm_death(run: Run, stage: Stage) -> None:
    node = stage.node
    assert node is not None
    written = _written(run)
    marked = (node.root / "relup" / "current").exists()
    if run.boot_first:
        node.start()
    end = stage.tool(run.play, "recover")
    if end is None or end.error not in (None, "nothing_to_recover"):
        raise Wrong(f"recover ended with {end}")
    if not run.boot_first:
        node.start()
    at_target = marked and run.play.succeeds and len(written) >= _marker_entry(run.play)
    eventually(lambda: stage.require(TARGET if at_target else BASE, booted_anew=True))
    stage.require_told(target_runs=at_target)
    stage.close()


# ---------------------------------------------------------------- what must be so


def _written(run: Run) -> tuple[Entry, ...]:
    """The entries that are durable when the kill strikes."""
    count = run.kill.entry - (run.kill.side == "before")
    return run.play.entries[:count]


def _refuses_undo(written: tuple[Entry, ...]) -> bool:
    state = folded(written)
    return state is not None and state.is_open and state.passed_no_return


def _ends_at_target(run: Run, written: tuple[Entry, ...]) -> bool:
    state = folded(written)
    if state is None or not run.play.succeeds:
        return False
    if not state.is_open:
        return True
    return run.way == "do"


def _expected_errors(run: Run, written: tuple[Entry, ...]) -> tuple[str | None, ...]:
    """Errors that `recover` may end with: nothing is open, or the play fails as it does undisturbed."""
    state = folded(written)
    if state is None or not state.is_open:
        return ("nothing_to_recover",)
    if run.play.succeeds or run.way == "undo" or state.rollback_begun:
        return (None,)
    return (None, "failed_to_start_app")


def _marker_entry(play: Play) -> int:
    """The number of the last step's start: from here on the marker may be there."""
    return max(entry.seq for entry in play.entries if getattr(entry.event, "name", "") == "MakePermanent") - 1
