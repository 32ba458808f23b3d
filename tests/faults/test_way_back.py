"""`relup rollback` of a hop from whose old code somebody does not come out: refused while nothing is changed yet."""

import pytest

from engine.state import Phase
from engine.way_back import StillInOldCode
from fixtures.build import Built
from tests.fake_node import FakeProcess
from tests.faults.memory import MakeMemoryNode, MemoryNode


@pytest.fixture
def upgraded(releases: Built, memory_node: MakeMemoryNode) -> MemoryNode:
    """A node with a finished hop that can be undone."""
    node = memory_node(releases.reversible_catalog)
    node.upgrade()
    return node


def linger(node: MemoryNode, *, can_be_nudged: bool) -> FakeProcess:
    """A process in the old code of a module of the hop."""
    return node.vm.spawn(
        "emqx_metrics", supervised=False, in_old_code=True, can_be_nudged=can_be_nudged, client_id="car-7"
    )


def test_a_rollback_that_would_kill_is_refused_before_its_first_step(upgraded: MemoryNode) -> None:
    """Marker, code and journal stay as they are, nothing is left in the VM, and who it is about is named."""
    process = linger(upgraded, can_be_nudged=False)
    written, modules = upgraded.entries(), dict(upgraded.vm.modules)
    with pytest.raises(StillInOldCode) as refused:
        upgraded.roll_back()
    assert refused.value.happened.endswith(
        f"(1): {process.pid} emqx_metrics:init/1 in emqx_metrics, client car-7."
    )
    assert refused.value.runs_now == "5.10.5, whole; nothing was changed"
    assert "--boot-only" in refused.value.next
    assert (upgraded.entries(), upgraded.vm.modules, upgraded.vm.outcomes) == (written, modules, {})
    assert upgraded.at_target


def test_once_they_have_come_out_of_it_the_rollback_is_done(upgraded: MemoryNode) -> None:
    """The refusal before it is not remembered."""
    process = linger(upgraded, can_be_nudged=False)
    with pytest.raises(StillInOldCode):
        upgraded.roll_back()
    process.in_old_code = False
    assert upgraded.roll_back().phase == Phase.ENDED


def test_who_comes_out_when_it_is_nudged_refuses_nothing(upgraded: MemoryNode) -> None:
    """An idle connection always is in old code."""
    linger(upgraded, can_be_nudged=True)
    assert upgraded.roll_back().phase == Phase.ENDED
    assert upgraded.vm.misfits() == []
