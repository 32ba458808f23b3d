"""The deciding fold: what an upgrade's entries mean for what may be done next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.state import DIRECTIONS, Outcome, Phase, folded, next_state
from engine.steps import PREPARATION, ChangeCode, DeployTarget, RestartApplication
from journal.events import (
    AnyEvent,
    EndedProcess,
    Evidence,
    JournalOpened,
    MarkerRemoved,
    NodeObservation,
    NodeObserved,
    NodeRestarted,
    RollbackFailed,
    RollbackFinished,
    StepFailed,
    StepOutcomeUnknown,
    StepStarted,
    StepSucceeded,
    UpgradeFailed,
    UpgradeInterrupted,
    UpgradeRefused,
    UpgradeResumed,
    UpgradeSucceeded,
)
from tests.engine.stories import (
    BY,
    DEPLOY,
    FAILURE,
    LOAD,
    REQUESTED,
    REVERSIBLE,
    ROLLBACK,
    WITH_CALLBACK,
    done,
    entries_of,
    failed,
    lost,
    plan_of,
    started,
    state_after,
    succeeded,
)

NODE = NodeObservation(
    name="emqx@127.0.0.1",
    os_pid=7,
    os_start_time=1,
    creation=1,
    otp_release="25",
    running_version="5.10.4",
    boot_tree="/opt/emqx",
)
INTERRUPTED = UpgradeInterrupted(why="killed", runs_now="the old release")
BETWEEN = UpgradeFailed(failure=FAILURE, ended_as="between_releases")
UNDONE = UpgradeFailed(failure=FAILURE, ended_as="rolled_back")
SUCCEEDED = UpgradeSucceeded(took_us=1)


# ---------------------------------------------------------------- where it stands

PHASES: dict[str, tuple[list[AnyEvent], Phase]] = {
    "requested": ([], Phase.PREPARING),
    "package verified": (done(1), Phase.PREPARING),
    "refused": ([UpgradeRefused(failure=FAILURE)], Phase.ENDED),
    "stopped before the plan": ([INTERRUPTED], Phase.ENDED),
    "resumed before the plan": ([UpgradeResumed(by=BY, direction="do")], Phase.PREPARING),
    "planned": ([plan_of(REVERSIBLE)], Phase.CHANGING),
    "in a step": ([plan_of(REVERSIBLE), started(3)], Phase.CHANGING),
    "a step failed": ([plan_of(REVERSIBLE), started(3), failed(3)], Phase.CHANGING),
    "being rolled back": ([plan_of(REVERSIBLE), started(3), failed(3), ROLLBACK], Phase.ROLLING_BACK),
    "rolled back": ([plan_of(REVERSIBLE), ROLLBACK, RollbackFinished()], Phase.ENDED),
    "rolled back, and why": ([plan_of(REVERSIBLE), ROLLBACK, RollbackFinished(), UNDONE], Phase.ENDED),
    "rollback failed": ([plan_of(REVERSIBLE), ROLLBACK, RollbackFailed(failure=FAILURE)], Phase.BETWEEN),
    "between": ([plan_of(WITH_CALLBACK), BETWEEN], Phase.BETWEEN),
    "resumed from between": (
        [plan_of(WITH_CALLBACK), BETWEEN, UpgradeResumed(by=BY, direction="do")],
        Phase.CHANGING,
    ),
    "resumed to go back": (
        [plan_of(REVERSIBLE), UpgradeResumed(by=BY, direction="undo")],
        Phase.ROLLING_BACK,
    ),
    "given up": ([plan_of(REVERSIBLE), NodeRestarted(node=NODE), INTERRUPTED], Phase.ENDED),
    "succeeded": ([plan_of(REVERSIBLE), *done(3, 4, 5, 6, 7), SUCCEEDED], Phase.SUCCEEDED),
}
READS_BACK = 6
"""The VerifyNode of REVERSIBLE."""
IS_OPEN = {Phase.PREPARING, Phase.CHANGING, Phase.ROLLING_BACK, Phase.BETWEEN}


@pytest.mark.parametrize(("events", "phase"), PHASES.values(), ids=PHASES)
def test_where_an_upgrade_stands(events: list[AnyEvent], phase: Phase) -> None:
    """Each ending closes it; between releases it stays open for `recover`."""
    state = folded(entries_of([REQUESTED, *events]))
    assert state is not None
    assert state.phase == phase
    assert state.is_open == (phase in IS_OPEN)


def test_every_phase_is_in_the_table() -> None:
    """No phase is reached by no story."""
    assert {phase for _, phase in PHASES.values()} == set(Phase)


# ---------------------------------------------------------------- what is known of one step

OUTCOMES: dict[str, tuple[list[AnyEvent], Outcome | None, Outcome | None, int]] = {
    "never begun": ([], None, None, 1),
    "begun": ([started(4)], Outcome.STARTED, None, 2),
    "done": ([started(4), succeeded(4)], Outcome.SUCCEEDED, None, 2),
    "failed": ([started(4), failed(4)], Outcome.FAILED, None, 2),
    "failed and undone by itself": ([started(4), failed(4, reverted=True)], Outcome.REVERTED, None, 2),
    "lost": ([started(4), lost(4)], Outcome.UNKNOWN, None, 2),
    "found done after it was lost": (
        [started(4), lost(4), succeeded(4, source="observed")],
        Outcome.SUCCEEDED,
        None,
        2,
    ),
    "begun again": (
        [started(4), lost(4), started(4, attempt=2)],
        Outcome.STARTED,
        None,
        3,
    ),
    "undone": (
        [started(4), succeeded(4), started(4, "undo"), succeeded(4, "undo")],
        Outcome.SUCCEEDED,
        Outcome.SUCCEEDED,
        2,
    ),
    "done once more after it was undone": (
        [*done(4), *done(4, direction="undo"), started(4, attempt=2)],
        Outcome.STARTED,
        None,
        3,
    ),
}


@pytest.mark.parametrize(("events", "forth", "back", "attempt"), OUTCOMES.values(), ids=OUTCOMES)
def test_what_is_known_of_a_step(
    events: list[AnyEvent], forth: Outcome | None, back: Outcome | None, attempt: int
) -> None:
    """The last word counts for each direction; walking a step again forgets that it was undone."""
    state = state_after(*events)
    assert state.outcome(4, "do") == forth
    assert state.outcome(4, "undo") == back
    assert state.next_attempt(4, "do") == attempt


# ---------------------------------------------------------------- what is left to do and to undo


def numbers(steps: list[tuple[int, object]]) -> list[int]:
    return [number for number, _ in steps]


TO_DO: dict[str, tuple[list[AnyEvent], list[int], list[int]]] = {
    "planned": ([], [3, 4, 5, 6, 7], []),
    "one done": (done(3), [4, 5, 6, 7], [3]),
    "in a step": ([*done(3), started(4)], [4, 5, 6, 7], [4, 3]),
    "a step is lost": ([*done(3), started(4), lost(4)], [4, 5, 6, 7], [4, 3]),
    "a step failed half way": ([*done(3), started(4), failed(4)], [4, 5, 6, 7], [4, 3]),
    "a step undid itself": ([*done(3), started(4), failed(4, reverted=True)], [4, 5, 6, 7], [3]),
    "failed half way, and undid itself when it was walked again": (
        [*done(3), started(4), failed(4), started(4, attempt=2), failed(4, reverted=True, attempt=2)],
        [4, 5, 6, 7],
        [4, 3],
    ),
    "undone, walked again, and undid itself": (
        [*done(3, 4), *done(4, direction="undo"), started(4, attempt=2), failed(4, reverted=True, attempt=2)],
        [4, 5, 6, 7],
        [3],
    ),
    "read back": (done(3, 4, 5, 6), [7], [5, 4, 3]),
    "all done": (done(3, 4, 5, 6, 7), [], [7, 5, 4, 3]),
    "half undone": ([*done(3, 4, 5), ROLLBACK, *done(5, direction="undo")], [5, 6, 7], [4, 3]),
    "undoing is lost": (
        [*done(3, 4), ROLLBACK, started(4, "undo"), lost(4, "undo")],
        [4, 5, 6, 7],
        [4, 3],
    ),
    "undoing failed": ([*done(3, 4), ROLLBACK, started(4, "undo"), failed(4, "undo")], [4, 5, 6, 7], [4, 3]),
    "all undone": ([*done(3, 4), ROLLBACK, *done(4, 3, direction="undo")], [3, 4, 5, 6, 7], []),
}


@pytest.mark.parametrize(("events", "to_do", "to_undo"), TO_DO.values(), ids=TO_DO)
def test_what_is_left_to_do_and_to_undo(events: list[AnyEvent], to_do: list[int], to_undo: list[int]) -> None:
    """Forwards from the first step that is not known to stand; back, newest first, what left something.

    Step 6 reads back: there is nothing to undo about it.
    """
    state = state_after(*events)
    assert numbers([*state.steps_to_do()]) == to_do
    assert numbers([*state.steps_to_undo()]) == to_undo


def restart(application: str) -> RestartApplication:
    return RestartApplication(
        application=application, version="2", modules=(), old_app_file="/old.app", new_app_file="/new.app"
    )


def test_neighbouring_restarts_are_undone_in_the_order_of_the_hop() -> None:
    """An application comes back before those that build upon it; all else goes back newest first."""
    steps = (DEPLOY, restart("emqx"), restart("emqx_retainer"), LOAD, restart("emqx_rule"), restart("emqx_x"))
    state = state_after(*done(3, 4, 5, 6, 7, 8), steps=steps)
    assert numbers([*state.steps_to_undo()]) == [7, 8, 6, 4, 5, 3]
    half = state_after(*done(3, 4, 5), ROLLBACK, *done(4, direction="undo"), steps=steps)
    assert numbers([*half.steps_to_undo()]) == [5, 3]


def test_the_steps_come_back_as_they_were_planned() -> None:
    """What the journal keeps is enough to walk them."""
    assert [step for _, step in state_after().steps_to_do()] == list(REVERSIBLE)


def test_all_steps_are_counted_those_of_the_preparation_too() -> None:
    """`step 3 of 7` counts from the first thing that is done."""
    assert state_after().total_steps == len(PREPARATION) + len(REVERSIBLE) == 7


UNSETTLED: dict[str, tuple[list[AnyEvent], tuple[int, str] | None]] = {
    "nothing begun": ([], None),
    "begun": ([started(4)], (4, "do")),
    "lost": ([started(4), lost(4)], (4, "do")),
    "done": (done(4), None),
    "failed": ([started(4), failed(4)], None),
    "undoing": ([*done(4), started(4, "undo")], (4, "undo")),
    "undoing is lost": ([*done(4), started(4, "undo"), lost(4, "undo")], (4, "undo")),
    "undone": ([*done(4), *done(4, direction="undo")], None),
}


@pytest.mark.parametrize(("events", "expected"), UNSETTLED.values(), ids=UNSETTLED)
def test_the_step_in_hand_is_the_one_of_whose_end_nothing_is_known(
    events: list[AnyEvent], expected: tuple[int, str] | None
) -> None:
    """It is what recovery asks the agent and the world about."""
    found = state_after(*events).unsettled
    assert (found and (found[0].number, found[1])) == expected


# ---------------------------------------------------------------- what can be undone at all


@pytest.mark.parametrize(
    "callback",
    [
        [started(6)],
        [started(6), lost(6)],
        [started(6), failed(6)],
        done(6),
        [started(6), failed(6), started(6, attempt=2), failed(6, reverted=True, attempt=2)],
    ],
    ids=["begun", "lost", "failed", "done", "failed, and not called again"],
)
def test_a_callback_that_was_begun_is_past_the_point_of_no_return(callback: list[AnyEvent]) -> None:
    """What it did cannot be known to be nothing, however it ended."""
    before = state_after(*done(3, 4, 5), steps=WITH_CALLBACK)
    assert not before.passed_no_return
    assert state_after(*done(3, 4, 5), *callback, steps=WITH_CALLBACK).passed_no_return


def test_a_callback_that_was_never_called_is_not_past_the_point_of_no_return() -> None:
    """The step says itself that it has done nothing: all before it can be undone."""
    never = state_after(*done(3, 4, 5), started(6), failed(6, reverted=True), steps=WITH_CALLBACK)
    assert not never.passed_no_return


def test_a_hop_without_callback_has_no_such_point() -> None:
    """It can be undone to the last step."""
    assert not state_after(*done(3, 4, 5, 6, 7)).passed_no_return


def test_an_update_without_its_old_file_is_such_a_point_too() -> None:
    """Without the very code that ran before there is no way back."""
    update = REVERSIBLE[2]
    assert isinstance(update, ChangeCode)
    homeless = ChangeCode(
        module=type(update.module)(module="emqx_metrics", from_md5="0a", to_md5="0b", to_file="/new"),
        from_version="5.10.4",
        extra="[]",
    )
    steps = (DeployTarget(version="5.10.5"), homeless)
    assert not state_after(*done(3), steps=steps).passed_no_return
    assert state_after(*done(3), started(4), steps=steps).passed_no_return


def test_live_code_is_changed_from_the_first_live_step_on() -> None:
    """Deploying changes files only."""
    assert not state_after(*done(3)).changed_live_code
    assert state_after(*done(3), started(4)).changed_live_code


WAS_UNDONE: dict[str, tuple[list[AnyEvent], bool]] = {
    "only files": (done(3), False),
    "live": (done(3, 4, 5), False),
    "half": ([*done(3, 4, 5), *done(5, direction="undo")], False),
    "all live ones": ([*done(3, 4, 5), *done(5, 4, direction="undo")], True),
}


@pytest.mark.parametrize(("events", "expected"), WAS_UNDONE.values(), ids=WAS_UNDONE)
def test_an_upgrade_whose_live_steps_are_all_undone_goes_back(events: list[AnyEvent], expected: bool) -> None:
    """Forwards again would begin with code that nobody checked."""
    assert state_after(*events).was_undone is expected


# ---------------------------------------------------------------- what it cost


def test_the_cost_is_summed_over_the_steps() -> None:
    """The processes that ended add up, the worst times are the worst; failed steps count too."""
    one = EndedProcess(pid="<0.1.0>", name="a", reason="purged")
    two = EndedProcess(pid="<0.2.0>", name="b", reason="killed", client_id="c")
    state = state_after(
        started(4),
        succeeded(4, evidence=Evidence(ended=(one,), worst_suspend_us=5, worst_stall_us=9)),
        started(5),
        failed(5, evidence=Evidence(ended=(two,), worst_suspend_us=7, worst_stall_us=2)),
    )
    assert state.ended == (one, two)
    assert (state.worst_suspend_us, state.worst_stall_us) == (7, 9)


def test_the_node_and_its_clients_are_kept() -> None:
    """Recovery compares the incarnation with the one that runs then."""
    state = state_after(NodeObserved(node=NODE, connections=12))
    assert (state.node, state.connections_before) == (NODE, 12)


# ---------------------------------------------------------------- whose entries count


def test_a_request_forgets_the_upgrade_before() -> None:
    """There is one upgrade in hand at a time."""
    first = entries_of([REQUESTED, plan_of(REVERSIBLE), *done(3)], upgrade_id="u1")
    second = entries_of([REQUESTED], upgrade_id="u2", first=len(first) + 1)
    state = folded([*first, *second])
    assert state is not None
    assert (state.upgrade_id, state.plan, state.trails) == ("u2", None, {})


def test_entries_of_nobody_and_of_others_change_nothing() -> None:
    """The node's own events, and an older upgrade's, pass by."""
    mine = folded(entries_of([REQUESTED, plan_of(REVERSIBLE)]))
    strange = [
        *entries_of([SUCCEEDED, *done(3)], upgrade_id="other", first=3),
        *(
            type(entry)(seq=entry.seq, at=0, upgrade_id=None, event=entry.event)
            for entry in entries_of(
                [
                    JournalOpened(journal_id="j", format=1, node=None, root="/"),
                    MarkerRemoved(version="1", by=BY),
                ]
            )
        ),
    ]
    state = mine
    for entry in strange:
        state = next_state(state, entry)
    assert state == mine


def test_nothing_is_known_before_the_first_request() -> None:
    """A journal may begin with anything."""
    assert folded([]) is None
    assert folded(entries_of([*done(3), SUCCEEDED])) is None


STEP, WAY = st.integers(3, 7), st.sampled_from(DIRECTIONS)
STEP_EVENTS = st.one_of(
    st.builds(started, STEP, WAY),
    st.builds(succeeded, STEP, WAY),
    st.builds(failed, STEP, WAY, reverted=st.booleans()),
    st.builds(lost, STEP, WAY),
)


@given(st.lists(STEP_EVENTS, max_size=30))
def test_forwards_and_back_share_no_certainty(
    walked: list[StepStarted | StepSucceeded | StepFailed | StepOutcomeUnknown],
) -> None:
    """Whatever happened: a step that stands is not to be done, and one that never began is not to be undone."""
    state = state_after(*walked)
    to_do, to_undo = set(numbers([*state.steps_to_do()])), set(numbers([*state.steps_to_undo()]))
    assert to_undo <= {event.step for event in walked if event.direction == "do"} - {READS_BACK}
    for number in {3, 4, 5, 6, 7} - to_do:
        assert state.outcome(number, "do") == Outcome.SUCCEEDED
        assert state.outcome(number, "undo") is None
    for number in {3, 4, 5, 7} - to_undo:
        never_begun = state.outcome(number, "do") in (None, Outcome.REVERTED)
        assert never_begun or state.outcome(number, "undo") == Outcome.SUCCEEDED
