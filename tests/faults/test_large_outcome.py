"""The outcome of a step names every process that the step has ended: the room that is put aside counts them all."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.errors import BetweenReleases, RolledBack
from engine.reserve import ENDED_BYTES
from engine.state import Phase
from fixtures.build import Built
from journal.events import StepFailed, StepSucceeded, UpgradeSucceeded
from tests.fake_node import Trouble
from tests.faults.memory import MakeMemoryNode, MemoryNode
from tests.small_disk import fill, mounted
from tests.torture.small import Small

CROWD = 20_000
DISK_BYTES = 64 * 1024 * 1024


def crowded(node: MemoryNode, module: str = "emqx_connection", **more: object) -> MemoryNode:
    """With so many processes that an entry which names them is larger than all entries of other hops."""
    for number in range(CROWD):
        node.vm.spawn(module, client_id=f"sensor-{number:012}", **more)
    return node


HOPELESS: dict[str, Trouble] = {"up": "crash", "down": "crash"}
"""Its state fits neither code: an update that meets it ends it."""


def hopeless(node: MemoryNode) -> MemoryNode:
    return crowded(node, trouble=HOPELESS)


def lingering(node: MemoryNode) -> MemoryNode:
    """In old code of a module that is only loaded, which they do not come out of."""
    return crowded(node, "emqx_topic", in_old_code=True, can_be_nudged=False)


def require_rolled_back(node: MemoryNode) -> None:
    """An update ends them all; it is written down, and undone."""
    with pytest.raises(RolledBack) as raised:
        node.upgrade()
    assert raised.value.name == "code_change_failed"
    failed = next(entry.event for entry in node.entries() if isinstance(entry.event, StepFailed))
    assert len(failed.evidence.ended) == CROWD
    assert node.phase is Phase.ENDED


def require_killed(node: MemoryNode) -> None:
    """--kill-blockers ends them all; the step says so, and the end of the upgrade once more."""
    node.upgrade(kill_blockers=True)
    events = [entry.event for entry in node.entries()]
    named = [len(event.evidence.ended) for event in events if isinstance(event, StepSucceeded)]
    assert max(named) == CROWD
    assert isinstance(events[-1], UpgradeSucceeded)
    assert len(events[-1].ended) == CROWD


OUTCOMES = pytest.mark.parametrize(
    ("prepare", "require"),
    [(hopeless, require_rolled_back), (lingering, require_killed)],
    ids=["update-fails", "blockers-killed"],
)
Prepare = Callable[[MemoryNode], MemoryNode]
Require = Callable[[MemoryNode], None]


@OUTCOMES
def test_the_room_put_aside_holds_every_entry_after_the_plan(
    memory_node: MakeMemoryNode, releases: Built, prepare: Prepare, require: Require
) -> None:
    """Counted in the bytes of the records themselves."""
    node = prepare(memory_node(releases.reversible_catalog))
    require(node)
    assert node.disk.used_bytes <= node.disk.reserved_bytes


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", size_bytes=DISK_BYTES) as place:
        yield place


@OUTCOMES
def test_on_a_full_disk_the_outcome_of_a_crowd_is_written(
    small: Small, releases: Built, small_disk: Path, prepare: Prepare, require: Require
) -> None:
    """Others fill the disk to its last block when the first code is to be switched."""
    node = prepare(MemoryNode(small, small_disk / "root", releases.reversible_catalog))
    node.notes.at_step = lambda title: fill(small_disk) if title.startswith("load ") else None
    require(node)
    assert (small_disk / "filler").stat().st_size > DISK_BYTES // 4


def test_a_rollback_and_its_recovery_put_aside_room_for_the_crowd_too(
    memory_node: MakeMemoryNode, releases: Built
) -> None:
    """The plan has told them how many processes the hop may end."""
    node = crowded(memory_node(releases.reversible_catalog))
    node.upgrade()
    for process in node.vm.processes.values():
        if process.module == "emqx_connection":
            process.trouble = {"down": "block"}
    with pytest.raises(BetweenReleases):
        node.roll_back()
    failed = next(entry.event for entry in node.entries() if isinstance(entry.event, StepFailed))
    assert len(failed.evidence.ended) >= CROWD
    assert node.disk.used_bytes <= node.disk.reserved_bytes
    node.recover("undo")
    assert node.disk.reserved_bytes > CROWD * ENDED_BYTES
