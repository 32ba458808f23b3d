"""Hops whose marker is gone: what `verify` and `clean` make of them before a restart into the base, and after it."""

from pathlib import Path

import pytest

from engine.cleaning import removable
from engine.finished import NoFinishedHop, Reading, read_back
from engine.release.marker import write_marker
from engine.truth import versions
from fixtures.build import Built
from journal.reader import read
from tests.fake_node import FakeNode
from tests.faults.memory import MakeMemoryNode, MemoryNode
from tests.torture.oracle import TARGET


@pytest.fixture
def upgraded(releases: Built, memory_node: MakeMemoryNode) -> MemoryNode:
    """A node with a finished hop."""
    node = memory_node(releases.reversible_catalog)
    node.upgrade()
    return node


def verified(node: MemoryNode) -> Reading:
    return read_back(read(node.place.journal), node.place, FakeNode(node.vm))


def offered(node: MemoryNode) -> list[Path]:
    """What `relup clean` would remove."""
    found = removable(node.place, versions(node.place, FakeNode(node.vm)), read(node.place.journal))
    return [each.path for each in found]


def restart(node: MemoryNode) -> None:
    node.vm.die()
    node.vm.start()


def test_until_the_restart_the_hop_stands_without_its_marker(upgraded: MemoryNode) -> None:
    """Its code lives, and may need its tree."""
    upgraded.give_up_marker()
    assert verified(upgraded).differences == (f"relup/current says absent instead of {TARGET}",)
    assert offered(upgraded) == []


def test_as_long_as_the_vm_of_the_hop_runs_its_tree_stays_whatever_its_code_looks_like(
    upgraded: MemoryNode,
) -> None:
    """Somebody has loaded the old code by hand: processes may still run that of the tree."""
    upgraded.give_up_marker()
    upgraded.vm.modules = dict(upgraded.vm.booted.modules)
    assert offered(upgraded) == []


@pytest.mark.parametrize("by_hand", [False, True], ids=["boot-only", "by hand"])
def test_after_a_restart_into_the_base_the_hop_no_longer_stands(upgraded: MemoryNode, by_hand: bool) -> None:
    """Nothing differs from what the operator wanted; the tree is needed by nobody."""
    if by_hand:
        upgraded.place.marker.unlink()
    else:
        upgraded.give_up_marker()
    restart(upgraded)
    with pytest.raises(NoFinishedHop, match="no longer stands: relup/current does not name it"):
        verified(upgraded)
    assert offered(upgraded) == [upgraded.place.tree(TARGET)]


def test_after_a_restart_into_the_target_the_hop_is_read_back(upgraded: MemoryNode) -> None:
    """Another VM, but the code of the hop."""
    restart(upgraded)
    assert verified(upgraded).differences == ()
    assert offered(upgraded) == []


def test_a_base_that_runs_although_the_marker_names_the_target_differs(upgraded: MemoryNode) -> None:
    """That is nothing the operator asked for."""
    upgraded.place.marker.unlink()
    restart(upgraded)
    write_marker(upgraded.root, TARGET)
    assert verified(upgraded).code
    assert offered(upgraded) == []
