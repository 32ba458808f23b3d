"""The journal runs full at its k-th entry, for every k: of an upgrade, a failing one, a recovery, a rollback.

Whatever k is, the node runs one release whole, what was written can be read, and with room again `recover`
writes down how it ended.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from cli.exit_codes import exit_code
from engine.errors import NodeUnreachable, RelupError
from engine.rollback import UNCHANGED
from engine.state import Phase
from fixtures.build import Built
from journal.errors import JournalError
from journal.events import Direction
from tests.faults.memory import ENDLESS, MakeMemoryNode, MemoryNode
from tests.torture.oracle import TARGET, require_one_release

UPGRADE_ENTRIES = 24
"""Of the reversible hop, the journal's own first one not counted."""
PLANNED = 7
"""The entries up to the plan."""
ROLLBACK_ENTRIES = 16
ENTRIES_PAST_NO_RETURN = 8
FAILURE_ENTRY = 19
"""The entry before the one that tells the failure of the restart."""
ENTRIES_AFTER_FAILURE = 16
UNDONE, BETWEEN = 20, 30
"""Exit codes."""
Work = Callable[[MemoryNode], object]
Told = RelupError | JournalError | None


@dataclass
class Struck:
    """A work that had room for so many entries.

    Attributes:
        told: The error it was left with.
        ended: Where the upgrade stands after the recovery with room again.
    """

    room: int
    node: MemoryNode
    told: Told
    ended: Phase | None = None


def upgrade(node: MemoryNode) -> object:
    return node.upgrade()


def recover(node: MemoryNode) -> object:
    return node.recover()


def roll_back(node: MemoryNode) -> object:
    return node.roll_back()


def told(node: MemoryNode, work: Work) -> Told:
    """Do it; the error it is left with."""
    try:
        work(node)
    except (RelupError, JournalError) as error:
        return error
    return None


def struck_at_every_entry(make: Callable[[], MemoryNode], work: Work, *, first: int = 0) -> list[Struck]:
    """Do a work on a fresh node with room for `first` entries, then for one more, until it needs no more.

    The disk has room again afterwards. Each is judged here, on the spot, by what holds for all of them.
    """
    found = []
    for room in range(first, ENDLESS):
        node = make()
        node.disk.entries_left = room
        struck = Struck(room, node, told(node, work))
        full = node.disk.entries_left == 0 and struck.told is not None
        node.disk.entries_left = ENDLESS
        if not full:
            break
        judge(struck)
        found.append(struck)
    return found


def judge(struck: Struck) -> None:
    """The node runs one release whole, and a recovery leaves it so and closes what is open."""
    node, code = struck.node, exit_code(struck.told) if struck.told else None
    node.entries()
    if code != BETWEEN and not is_refused_recovery(struck):
        require_one_release(node.vm, node.root, at_target=node.at_target)
    was_undone = code == UNDONE
    assert not (was_undone and node.at_target)
    if node.is_open:
        assert told(node, recover) is None
    assert not node.is_open
    require_one_release(node.vm, node.root, at_target=node.at_target)
    assert (node.phase is Phase.SUCCEEDED) == node.at_target
    struck.ended = node.phase
    assert not (was_undone and node.at_target), "what was undone is not done again without being asked"
    assert not list(node.place.journal.glob("ballast")), "the reserved space is given back"


def is_refused_recovery(struck: Struck) -> bool:
    """It left everything in the middle, as it found it."""
    return struck.told is not None and struck.told.runs_now == UNCHANGED


def names(found: list[Struck]) -> set[tuple[str, int]]:
    """Each error's name and exit code."""
    return {(each.told.name, exit_code(each.told)) for each in found if each.told is not None}


@pytest.mark.timeout(300)
def test_an_upgrade_whose_journal_is_full_at_any_entry_is_refused_or_undone(
    memory_node: MakeMemoryNode, releases: Built
) -> None:
    """Refused before the plan, undone after it; the record that is missing is told on the screen."""
    found = struck_at_every_entry(lambda: memory_node(releases.reversible_catalog), upgrade)
    assert len(found) == UPGRADE_ENTRIES
    assert names(found[:PLANNED]) == {("journal_full", 15)}
    assert names(found[PLANNED:]) == {("journal_full", 20)}
    assert all("not in the journal: Rollback" in str(each.node.notes.lines) for each in found[PLANNED:])
    assert all(each.told is not None and each.told.runs_now for each in found)


@pytest.mark.timeout(300)
def test_past_the_point_of_no_return_a_full_journal_stops_the_upgrade_and_recover_ends_it(
    memory_node: MakeMemoryNode, releases: Built
) -> None:
    """Nothing can be undone there; the record stays readable and the end is written with room again."""

    def irreversible() -> MemoryNode:
        return memory_node(releases.catalog)

    found = struck_at_every_entry(irreversible, upgrade, first=UPGRADE_ENTRIES - 4)
    between = [each for each in found if each.told is not None and exit_code(each.told) == BETWEEN]
    assert len(between) == ENTRIES_PAST_NO_RETURN
    assert all(each.ended is Phase.SUCCEEDED for each in between)
    assert all("0 of the old release" in str(each.told and each.told.runs_now) for each in between)


@pytest.mark.timeout(300)
def test_a_rollback_goes_on_when_its_journal_runs_full(memory_node: MakeMemoryNode, releases: Built) -> None:
    """A failing upgrade whose journal is full at any entry of its rollback is undone all the same."""

    def failing() -> MemoryNode:
        node = memory_node(releases.reversible_catalog)
        node.vm.failing = {retainer_in(node)}
        return node

    found = struck_at_every_entry(failing, upgrade, first=FAILURE_ENTRY)
    assert {exit_code(each.told) for each in found if each.told} == {UNDONE}
    assert len(found) == ENTRIES_AFTER_FAILURE


def retainer_in(node: MemoryNode) -> str:
    """The application that does not start from the target's tree, as the VM in memory names it."""
    file = node.small.target_application("emqx_retainer").relative_to(node.small.target)
    return f"emqx_retainer@{node.place.tree(TARGET) / file}"


@pytest.mark.timeout(300)
def test_a_finished_hop_is_rolled_back_whole_or_not_at_all(
    memory_node: MakeMemoryNode, releases: Built
) -> None:
    """Without room for a single entry it is refused; with some, the rest is undone without a record."""

    def finished() -> MemoryNode:
        node = memory_node(releases.reversible_catalog)
        node.upgrade()
        return node

    found = struck_at_every_entry(finished, roll_back)
    assert len(found) == ROLLBACK_ENTRIES
    assert found[0].told is not None
    assert found[0].told.runs_now == UNCHANGED
    assert [each.ended for each in found] == [Phase.SUCCEEDED] + [Phase.ENDED] * (ROLLBACK_ENTRIES - 1)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["do", "undo"])
def test_a_recovery_whose_journal_is_full_at_any_entry_can_be_repeated(
    memory_node: MakeMemoryNode, releases: Built, way: Direction
) -> None:
    """Of an upgrade that lost its VM's answer in the middle, forwards and back."""

    def stopped() -> MemoryNode:
        node = memory_node(releases.reversible_catalog)
        node.lose_the_node_at("switched emqx_metrics")
        assert isinstance(told(node, upgrade), NodeUnreachable)
        node.find_the_node()
        return node

    found = struck_at_every_entry(stopped, lambda node: node.recover(way))
    assert found[0].told is not None
    assert found[0].told.runs_now == UNCHANGED
    assert len(found) > UPGRADE_ENTRIES - PLANNED - 8


def test_a_marker_is_not_given_up_without_room_to_write_it_down(
    memory_node: MakeMemoryNode, releases: Built
) -> None:
    """Refused with nothing changed; and where the reserve is no help after all, what is so is told."""
    node = memory_node(releases.reversible_catalog)
    node.upgrade()
    node.disk.entries_left = 0
    refused = told(node, MemoryNode.give_up_marker)
    assert refused is not None
    assert (exit_code(refused), refused.runs_now) == (15, UNCHANGED)
    assert node.place.marker.read_text() == TARGET

    node.disk.reserve_lies = True
    late = told(node, MemoryNode.give_up_marker)
    assert late is not None
    assert "relup/current is removed" in str(late.runs_now)
    assert not node.place.marker.exists()


def test_nothing_is_cleaned_away_without_room_to_write_it_down(
    memory_node: MakeMemoryNode, releases: Built
) -> None:
    """Refused with nothing changed; and where the reserve is no help after all, what is gone is told."""
    node = memory_node(releases.reversible_catalog)
    node.upgrade()
    spare = node.place.tree("5.10.3")
    shutil.copytree(node.place.tree(TARGET), spare)
    node.vm.die()
    node.vm.start()
    node.disk.entries_left = 0
    refused = told(node, MemoryNode.clean)
    assert refused is not None
    assert (exit_code(refused), refused.runs_now) == (15, UNCHANGED)
    assert spare.exists()

    node.disk.reserve_lies = True
    late = told(node, MemoryNode.clean)
    assert late is not None
    assert f"{spare} is removed" in str(late.runs_now)
    assert not spare.exists()
