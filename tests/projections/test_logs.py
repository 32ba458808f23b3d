"""`relup logs`: one row per attempt, in the official text, and quickly also from a long history."""

import time
from itertools import islice

import msgspec
import pytest
from freezegun import freeze_time
from hypothesis import given, settings
from hypothesis import strategies as st

from journal.events import UpgradeId, UpgradeInterrupted
from projections.logs import LogRow, all_rows, last_rows, official_text, started_between
from projections.moment import read_moment, shown
from tests.journal.memory import MemoryJournal
from tests.journal.stories import (
    FIRST_MOMENT,
    Story,
    Ticking,
    between_releases,
    endless,
    interrupted,
    prepared,
    refused,
    resumed,
    rolled_back,
    rolled_back_on_request,
    stories,
    success,
    told,
    unfinished,
    write,
)

STOPPED = UpgradeInterrupted(why="asked", runs_now="5.10.4", from_version="5.10.4", target_version="5.10.5")
"""While the plan was made: the package has told its version."""


def journal_of(story: Story) -> MemoryJournal:
    journal = MemoryJournal(Ticking())
    write(journal, story)
    return journal


def rows_of(story: Story, *, lock_held: bool = False) -> list[LogRow]:
    return all_rows(journal_of(story).entries(), lock_held=lock_held)


@pytest.mark.parametrize(
    ("attempt", "ending"),
    [
        (success, "5.10.4 -> 5.10.5 status=finished result=success"),
        (resumed, "5.10.4 -> 5.10.5 status=finished result=success"),
        (refused, "5.10.4 -> 5.11.0 status=finished result=refused reason=code_change_failed"),
        (rolled_back, "5.10.4 -> 5.10.5 status=finished result=rolled_back reason=code_change_failed"),
        (rolled_back_on_request, "5.10.4 -> 5.10.5 status=finished result=rolled_back"),
        (interrupted, "5.10.4 -> 5.10.5 status=finished result=interrupted"),
        (unfinished, "5.10.4 -> 5.10.5 status=interrupted"),
        (between_releases, "5.10.4 -> 5.10.5 status=between-releases reason=code_change_failed"),
        (lambda: prepared()[:1], "? -> ? status=interrupted"),
        (lambda: [prepared()[0], STOPPED], "5.10.4 -> 5.10.5 status=finished result=interrupted"),
    ],
)
def test_every_ending_has_its_official_text(attempt: object, ending: str) -> None:
    """`started=… finished=… from -> target status=… result=…`."""
    (row,) = rows_of(told(attempt))  # type: ignore[arg-type]  # one of the stories
    finished = row.finished or "-"
    assert official_text(row) == f"started={shown(FIRST_MOMENT)} finished={finished} {ending}"
    assert (row.finished is not None) == (row.status == "finished")


def test_the_text_of_a_success_is_the_official_one_to_the_letter() -> None:
    """What scripts around the official tool look for."""
    (row,) = rows_of(told(success))
    assert official_text(row) == (
        "started=2026-07-14T03:33:20Z finished=2026-07-14T03:33:35Z "
        "5.10.4 -> 5.10.5 status=finished result=success"
    )


def test_an_open_attempt_is_in_progress_while_its_tool_lives() -> None:
    """Only the newest one can be."""
    rows = rows_of(told(unfinished, success, unfinished), lock_held=True)
    assert [row.status for row in rows] == ["interrupted", "finished", "in-progress"]


def test_rows_tell_who_what_and_how_it_went() -> None:
    """Everything a forensic reader asks of one attempt, from the journal alone."""
    (row,) = rows_of(told(success))
    assert msgspec.to_builtins(row) == {
        "schema_version": 1,
        "upgrade_id": "u0001",
        "seq": 1,
        "started": shown(FIRST_MOMENT),
        "started_ns": FIRST_MOMENT,
        "finished": row.finished,
        "finished_ns": row.finished_ns,
        "from_version": "5.10.4",
        "target_version": "5.10.5",
        "status": "finished",
        "result": "success",
        "failure": None,
        "user": "emqx",
        "host": "broker-1",
        "pid": 4711,
        "tool_version": "0.1.0",
        "tarball": "/opt/upgrade/emqx-5.10.5.tar.gz",
        "package_sha256": "aa" * 32,
        "hop_file": "5.10.4-to-5.10.5.relup",
        "hop_sha256": "bb" * 32,
        "plan_id": "plan-5.10.5",
        "steps": 6,
        "took_us": 5_000_000,
        "connections_before": 200,
        "connections_after": 200,
        "worst_suspend_us": 1500,
        "worst_stall_us": None,
        "processes_ended": 1,
    }


def test_the_digest_is_known_before_there_is_a_plan() -> None:
    """A refused attempt still says which bytes it was."""
    (row,) = rows_of(told(refused))
    assert row.package_sha256 == "aa" * 32


@settings(max_examples=60, deadline=None)
@given(story=stories(12), count=st.integers(0, 14))
def test_the_last_rows_are_the_last_of_all_rows(story: Story, count: int) -> None:
    """Read backwards in windows or forwards in one go, the answer is the same."""
    journal = journal_of(story)
    everything = all_rows(journal.entries())
    assert last_rows(journal, count) == (everything[-count:] if count else [])


def test_the_last_rows_of_a_long_history_need_only_its_end() -> None:
    """The time of `logs` does not grow with what lies before."""
    journal = journal_of(list(islice(endless(), 20_000)))
    read_entries: list[int] = []
    real = journal.entries
    journal.entries = lambda start=1: (read_entries.append(start), real(start))[1]  # type: ignore[method-assign, func-returns-value]  # a spy
    assert len(last_rows(journal, 10)) == 10
    assert min(read_entries) > 15_000


def test_a_late_rollback_of_an_early_attempt_is_told_in_its_row() -> None:
    """The order is that of the requests, whatever came later."""
    story = [*told(success), (UpgradeId("u9"), prepared()[0]), *told(rolled_back_on_request)[16:]]
    rows = rows_of(story)
    assert [row.upgrade_id for row in rows] == ["u0001", "u9"]
    assert (rows[0].result, rows[1].status) == ("rolled_back", "interrupted")


def test_rows_are_chosen_by_the_time_of_their_request() -> None:
    """Both ends are included."""
    rows = rows_of(told(refused, refused, refused))
    middle = rows[1].started_ns
    assert started_between(rows, since_ns=middle, until_ns=None) == rows[1:]
    assert started_between(rows, since_ns=None, until_ns=middle) == rows[:2]
    assert started_between(rows, since_ns=middle, until_ns=middle) == rows[1:2]


def test_a_clock_that_steps_back_does_not_change_the_order() -> None:
    """Attempts stand in the order of their sequence numbers, with the times that were told."""
    journal = MemoryJournal(lambda: time.time_ns())  # frozen below
    with freeze_time("2026-07-14T12:00:00Z") as now:
        write(journal, told(refused))
        now.move_to("2026-07-14T11:00:00Z")
        write(journal, [(UpgradeId("u2"), event) for event in refused()])
    assert [(row.upgrade_id, row.started) for row in all_rows(journal.entries())] == [
        ("u0001", "2026-07-14T12:00:00Z"),
        ("u2", "2026-07-14T11:00:00Z"),
    ]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-07-14T03:33:20Z", FIRST_MOMENT),
        ("2026-07-14T05:33:20+02:00", FIRST_MOMENT),
        ("2026-07-14 03:33:20.000250", FIRST_MOMENT + 250_000),
        ("2026-07-14", FIRST_MOMENT - 12_800 * 10**9),
    ],
)
def test_times_are_read_as_rfc_3339(text: str, at: int) -> None:
    """UTC where nothing else is said; no nanosecond is lost to a float."""
    assert read_moment(text) == at


def test_what_is_no_time_is_refused() -> None:
    """The command says so instead of guessing."""
    with pytest.raises(ValueError, match="yesterday"):
        read_moment("yesterday")
