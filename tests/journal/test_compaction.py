"""Clearing drops a prefix, keeps the chain and what is needed, and frees the space."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journal import generation
from journal.compaction import clear_history
from journal.errors import JournalDamaged, JournalFull
from journal.events import HistoryCleared, RollbackFinished, RollbackStarted, UpgradeId
from journal.reader import read
from journal.store import Store
from journal.verify import verify
from projections.as_of import as_of
from projections.facts import Facts
from projections.logs import all_rows
from projections.replay import current_facts, refresh_snapshots
from projections.retention import clearing
from tests.journal import raw
from tests.journal.stories import (
    BY,
    FIRST_MOMENT,
    SECOND,
    Story,
    begin,
    between_releases,
    folder_of,
    refused,
    stories,
    success,
    told,
    unfinished,
    write,
)


def clear(store: Store, *, keep: int | None = None, before_ns: int | None = None, over: bool = True) -> bool:
    found = clearing(store, keep=keep, before_ns=before_ns, standing_is_over=over)
    if found is None:
        return False
    clear_history(store, until=found.until, dropped_upgrades=found.dropped_upgrades, state=found.state, by=BY)
    return True


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def of_now(facts: Facts) -> tuple[object, ...]:
    """The facts but for the place of the last record and the record of the clearing itself."""
    return (
        facts.open,
        facts.standing,
        facts.last,
        facts.marker,
        facts.observed,
        facts.attempts,
        facts.journal_id,
    )


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=stories(), keep=st.integers(0, 4), over=st.booleans(), after=stories(2))
def test_the_state_and_the_proof_survive_any_clearing(
    new_root: Callable[[], Path], story: Story, keep: int, over: bool, after: Story
) -> None:
    """state(clear(j)) is state(j), verify(clear(j)) holds, and both go on together."""
    root = new_root()
    with begin(root) as store:
        write(store, story)
        before, modules = current_facts(store), as_of(store).modules
        entries = {entry.seq: entry for entry in store.entries()}
        kept_head = store.head()
        if not clear(store, keep=keep, over=over):
            return
        assert of_now(current_facts(store)) == of_now(before)
        assert of_now(current_facts(read(folder_of(root)))) == of_now(before)
        assert as_of(store).modules == modules
        remaining = list(store.entries())
        assert all(entry == entries[entry.seq] for entry in remaining[:-1])
        assert isinstance(remaining[-1].event, HistoryCleared)
        verdict = verify(folder_of(root), anchor=kept_head)
        assert (verdict.damage, verdict.anchor_checked) == (None, True)
        write(store, [(UpgradeId(f"later-{upgrade_id}"), event) for upgrade_id, event in after])
        assert [entry.seq for entry in store.entries(kept_head.seq)][-1] == store.head().seq
    assert verify(folder_of(root)).damage is None


def test_everything_ended_goes_and_the_space_is_freed(store: Store) -> None:
    """One small generation is left of a long history; its number and its chain go on."""
    write(store, told(*[success] * 60, restart_every=1))
    size = (raw.current(store.folder) / "data.mdb").stat().st_size
    last = store.head()
    assert clear(store)
    assert (raw.current(store.folder) / "data.mdb").stat().st_size < size / 3
    assert names(store.folder) == ["2", "generation", "head"]
    cleared = list(store.entries())
    assert [entry.seq for entry in cleared] == [last.seq + 1]
    assert isinstance(cleared[0].event, HistoryCleared)
    assert (cleared[0].event.anchor, cleared[0].event.dropped_upgrades) == (last, 60)
    assert all_rows(store.entries()) == []
    assert not clear(store), "nothing is left to drop"


@pytest.mark.parametrize("last", [unfinished, between_releases])
def test_an_open_upgrade_stays_whole(store: Store, last: object) -> None:
    """What `recover` needs is never dropped, not even when everything is asked for."""
    write(store, told(success, refused, last, restart_every=1))  # type: ignore[arg-type]  # one of the stories
    rows = [row for row in all_rows(store.entries()) if row.upgrade_id == "u0003"]
    assert clear(store)
    assert all_rows(store.entries()) == rows


def test_a_hop_that_lives_in_the_vm_stays_until_the_node_has_restarted(store: Store) -> None:
    """Its rollback and its verification read the plan."""
    write(store, told(refused, success))
    assert clear(store, over=False)
    assert [row.upgrade_id for row in all_rows(store.entries())] == ["u0002"]
    assert clear(store, over=True)
    assert all_rows(store.entries()) == []
    assert current_facts(store).standing[-1].target_version == "5.10.5"


def test_keep_and_before_say_how_much_stays(store: Store) -> None:
    """The newest attempts, or those since a time."""
    write(store, told(*[refused] * 6))
    started = [row.started_ns for row in all_rows(store.entries())]
    assert clear(store, keep=4)
    assert [row.upgrade_id for row in all_rows(store.entries())] == ["u0003", "u0004", "u0005", "u0006"]
    assert clear(store, before_ns=started[4])
    assert [row.upgrade_id for row in all_rows(store.entries())] == ["u0005", "u0006"]
    assert not clear(store, before_ns=FIRST_MOMENT - SECOND)


def test_an_attempt_is_never_cut_in_two(store: Store) -> None:
    """A late rollback ties an early attempt to the newest one."""
    write(store, told(refused, success, refused))
    for event in (RollbackStarted(automatic=False, by=BY), RollbackFinished()):
        store.append(event, upgrade_id=UpgradeId("u0002"))
    whole = [entry for entry in store.entries() if entry.upgrade_id == "u0002"]
    assert clear(store, keep=1)
    assert [entry for entry in store.entries() if entry.upgrade_id == "u0002"] == whole
    assert [row.upgrade_id for row in all_rows(store.entries())] == ["u0002", "u0003"]


def test_a_head_from_the_dropped_part_proves_nothing_any_more(store: Store) -> None:
    """And verify says so, instead of calling the journal sound or damaged because of it."""
    write(store, told(refused))
    old = store.head()
    write(store, [(UpgradeId("u9"), event) for _, event in told(refused)])
    assert clear(store)
    verdict = verify(store.folder, anchor=old)
    assert (verdict.damage, verdict.anchor_checked) == (None, False)


def test_the_snapshot_of_the_dropped_history_is_not_taken_for_the_present(store: Store) -> None:
    """A snapshot that lies before the cut does not fit the new generation."""
    write(store, told(refused, refused))
    refresh_snapshots(store)
    write(store, told(refused, unfinished)[-8:])
    before = current_facts(store, use_snapshot=False)
    assert clear(store)
    assert of_now(current_facts(store)) == of_now(before)
    refresh_snapshots(store)
    assert current_facts(store) == current_facts(store, use_snapshot=False)


def test_a_disk_too_small_for_the_new_generation_leaves_the_old_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost when there is no room, and nothing is left lying about."""
    write(store, told(refused, unfinished))
    before = list(store.entries())

    def full(*asked: object, **cut: int) -> None:
        raise JournalFull("no room", next="free some")

    monkeypatch.setattr("journal.compaction._copy_records", full)
    with pytest.raises(JournalFull):
        clear(store)
    assert list(store.entries()) == before
    assert names(store.folder) == ["1", "generation", "head"]


def test_what_was_copied_wrongly_is_not_pointed_to(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new generation is walked from end to end before it counts."""
    write(store, told(refused, unfinished))
    before = list(store.entries())
    monkeypatch.setattr("journal.compaction._copy_records", lambda *asked, **cut: None)
    with pytest.raises(JournalDamaged):
        clear(store)
    assert list(store.entries()) == before
    assert generation.current(store.folder) == 1


def test_a_reader_in_the_middle_reads_on_to_the_end(store: Store) -> None:
    """A replay that began before the clearing sees the journal as it was, whole."""
    write(store, told(*[success] * 100, restart_every=1))
    expected = list(store.entries())
    replay: Iterator[object] = read(store.folder).entries()
    first = [next(replay) for _ in range(3)]
    assert clear(store)
    assert [*first, *replay] == expected


def test_a_generation_that_is_read_is_removed_by_a_later_opening(tmp_path: Path) -> None:
    """The space comes back when the last reader has gone; nobody has to wait for it."""
    store = begin(tmp_path)
    write(store, told(refused, refused))
    with generation.held(store.folder):
        assert clear(store)
        assert generation.numbered(store.folder) == [1, 2]
        generation.sweep(store.folder, keep=2)
        assert generation.numbered(store.folder) == [1, 2]
        write(store, told(refused))
        assert clear(store)
        assert generation.numbered(store.folder) == [1, 2, 3], "the reader of 1 may go on to 2"
    store.close()
    with begin(tmp_path) as store:
        assert generation.numbered(store.folder) == [3]


def test_the_record_says_who_cleared(store: Store, folder: Path) -> None:
    """Clearing leaves evidence of itself."""
    write(store, told(refused))
    clear(store)
    cleared = [entry.event for entry in read(folder).entries() if isinstance(entry.event, HistoryCleared)]
    assert [event.by for event in cleared] == [BY]
