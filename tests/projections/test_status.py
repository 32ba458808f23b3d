"""The one line of `status`, for every place a journal can leave a node in."""

from typing import get_args

import pytest

from journal.events import (
    AnyEvent,
    MarkerRemoved,
    NodeObservation,
    NodeRestarted,
    UpgradeFailed,
)
from projections.facts import MEANINGS, Facts, fold
from projections.status import Seen, status_line
from tests.journal.memory import MemoryJournal
from tests.journal.stories import (
    BY,
    FAILURE,
    Story,
    Ticking,
    between_releases,
    changed,
    interrupted,
    node,
    prepared,
    refused,
    resumed,
    rolled_back,
    rolled_back_on_request,
    success,
    told,
    unfinished,
    write,
)

PENDING = "hot-upgraded to 5.10.5; pending on restart to boot from the new version"
SAME, OTHER = node(), node(pid=999)


def facts_of(story: Story) -> Facts:
    journal = MemoryJournal(Ticking())
    write(journal, story)
    return fold(journal.entries(), Facts())


def said(
    story: Story, *, lock_held: bool = False, marker: str | None = None, seen: NodeObservation | None = SAME
) -> tuple[str, str]:
    line = status_line(facts_of(story), Seen(lock_held=lock_held, marker=marker, node=seen))
    return line.kind, line.text


@pytest.mark.parametrize(
    "story",
    [
        [],
        told(refused),
        told(rolled_back),
        told(interrupted),
        told(rolled_back_on_request),
        told(success, restart_every=1),
    ],
)
def test_with_nothing_open_and_nothing_pending_the_node_is_idle(story: Story) -> None:
    """The official word, whatever was tried and undone before."""
    assert said(story, seen=None) == ("idle", "idle")


@pytest.mark.parametrize("story", [told(unfinished), told(between_releases), told(success, prepared)])
def test_an_open_upgrade_whose_tool_lives_is_in_progress(story: Story) -> None:
    """The lock tells the living from the dead."""
    assert said(story, lock_held=True) == ("in_progress", "in-progress")


@pytest.mark.parametrize(
    ("story", "place"),
    [
        (told(lambda: prepared()[:1]), "its request, before anything was touched"),
        (told(unfinished), "step 5 of 6 (ChangeCode)"),
        (told(lambda: rolled_back()[:-3]), "step 4 of 6 (LoadModules, undoing)"),
    ],
)
def test_of_an_upgrade_in_progress_it_is_known_how_far_it_is(story: Story, place: str) -> None:
    """Who is told to wait for another relup can see it move."""
    assert status_line(facts_of(story), Seen(lock_held=True)).place == place


def test_a_hop_whose_vm_has_ended_without_a_marker_is_over() -> None:
    """Nothing runs it, and nothing boots it; while the marker names it, a start does."""
    facts = facts_of(told(success))
    assert status_line(facts, Seen(vm_ended=True)).text == "idle"
    assert status_line(facts, Seen(vm_ended=True, marker="5.10.5")).text == PENDING


@pytest.mark.parametrize("attempt", [success, resumed])
@pytest.mark.parametrize("seen", [SAME, None])
def test_a_finished_hop_is_pending_until_the_restart(attempt: object, seen: NodeObservation | None) -> None:
    """The official line, also while the node cannot be asked."""
    assert said(told(attempt), marker="5.10.5", seen=seen) == ("pending", PENDING)  # type: ignore[arg-type]  # a story


def test_after_the_restart_the_node_is_idle_again() -> None:
    """Another incarnation ends the pending, before anybody has written it down."""
    assert said(told(success), marker="5.10.5", seen=OTHER) == ("idle", "idle")


def test_a_second_hop_on_top_of_a_pending_one_is_the_pending_one() -> None:
    """A→B→C without a restart between."""
    story = told(success, lambda: success("5.10.5", "5.10.6"))
    assert said(story, marker="5.10.6")[1].startswith("hot-upgraded to 5.10.6; pending")
    assert [hop.target_version for hop in facts_of(story).standing] == ["5.10.5", "5.10.6"]


def test_a_hop_from_a_base_that_came_back_unseen_forgets_the_earlier_ones() -> None:
    """Two hops from the same release cannot both be in the VM."""
    assert len(facts_of(told(success, success)).standing) == 1


@pytest.mark.parametrize(
    ("marker", "boots"),
    [(None, "the base release: relup/current is missing"), ("5.10.3", "5.10.3: relup/current says so")],
)
def test_a_marker_that_someone_else_touched_is_told(marker: str | None, boots: str) -> None:
    """Where the official line would be a lie, ours says what a restart boots."""
    assert said(told(success), marker=marker) == (
        "marker_differs",
        f"hot-upgraded to 5.10.5; but a restart boots {boots}",
    )


def test_what_to_do_is_said_where_the_line_does_not_say_it() -> None:
    """A hop that a restart would give up can be kept or undone; the official lines need no advice."""
    facts = facts_of(told(success))
    advice = status_line(facts, Seen(marker=None)).next
    assert advice is not None
    assert all(way in advice for way in ("restart", "write 5.10.5 into", "'relup rollback'"))
    assert status_line(facts, Seen(marker="5.10.5")).next is None


@pytest.mark.parametrize(
    ("events", "place"),
    [
        (prepared()[:1], "its request, before anything was touched"),
        (prepared()[:2], "its request, before anything was touched"),
        (prepared()[:3], "step 1 (VerifyPackage), before anything was touched"),
        (prepared(), "step 2 (UnpackTarget), before anything was touched"),
        (changed(1), "step 3 of 6 (DeployTarget)"),
        (unfinished(), "step 5 of 6 (ChangeCode)"),
        (rolled_back()[:-3], "step 4 of 6 (LoadModules, undoing)"),
        (success()[:-1], "step 6 of 6 (MakePermanent)"),
    ],
)
def test_a_dead_tool_is_told_with_the_place_it_died_at(events: list[AnyEvent], place: str) -> None:
    """Where the official tool says in-progress for ever."""
    assert said(told(lambda: events)) == ("interrupted", f"interrupted at {place}; run 'relup recover'")


def test_a_node_that_restarted_under_an_open_upgrade_is_told() -> None:
    """The live changes are gone with the VM, whether or not that was written down."""
    expected = "interrupted at step 5 of 6 (ChangeCode); the node has restarted since; run 'relup recover'"
    assert said(told(unfinished), seen=OTHER) == ("interrupted", expected)
    noted = told(lambda: [*unfinished(), NodeRestarted(node=OTHER)])
    assert said(noted, seen=OTHER) == ("interrupted", expected)


def test_between_releases_is_told_with_both_sides() -> None:
    """How many modules are on which side, and where it stopped."""
    assert said(told(between_releases)) == (
        "between_releases",
        "between releases: 1 modules of 5.10.4 and 2 of 5.10.5 are live, stopped at step 5 of 6 (ChangeCode); "
        "run 'relup recover'",
    )


def test_between_releases_without_sides_counts_none() -> None:
    """Nobody could ask the node: no modules on either side is not what is so."""
    unasked = UpgradeFailed(failure=FAILURE, ended_as="between_releases")
    assert said(told(lambda: [*unfinished(), unasked])) == (
        "between_releases",
        "between releases: the node could not be asked which modules are live, "
        "stopped at step 5 of 6 (ChangeCode); run 'relup recover'",
    )


def test_between_releases_ends_with_the_vm() -> None:
    """The mixed code died with it; the open record still wants its recovery."""
    assert said(told(between_releases), seen=OTHER)[0] == "interrupted"
    noted = told(lambda: [*between_releases(), NodeRestarted(node=OTHER)])
    assert said(noted, seen=OTHER)[0] == "interrupted"


def test_a_hop_whose_end_was_recorded_after_the_restart_is_not_pending() -> None:
    """The tool died behind the marker, the node was restarted into the target, then recover wrote the end down."""
    late = told(lambda: [*success()[:-1], NodeRestarted(node=OTHER), success()[-1]])
    assert said(late, marker="5.10.5", seen=OTHER) == ("idle", "idle")
    assert said(late, marker="5.10.5", seen=None) == ("idle", "idle")
    assert facts_of(late).marker == "5.10.5"


def test_every_prefix_of_every_story_has_a_line() -> None:
    """No moment of an upgrade is one that status cannot tell."""
    story = told(refused, rolled_back, success, rolled_back_on_request, between_releases)
    kinds = {said(story[:length])[0] for length in range(len(story) + 1)}
    assert kinds == {"idle", "interrupted", "between_releases", "marker_differs"}


def test_the_marker_is_what_relup_last_made_of_it() -> None:
    """By a hop, its undoing, a removal."""
    assert facts_of(told(success)).marker == "5.10.5"
    assert facts_of(told(rolled_back_on_request)).marker is None
    removed: Story = [*told(success), (None, MarkerRemoved(version="5.10.5", by=BY))]
    assert facts_of(removed).marker is None


def test_the_failure_of_a_rolled_back_attempt_is_kept_whichever_entry_came_last() -> None:
    """Killed between RollbackFinished and UpgradeFailed, the cause is known from the rollback's start."""
    for story in (told(rolled_back), told(lambda: rolled_back()[:-1])):
        last = facts_of(story).last
        assert last is not None
        assert (last.result, last.failure) == ("rolled_back", FAILURE)


def test_an_upgrade_failed_without_a_rollback_has_ended_rolled_back() -> None:
    """The entry says by itself how it ended."""
    story = told(lambda: [*changed(1), UpgradeFailed(failure=FAILURE, ended_as="rolled_back")])
    assert facts_of(story).open is None


def test_every_event_has_a_meaning() -> None:
    """A new event shows up here before it is forgotten there."""
    assert set(MEANINGS) == set(get_args(AnyEvent))
