"""`relup logs --steps`: the steps of one attempt with their evidence."""

from journal.events import Entry, UpgradeInterrupted
from projections.timeline import Timeline, step_text, timeline
from tests.journal.memory import MemoryJournal
from tests.journal.stories import (
    EVIDENCE,
    FAILURE,
    SECOND,
    Story,
    Ticking,
    plan,
    resumed,
    rolled_back,
    success,
    told,
    unfinished,
    write,
)


def timeline_of(story: Story, upgrade_id: str = "u0001") -> Timeline:
    journal = MemoryJournal(Ticking())
    write(journal, story)
    return timeline(journal.entries(), upgrade_id)


def test_every_step_has_its_time_evidence_and_modules() -> None:
    """How long, which processes, which md5 to which."""
    steps = timeline_of(told(success)).steps
    assert [(row.step, row.name, row.outcome, row.took_us) for row in steps] == [
        (1, "VerifyPackage", "succeeded", 1000),
        (2, "UnpackTarget", "succeeded", 2000),
        (3, "DeployTarget", "succeeded", 3000),
        (4, "LoadModules", "succeeded", 4000),
        (5, "ChangeCode", "succeeded", 5000),
        (6, "MakePermanent", "succeeded", 6000),
    ]
    assert steps[4].evidence == EVIDENCE
    assert steps[3].modules == plan().steps[1].modules
    assert steps[3].subject == "2 modules"


def test_an_undone_step_is_a_row_of_its_own() -> None:
    """Down and up are two walks over one step."""
    steps = timeline_of(told(rolled_back)).steps
    assert [(row.step, row.direction, row.outcome) for row in steps[-2:]] == [
        (5, "do", "failed"),
        (4, "undo", "succeeded"),
    ]
    assert steps[-2].failure == FAILURE


def test_an_observed_success_completes_the_step_that_was_begun() -> None:
    """What recovery saw belongs to the walk that nobody reported the end of."""
    row = next(row for row in timeline_of(told(resumed)).steps if row.step == 5)
    assert (row.outcome, row.source, row.why_unknown) == ("succeeded", "observed", "the connection was lost")
    assert row.took_us == 3 * SECOND // 1000, "nobody measured it: the time between its entries"


def test_a_step_without_an_end_is_running() -> None:
    """What the tool died in is told as such."""
    assert timeline_of(told(unfinished)).steps[-1].outcome == "running"


def test_what_happened_between_the_steps_is_told_too() -> None:
    """Request, observation, plan, end: everything but the steps, in order."""
    moments = timeline_of(told(success)).moments
    assert [type(moment.event).__name__ for moment in moments] == [
        "UpgradeRequested",
        "NodeObserved",
        "PlanResolved",
        "UpgradeSucceeded",
    ]
    assert [moment.seq for moment in moments] == sorted(moment.seq for moment in moments)


def test_only_the_attempt_that_was_asked_for_is_told() -> None:
    """Another attempt's entries do not mix in; an unknown one is empty."""
    story = told(success, rolled_back)
    assert {row.upgrade_id for row in timeline_of(story, "u0002").steps} == {"u0002"}
    assert timeline_of(story, "unknown").steps == []


def test_a_clock_that_stepped_back_measures_nothing() -> None:
    """A negative duration is no duration."""
    moments = iter([10, 5, 3])
    journal = MemoryJournal(lambda: next(moments) * SECOND)
    write(journal, told(lambda: [*unfinished()[-1:], resumed()[-4]])[:2])
    (row,) = timeline(journal.entries(), "u0001").steps
    assert (row.outcome, row.took_us) == ("succeeded", None)


def test_a_line_for_people_has_no_hole() -> None:
    """One line per step, with what failed and why."""
    steps = timeline_of(told(rolled_back)).steps
    assert step_text(steps[0]) == "2026-07-14T03:33:22Z step 1 VerifyPackage 1.0 ms succeeded"
    assert step_text(steps[-2]).endswith(
        "step 5 ChangeCode emqx_metrics 0.0 ms failed code_change_failed: code_change of emqx_metrics crashed"
    )
    assert "(undo)" in step_text(steps[-1])


def test_entries_of_nobody_are_left_out() -> None:
    """What concerns the node as a whole is no part of an attempt."""
    entry = Entry(seq=1, at=0, upgrade_id=None, event=UpgradeInterrupted(why="", runs_now=""))  # type: ignore[arg-type]  # a plain number
    assert timeline([entry], "u0001") == Timeline(upgrade_id="u0001")
