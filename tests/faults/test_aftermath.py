"""The VM of an unfinished upgrade is gone: what recovery makes of the record and of the files."""

import re
from pathlib import Path
from typing import NoReturn

import pytest

from engine.errors import BadPlace, BetweenReleases, PastNoReturn
from engine.release.marker import write_marker
from engine.state import Phase
from fixtures.build import Built
from journal.events import Direction, UpgradeInterrupted
from journal.reader import read
from projections.facts import Facts, fold
from tests.fake_node import ToolDies
from tests.faults.memory import MakeMemoryNode, MemoryNode
from tests.torture.oracle import TARGET, require_one_release


def restarted(node: MemoryNode) -> MemoryNode:
    node.vm.die()
    node.vm.start()
    return node


def interrupted_because(node: MemoryNode) -> str:
    """What the last entry says of why the upgrade ended."""
    last = node.entries()[-1].event
    assert isinstance(last, UpgradeInterrupted)
    return last.why


def written_and_failed(root: Path, version: str) -> NoReturn:
    write_marker(root, version)
    raise BadPlace("The marker may not be on disk.", next="Look at the disk.", name="cannot_write_marker")


@pytest.fixture
def between(memory_node: MakeMemoryNode, releases: Built) -> MemoryNode:
    """One whose callbacks have run, and whose marker was written by a step that failed then."""
    node = memory_node(releases.catalog)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("engine.staging.write_marker", written_and_failed)
        with pytest.raises(BetweenReleases):
            node.upgrade()
    return node


def test_a_node_that_was_restarted_into_the_target_keeps_its_marker(between: MemoryNode) -> None:
    """Between releases, but the VM has booted the target since: the hop is done, and nothing is pending."""
    restarted(between)
    between.recover()
    assert between.phase is Phase.SUCCEEDED
    assert between.place.marker.read_text() == TARGET
    require_one_release(between.vm, between.root, at_target=True)
    assert fold(read(between.place.journal).entries(), Facts()).standing == []


def test_a_node_that_was_not_restarted_yet_gets_its_old_marker_back(between: MemoryNode) -> None:
    """Nobody knows that the target boots: the next start boots the old release, as before."""
    between.vm.die()
    between.recover()
    assert between.phase is Phase.ENDED
    assert not between.place.marker.exists()
    assert not between.at_target


def test_a_marker_that_was_written_by_hand_finishes_no_hop(
    memory_node: MakeMemoryNode, releases: Built
) -> None:
    """The callbacks have not run, so the hop is not done; but what boots, or runs, is left alone."""
    node = memory_node(releases.catalog)
    node.vm.failing = {"emqx_post_upgrade:limit_topic_levels"}
    with pytest.raises(BetweenReleases):
        node.upgrade()
    write_marker(node.root, TARGET)
    restarted(node).recover()
    assert node.phase is Phase.ENDED
    assert node.place.marker.read_text() == TARGET
    assert node.at_target


def test_the_record_does_not_speak_of_live_changes_where_there_were_none(
    memory_node: MakeMemoryNode, releases: Built
) -> None:
    """The tool died while it made its plan, and the VM ended then."""
    node = memory_node(releases.reversible_catalog)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("engine.upgrade.surveyed", dying)
        with pytest.raises(ToolDies):
            node.upgrade()
    restarted(node).recover()
    assert interrupted_because(node) == "the VM ended during the upgrade, before anything was changed in it"
    require_one_release(node.vm, node.root, at_target=False)


@pytest.fixture
def crashed(memory_node: MakeMemoryNode, releases: Built) -> MemoryNode:
    """One whose last callback has crashed, past the point of no return."""
    node = memory_node(releases.catalog)
    node.vm.failing = {"emqx_post_upgrade:limit_topic_levels"}
    with pytest.raises(BetweenReleases):
        node.upgrade()
    return node


@pytest.mark.parametrize("way", ["do", "undo"])
@pytest.mark.parametrize("boots_again", [False, True], ids=["dead", "restarted"])
def test_past_the_point_of_no_return_too_the_death_of_the_vm_is_cleaned_up_after(
    crashed: MemoryNode, way: Direction, boots_again: bool
) -> None:
    """Nothing lives that could not be undone; what the functions did elsewhere is recorded and told as it is."""
    crashed.vm.die()
    if boots_again:
        crashed.vm.start()
    crashed.recover(way)
    assert crashed.phase is Phase.ENDED
    assert re.search(
        r"its live changes with it; what step \d+ \(emqx_post_upgrade\S*:\w+\) and those after it have done "
        "outside the VM stays$",
        interrupted_because(crashed),
    )
    assert crashed.notes.lines == [interrupted_because(crashed)]
    if not boots_again:
        crashed.vm.start()
    require_one_release(crashed.vm, crashed.root, at_target=False)


def test_past_the_point_of_no_return_a_living_vm_is_not_undone(crashed: MemoryNode) -> None:
    """Refused, and not one entry is written."""
    written = len(crashed.entries())
    with pytest.raises(PastNoReturn):
        crashed.recover("undo")
    assert len(crashed.entries()) == written


@pytest.mark.parametrize("boots_again", [False, True], ids=["dead", "restarted"])
def test_a_hop_whose_target_boots_is_not_undone_past_its_point_of_no_return(
    between: MemoryNode, boots_again: bool
) -> None:
    """The tool died before the end was recorded, and the VM then: refused with nothing changed, recover ends it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("engine.upgrade._finish", dying)
        with pytest.raises(ToolDies):
            between.recover()
    between.vm.die()
    if boots_again:
        between.vm.start()
    written = len(between.entries())
    with pytest.raises(PastNoReturn):
        between.recover("undo")
    assert len(between.entries()) == written
    assert between.place.marker.read_text() == TARGET
    between.recover()
    assert between.phase is Phase.SUCCEEDED


def dying(*_: object) -> NoReturn:
    raise ToolDies


def test_the_record_speaks_of_live_changes_where_there_were_some(
    memory_node: MakeMemoryNode, releases: Built
) -> None:
    """They died with the VM."""
    node = memory_node(releases.reversible_catalog)
    node.vm.at_point = dying
    with pytest.raises(ToolDies):
        node.upgrade()
    node.vm.at_point = lambda _: None
    restarted(node).recover()
    assert interrupted_because(node).endswith("and its live changes with it")
