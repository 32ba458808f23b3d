"""`--at SEQ|TIME`: what was so then."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.as_of import AsOf, as_of
from projections.facts import Facts, fold
from projections.status import Seen, status_line
from tests.journal.memory import MemoryJournal
from tests.journal.stories import (
    FIRST_MOMENT,
    SECOND,
    Story,
    Ticking,
    changed,
    rolled_back,
    stories,
    success,
    told,
    unfinished,
    write,
)


def journal_of(story: Story) -> MemoryJournal:
    journal = MemoryJournal(Ticking())
    write(journal, story)
    return journal


def modules(found: AsOf) -> dict[str, tuple[str | None, str]]:
    return {name: (state.md5, state.known) for name, state in found.modules.items()}


OLD = {"emqx_a": ("a-5.10.4", "sure"), "emqx_b": ("b-5.10.4", "sure")}
NEW = {"emqx_a": ("a-5.10.5", "sure"), "emqx_b": ("b-5.10.5", "sure")}


def test_each_module_is_told_as_the_steps_moved_it() -> None:
    """Before, during and after: old, changing, new."""
    journal = journal_of(told(success))
    plan = next(entry.seq for entry in journal.entries() if type(entry.event).__name__ == "PlanResolved")
    assert modules(as_of(journal, seq=plan)) == {}
    assert modules(as_of(journal, seq=plan + 3))["emqx_a"] == ("a-5.10.4", "changing")
    assert modules(as_of(journal, seq=plan + 4)) == NEW
    assert modules(as_of(journal)) == {**NEW, "emqx_metrics": ("m-5.10.5", "sure")}


def test_a_rollback_moves_them_back() -> None:
    """A reverted step leaves the old code, an undone one brings it back."""
    assert modules(as_of(journal_of(told(rolled_back)))) == {**OLD, "emqx_metrics": ("m-5.10.4", "sure")}


def test_a_step_that_never_ended_leaves_its_modules_in_doubt() -> None:
    """The journal does not claim what nobody saw."""
    assert modules(as_of(journal_of(told(unfinished))))["emqx_metrics"] == ("m-5.10.4", "changing")


def test_a_restart_forgets_the_live_code() -> None:
    """What the next VM loaded, the journal has not seen."""
    assert modules(as_of(journal_of(told(success, restart_every=1)))) == {}


@settings(max_examples=40, deadline=None)
@given(story=stories(4), part=st.floats(0, 1))
def test_the_facts_as_of_a_record_are_those_of_its_prefix(story: Story, part: float) -> None:
    """Nothing after the record has a say."""
    journal = journal_of(story)
    seq = int(part * len(story))
    prefix = [entry for entry in journal.entries() if entry.seq <= seq]
    assert as_of(journal, seq=seq).facts == fold(prefix, Facts())


def test_a_time_means_the_last_record_written_by_then() -> None:
    """Between two records the earlier one counts; before all of them nothing was."""
    journal = journal_of(told(lambda: changed(2)))
    for seq in (1, 5, 9):
        at = FIRST_MOMENT + (seq - 1) * SECOND
        assert as_of(journal, at_ns=at).facts.seq == seq
        assert as_of(journal, at_ns=at + SECOND - 1).facts.seq == seq
    assert as_of(journal, at_ns=FIRST_MOMENT - 1).facts.seq == 0


def test_a_clock_that_stepped_back_is_harmless() -> None:
    """The sequence decides: all up to the last record that was written at or before the time."""
    moments = iter([10, 20, 5, 30, 40, 50])
    journal = MemoryJournal(lambda: next(moments))
    write(journal, told(lambda: changed(2))[:6])
    assert as_of(journal, at_ns=9).facts.seq == 3
    assert as_of(journal, at_ns=30).facts.seq == 4


@pytest.mark.parametrize("lock_held", [True, False])
def test_the_status_of_then_can_be_told(lock_held: bool) -> None:
    """The same line that `status` would have printed."""
    found = as_of(journal_of(told(success)), seq=10)
    line = status_line(found.facts, Seen(lock_held=lock_held))
    assert line.kind == ("in_progress" if lock_held else "interrupted")
