"""A process that somebody else has suspended is told when a hop is undone, and is no failure of the undoing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import BetweenReleases, RolledBack
from engine.node import door
from engine.state import Phase
from fixtures.build import Built
from journal.events import RollbackStarted
from tests.fake_node import FakeProcess, ToolDies
from tests.faults.memory import MakeMemoryNode, MemoryNode
from tests.faults.serving import Serving

LAST_UNDONE = "path set"
"""The last point of the VM that an undoing passes."""


@pytest.fixture
def node(memory_node: MakeMemoryNode, releases: Built) -> MemoryNode:
    return memory_node(releases.reversible_catalog)


def suspended(node: MemoryNode, module: str = "emqx_cm") -> FakeProcess:
    """A process that no step touches is suspended."""
    process = next(p for p in node.vm.processes.values() if p.module == module)
    process.suspended = True
    return process


def require_told(node: MemoryNode, process: FakeProcess) -> None:
    """It was undone, the operator knows of the process, and nobody has resumed it."""
    assert node.phase is Phase.ENDED
    assert not node.at_target
    assert [line for line in node.notes.lines if "suspended" in line] == [
        f"{process.pid} (emqx_cm:init/1) is suspended: not by the hop's doing, so left as it is;"
        " sys:resume/1 ends it"
    ]
    assert process.suspended


def test_a_finished_hop_is_rolled_back_whole_although_somebody_stands_still(node: MemoryNode) -> None:
    """It did when the rollback began, and no step of the finished hop had left it so; the journal says who."""
    node.upgrade()
    process = suspended(node)
    node.roll_back()
    require_told(node, process)
    begun = [entry.event for entry in node.entries() if isinstance(entry.event, RollbackStarted)]
    assert [event.suspended for event in begun] == [(process.pid,)]


def test_who_stands_still_since_the_rollback_began_is_not_excused_by_it(node: MemoryNode) -> None:
    """One was suspended before, another in the middle: only the second is a difference, until it is resumed."""
    node.upgrade()
    before = suspended(node)
    later: list[FakeProcess] = []

    def at_point(name: str) -> None:
        if name == LAST_UNDONE:
            later.append(suspended(node, "emqx_metrics"))

    node.vm.at_point = at_point
    with pytest.raises(BetweenReleases) as raised:
        node.roll_back()
    assert f"{later[0].pid} (emqx_metrics:init/1) is suspended" in raised.value.happened
    assert before.pid not in raised.value.happened
    later[0].suspended = False
    node.notes.lines.clear()
    node.recover("undo")
    require_told(node, before)


def test_a_recovery_knows_who_stood_still_before_the_rollback(node: MemoryNode) -> None:
    """The tool died in the middle of it."""
    node.upgrade()
    process = suspended(node)

    def die(name: str) -> None:
        if name == LAST_UNDONE:
            raise ToolDies

    node.vm.at_point = die
    with pytest.raises(ToolDies):
        node.roll_back()
    node.vm.at_point, node.vm.tool_died = lambda _: None, None
    node.recover()
    require_told(node, process)


def test_a_hop_that_has_updated_nothing_has_suspended_nobody(node: MemoryNode) -> None:
    """Its first load fails; who was suspended since the plan was so by somebody else, and it is undone whole."""
    found: list[FakeProcess] = []
    node.notes.at_step = lambda title: found.append(suspended(node)) if title.startswith("load ") else None
    do = node.vm.do

    def failing(order: door.StepOrder) -> door.StepReport:
        if isinstance(order, door.LoadModules):
            return door.StepNotDone(name="load_failed", detail="planted", reverted=True)
        return do(order)

    node.vm.do = failing  # type: ignore[method-assign]
    with pytest.raises(RolledBack) as raised:
        node.upgrade()
    assert raised.value.name == "load_failed"
    require_told(node, found[0])


def test_a_hop_that_has_begun_an_update_may_have_suspended_whoever_stands_still(node: MemoryNode) -> None:
    """The plan saw nobody so; since an update was begun, nobody can tell whose doing it is."""
    found: list[FakeProcess] = []
    node.notes.at_step = lambda title: found.append(suspended(node)) if title.startswith("update ") else None
    with pytest.raises(BetweenReleases, match="is suspended"):
        node.upgrade()
    found[0].suspended = False
    node.recover("undo")
    assert node.phase is Phase.ENDED


@pytest.fixture
def serving(releases: Built, tmp_path: Path) -> Iterator[Serving]:
    with Serving.opened(releases, tmp_path / "root", clients=20, busy=10) as found:
        yield found


@pytest.mark.timeout(300)
def test_on_a_real_node_a_debugged_process_does_not_stop_the_way_back(serving: Serving) -> None:
    """Suspended by an operator after the hop: the hop is undone whole, the process told and still suspended."""
    before = serving.world()
    assert serving.upgrade(serving.built.tarball("5.10.5")).code == 0
    assert serving.node.eval("sys:suspend(emqx_cm)") == "ok"
    back = serving.relup("rollback")
    assert back.code == 0, back.answer
    assert "(emqx_cm) is suspended: not by the hop's doing" in back.shown
    assert serving.world().suspended == 1
    assert serving.node.eval("sys:resume(emqx_cm)") == "ok"
    serving.require(before)
