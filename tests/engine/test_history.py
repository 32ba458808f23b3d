"""Finding upgrades from the journal's end: in leaps, whatever lies between, and whole even when entangled."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import history
from engine.history import last_upgrade, upgrades_backwards
from engine.state import Phase, folded
from journal.events import (
    AnyEvent,
    Entry,
    Head,
    JournalOpened,
    MarkerRemoved,
    RollbackFinished,
    Sequence,
    UpgradeId,
    UpgradeRefused,
    UpgradeSucceeded,
)
from tests.engine.stories import BY, FAILURE, REQUESTED, REVERSIBLE, ROLLBACK, done, plan_of

REFUSED = UpgradeRefused(failure=FAILURE)
SUCCEEDED = UpgradeSucceeded(took_us=1)
LONG: list[AnyEvent] = [REQUESTED, REFUSED] * 20_000
FULL_HOP: list[AnyEvent] = [REQUESTED, plan_of(REVERSIBLE), *done(3, 4, 5, 6, 7), SUCCEEDED]


class Kept:
    """A journal of given events, which counts what is read of it."""

    def __init__(self, events: list[tuple[str | None, AnyEvent]], *, first: int = 1) -> None:
        self.read = 0
        self._entries = [
            Entry(
                seq=Sequence(number),
                at=0,
                upgrade_id=None if upgrade_id is None else UpgradeId(upgrade_id),
                event=event,
            )
            for number, (upgrade_id, event) in enumerate(events, start=first)
        ]

    def entries(self, start: int = 1) -> Iterator[Entry]:
        for entry in self._entries:
            if entry.seq >= start:
                self.read += 1
                yield entry

    def head(self) -> Head | None:
        return Head(seq=self._entries[-1].seq, hash="00") if self._entries else None


def of(upgrade_id: str | None, *events: AnyEvent) -> list[tuple[str | None, AnyEvent]]:
    return [(upgrade_id, event) for event in events]


OPENED = of(None, JournalOpened(journal_id="j", format=1, node="n", root="/r"))


def test_an_empty_journal_knows_no_upgrade() -> None:
    """Neither one without entries nor one that was only opened."""
    assert last_upgrade(Kept([])) is None
    assert last_upgrade(Kept(OPENED)) is None
    assert list(upgrades_backwards(Kept(OPENED))) == []


def test_the_newest_comes_first_and_each_is_whole() -> None:
    """What concerns the node as a whole belongs to no upgrade."""
    journal = Kept(
        [
            *OPENED,
            *of("u1", *FULL_HOP),
            *of(None, MarkerRemoved(version="5.10.5", by=BY)),
            *of("u2", REQUESTED, REFUSED),
        ]
    )
    found = list(upgrades_backwards(journal))
    assert [(state.upgrade_id, state.phase) for state in found] == [
        ("u2", Phase.ENDED),
        ("u1", Phase.SUCCEEDED),
    ]
    assert found[1].steps_to_do() == []


def test_a_hop_that_is_rolled_back_after_a_later_refusal_is_rolled_back() -> None:
    """Its last entries come after the request of another; they are not lost."""
    journal = Kept(
        [*of("u1", *FULL_HOP), *of("u2", REQUESTED, REFUSED), *of("u1", ROLLBACK, RollbackFinished())]
    )
    assert [(state.upgrade_id, state.phase) for state in upgrades_backwards(journal)] == [
        ("u2", Phase.ENDED),
        ("u1", Phase.ENDED),
    ]


def test_an_open_rollback_is_the_last_upgrade_although_another_was_requested_later() -> None:
    """The one that `recover` has to take up is found."""
    journal = Kept([*of("u1", *FULL_HOP), *of("u2", REQUESTED, REFUSED), *of("u1", ROLLBACK)])
    state = last_upgrade(journal)
    assert state is not None
    assert (state.upgrade_id, state.phase, state.is_open) == ("u1", Phase.ROLLING_BACK, True)


def test_a_cleared_journal_begins_later() -> None:
    """The sequence goes on; what was dropped is not looked for."""
    journal = Kept(of("u7", REQUESTED, REFUSED), first=90_000)
    assert [state.upgrade_id for state in upgrades_backwards(journal)] == ["u7"]
    assert last_upgrade(Kept(of("u7", REFUSED), first=90_000)) is None


def test_the_last_upgrade_of_a_long_journal_is_found_without_reading_it() -> None:
    """One leap is enough, whatever the length."""
    journal = Kept([*OPENED, *of("old", *LONG), *of("new", *FULL_HOP)])
    state = last_upgrade(journal)
    assert state is not None
    assert state.upgrade_id == "new"
    assert journal.read <= history.FIRST_LEAP


EVENTS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from([*done(3), REFUSED, SUCCEEDED, ROLLBACK]))
)


@given(order=st.permutations(["a", "b", "c"]), middle=EVENTS, leap=st.integers(1, 9))
def test_leaps_and_entanglement_change_nothing(
    order: list[str], middle: list[tuple[str, AnyEvent]], leap: int
) -> None:
    """Each upgrade is the fold of its own entries, whatever window they fall into."""
    events: list[tuple[str | None, AnyEvent]] = [
        event for name in order for event in of(name, REQUESTED, plan_of(REVERSIBLE))
    ]
    events += middle
    journal = Kept(events)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "FIRST_LEAP", leap)
        found = list(upgrades_backwards(journal))
        newest = last_upgrade(journal)
    expected = [folded(e for e in journal.entries() if e.upgrade_id == name) for name in reversed(order)]
    assert found == expected
    assert newest == expected[order[::-1].index(events[-1][0] or "")]
