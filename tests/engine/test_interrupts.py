"""What Ctrl-C means, depending on how far the upgrade is and how often it was asked."""

import pytest

from engine.interrupts import Heed, heed
from engine.state import UpgradeState, folded
from journal.events import AnyEvent
from tests.engine.stories import (
    REQUESTED,
    REVERSIBLE,
    ROLLBACK,
    WITH_CALLBACK,
    done,
    entries_of,
    started,
    state_after,
)


def before_the_plan() -> UpgradeState:
    state = folded(entries_of([REQUESTED, *done(1)]))
    assert state is not None
    return state


def after(*events: AnyEvent) -> UpgradeState:
    return state_after(*events, steps=WITH_CALLBACK)


TABLE = {
    "before the plan": (before_the_plan(), Heed.ROLL_BACK),
    "planned": (after(), Heed.ROLL_BACK),
    "files were deployed": (after(*done(3)), Heed.ROLL_BACK),
    "code was changed": (after(*done(3, 4, 5)), Heed.ROLL_BACK),
    "a callback was begun": (after(*done(3, 4, 5), started(6)), Heed.GO_ON_ANYWAY),
    "callbacks are done": (after(*done(3, 4, 5, 6)), Heed.GO_ON_ANYWAY),
    "all done but the marker, and it can be undone": (state_after(*done(3, 4, 5, 6)), Heed.ROLL_BACK),
    "rolling back": (state_after(*done(3, 4), ROLLBACK, steps=REVERSIBLE), Heed.GO_ON_ANYWAY),
}


@pytest.mark.parametrize(("state", "first"), TABLE.values(), ids=TABLE)
def test_the_first_request_ends_on_one_release_and_the_second_stops(state: UpgradeState, first: Heed) -> None:
    """Once: back where that is possible, else on to the end. Twice: after the step in hand, wherever that is."""
    assert heed(0, state) == Heed.GO_ON
    assert heed(1, state) == first
    assert heed(2, state) == heed(7, state) == Heed.STOP_HERE
