"""The last finished hop: rolling it back while its VM still runs, reading it back, giving up its marker."""

from pathlib import Path

import msgspec

from engine.errors import BadRequest
from engine.history import upgrades_backwards
from engine.incarnation import is_same
from engine.node.door import Node, NodeFacts
from engine.options import Options
from engine.place import Place
from engine.readback import differences
from engine.release.manifest import read_manifest, verify_tree
from engine.release.marker import read_marker, remove_marker
from engine.reserve import ENTRY_BYTES, journal_need_bytes
from engine.rollback import UNCHANGED, refuse_past_no_return, roll_back, undoing_when_unwritable
from engine.run import House, Run, leaving
from engine.state import Phase, UpgradeState
from engine.upgrade import refuse_if_open
from engine.way_back import require_free
from journal.door import Entries
from journal.events import MarkerRemoved, NodeObservation


class NoFinishedHop(BadRequest):
    """The running VM carries no finished hop."""

    name = "no_finished_hop"


class NoMarker(BadRequest):
    """relup/current is not there."""

    name = "no_marker"


def last_success(journal: Entries) -> UpgradeState | None:
    """The newest hop that stands: whatever came after it changed nothing, or was undone whole."""
    return next((state for state in upgrades_backwards(journal) if state.phase == Phase.SUCCEEDED), None)


def roll_back_finished(house: House) -> UpgradeState:
    """Undo the finished hop whose code the VM runs.

    Raises:
        UpgradeOpen: An upgrade is unfinished; `recover` is what is meant.
        NoFinishedHop: There is none, or the node was restarted since.
        PastNoReturn: A callback or function of it has run; nothing was changed.
        StillInOldCode: Processes would be killed by it; nothing was changed.
        JournalFull: There is no room to write down what would be done; nothing was changed.
        BetweenReleases: It could not be undone whole.
    """
    refuse_if_open(house.journal)
    state = last_success(house.journal)
    if state is None or state.node is None:
        raise NoFinishedHop(
            "No finished hop stands in the journal of this node.",
            next="'relup status' shows what runs, 'relup logs' what was done.",
        )
    run = Run(house=house, options=Options.from_record(state.requested.options), state=state)
    facts = run.node.observe()
    if not is_same(state.node, facts):
        raise NoFinishedHop(
            "The node was restarted since the hop: its code no longer lives beside the old one.",
            next="To boot the old release: 'relup rollback --boot-only', then restart the node.",
        )
    refuse_past_no_return(run)
    suspended = tuple(process.pid for process in run.node.suspended())  # a finished hop left nobody so
    with leaving(UNCHANGED):
        house.journal.reserve(journal_need_bytes(run.state))
    with undoing_when_unwritable(run):
        require_free(run)
        roll_back(run, cause=None, automatic=False, suspended=suspended)
    return run.state


def give_up_marker(house: House) -> str:
    """Remove relup/current alone: the next restart boots the base release. The version it named.

    Raises:
        UpgradeOpen: An upgrade is unfinished.
        NoMarker: There is none.
        JournalFull: There is no room to write it down; nothing was changed.
    """
    refuse_if_open(house.journal)
    marker = read_marker(house.place.root)
    if marker.state == "absent":
        raise NoMarker(
            "There is no relup/current: the next restart boots the base release anyway.",
            next="Nothing has to be done.",
        )
    named = marker.version or ""
    with leaving(UNCHANGED):
        house.journal.reserve(ENTRY_BYTES)
    try:
        remove_marker(house.place.root)
        with leaving("what it ran before; relup/current is removed, but the journal does not know it"):
            house.journal.append(MarkerRemoved(version=named, by=house.by), upgrade_id=None)
    finally:
        house.journal.release()
    return named


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What `verify` read back of a hop; each list is empty when all is as it should be.

    Attributes:
        code: Modules that are not live as the hop left them.
        tree: Paths of the deployed tree that are not as its manifest says.
        marker: What is wrong with relup/current.
        suspended: Processes that are suspended.
    """

    upgrade_id: str
    target_version: str
    modules: int
    files: int
    code: tuple[str, ...]
    tree: tuple[str, ...]
    marker: tuple[str, ...]
    suspended: tuple[str, ...]

    @property
    def differences(self) -> tuple[str, ...]:
        return (*self.code, *self.tree, *self.marker, *self.suspended)


def read_back(journal: Entries, place: Place, node: Node) -> Reading:
    """Compare a finished hop with the world.

    Raises:
        NoFinishedHop: There is none, or it was given up.
        NodeUnreachable: The node could not be asked.
    """
    state = last_success(journal)
    if state is None or state.plan is None or state.node is None:
        raise NoFinishedHop(
            "No finished hop stands in the journal of this node.", next="'relup logs' shows what was done."
        )
    target = state.plan.target_version
    _require_not_given_up(state.node, target, place, node.observe())
    expected = {change.module: change.to_md5 for record in state.records for change in record.modules}
    tree = place.tree(target)
    files, wrong_files = _tree_differences(tree)
    return Reading(
        upgrade_id=state.upgrade_id,
        target_version=target,
        modules=len(expected),
        files=files,
        code=tuple(differences(node, expected)),
        tree=wrong_files,
        marker=_marker_differences(place, target),
        suspended=tuple(f"{process.pid} ({process.name}) is suspended" for process in node.suspended()),
    )


def _require_not_given_up(seen: NodeObservation, target: str, place: Place, now: NodeFacts) -> None:
    """A VM that was restarted into another release, where no marker names the target, owes the hop nothing.

    Raises:
        NoFinishedHop
    """
    was_restarted_elsewhere = not is_same(seen, now) and Path(now.boot_tree) != place.tree(target)
    if was_restarted_elsewhere and read_marker(place.root).version != target:
        raise NoFinishedHop(
            f"The hop to {target} no longer stands: relup/current does not name it, and the node was restarted"
            f" from {now.boot_tree} since.",
            next="'relup status' shows what runs; 'relup clean' removes trees that nothing needs any more.",
        )


def _tree_differences(tree: Path) -> tuple[int, tuple[str, ...]]:
    manifest = read_manifest(tree)
    if manifest is None:
        return 0, (f"{tree} has no manifest beside it",)
    found = verify_tree(tree, manifest)
    return len(manifest.files), tuple(f"{tree}/{each.path}: {each.what}" for each in found)


def _marker_differences(place: Place, target: str) -> tuple[str, ...]:
    marker = read_marker(place.root)
    if marker.version == target:
        return ()
    return (f"relup/current says {marker.version or marker.problem or marker.state} instead of {target}",)
