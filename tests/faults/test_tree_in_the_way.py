"""A tree of the target's version that this upgrade did not deploy: it is neither taken over nor taken away."""

import errno
import shutil
from collections.abc import Callable

import pytest

from engine.errors import RolledBack
from engine.state import Phase
from fixtures.build import Built
from journal.events import StepFailed
from tests.fake_node import ToolDies
from tests.faults.memory import MakeMemoryNode, MemoryNode
from tests.torture.oracle import TARGET


@pytest.fixture
def node(memory_node: MakeMemoryNode, releases: Built) -> MemoryNode:
    """One with somebody else's tree of the target's version."""
    made = memory_node(releases.reversible_catalog)
    shutil.copytree(made.small.target, made.place.tree(TARGET))
    return made


def require_untouched(node: MemoryNode) -> None:
    """Only the record of the upgrade is new."""
    assert node.phase is Phase.ENDED
    assert node.place.tree(TARGET).is_dir()
    assert not [path for path in node.place.relup.iterdir() if path.name.startswith((".staging", ".removed"))]


def test_a_tree_that_boots_next_stops_the_upgrade_and_stays(node: MemoryNode) -> None:
    """With a marker written by hand: the step says that it did nothing, and the rollback ends whole."""
    node.place.marker.write_text(TARGET)
    with pytest.raises(RolledBack) as raised:
        node.upgrade()
    assert raised.value.name == "target_tree_exists"
    failed = next(entry.event for entry in node.entries() if isinstance(entry.event, StepFailed))
    assert (failed.name, failed.reverted) == ("DeployTarget", True)
    assert node.place.marker.read_text() == TARGET
    require_untouched(node)


def failing_with(fault: BaseException) -> Callable[..., None]:
    """A file operation that ends so."""

    def fail(*_: object, **__: object) -> None:
        raise fault

    return fail


FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_rollback_leaves_a_tree_that_was_not_replaced_yet(node: MemoryNode) -> None:
    """The disk is full before the staging gets its name: the tree there is still the other one."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("engine.release.deploy.write_manifest", failing_with(FULL))
        with pytest.raises(RolledBack):
            node.upgrade()
    require_untouched(node)


@pytest.mark.parametrize("way", ["do", "undo"])
def test_a_recovery_after_the_death_of_the_vm_leaves_such_a_tree_too(node: MemoryNode, way: str) -> None:
    """Tool and VM died before the staging got its name."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("engine.release.deploy.write_manifest", failing_with(ToolDies()))
        with pytest.raises(ToolDies):
            node.upgrade()
    node.vm.die()
    node.vm.start()
    node.recover("do" if way == "do" else "undo")
    require_untouched(node)
