"""Kill -9 at every line of opening, append, snapshot and clearing: nothing acknowledged is lost or doubled."""

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import msgspec
import pytest

from journal.compaction import clear_history
from journal.events import Entry, UpgradeInterrupted
from journal.reader import read
from journal.store import Store
from projections.facts import PROJECTION, Facts
from projections.replay import current_facts
from projections.retention import clearing
from tests.journal.deaths import lived_to
from tests.journal.stories import BY, begin, folder_of, success, told, unfinished, written

EVENT = UpgradeInterrupted(why="test", runs_now="5.10.4")
STORY = told(success, success, unfinished, restart_every=1)


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A journal that every process of a test starts from."""
    root = tmp_path / "before"
    root.mkdir()
    return written(root, STORY)


def each_death(
    tmp_path: Path, before: Path | None, act: Callable[[Store], None], *, opening: bool = False
) -> Iterator[Path]:
    """The journal that each death of `act` leaves, one after the other, to the first that comes too late."""
    for line in count(1):
        root = tmp_path / "death"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        if before is not None:
            shutil.copytree(before, folder_of(root))

        def scenario(count_from_here: Callable[[], None], root: Path = root) -> None:
            if opening:
                count_from_here()
            with begin(root) as store:
                if not opening:
                    count_from_here()
                act(store)

        lived = lived_to(line, scenario)
        yield root
        if lived:
            assert line > 5, "there were lines to die at"
            return


def usable(root: Path) -> tuple[list[Entry], Facts]:
    """What a new process finds, that opens the journal, replays it and appends to it."""
    with begin(root) as store:
        entries, facts = list(store.entries()), current_facts(store)
        appended = store.append(EVENT, upgrade_id=None)
        assert list(store.entries()) == [*entries, appended]
    assert len({path.name for path in folder_of(root).iterdir() if path.name.isdecimal()}) == 1
    return entries, facts


def test_killed_in_append_the_entry_is_there_whole_or_not_at_all(tmp_path: Path, before: Path) -> None:
    """Before the commit the journal is as it was; after it the entry is there, once."""
    old = list(read(before).entries())

    def acknowledge(store: Store) -> None:
        store.append(EVENT, upgrade_id=None)
        (tmp_path / "death" / "acknowledged").touch()

    seen = set()
    for root in each_death(tmp_path, before, acknowledge):
        entries, _ = usable(root)
        assert entries[: len(old)] == old
        added = [entry.event for entry in entries[len(old) :]]
        assert added in ([], [EVENT])
        assert added == [EVENT] or not (root / "acknowledged").exists()
        seen.add(len(added))
    assert seen == {0, 1}


def test_killed_while_the_journal_is_begun_there_is_none_or_a_whole_one(tmp_path: Path) -> None:
    """Half a beginning is no hindrance for the next process."""
    seen = set()
    for root in each_death(tmp_path, None, lambda store: None, opening=True):
        was_begun = (folder_of(root) / "generation").exists()
        entries, _ = usable(root)
        assert [entry.seq for entry in entries] == [1]
        seen.add(was_begun)
    assert seen == {False, True}


def test_killed_while_a_snapshot_is_kept_nothing_changes(tmp_path: Path, before: Path) -> None:
    """A snapshot is a cache: with it, without it, half written, the answers are the same."""
    old, facts = list(read(before).entries()), current_facts(read(before))
    state = msgspec.msgpack.encode(facts)
    for root in each_death(
        tmp_path, before, lambda store: store.save_snapshot(PROJECTION, seq=facts.seq, state=state)
    ):
        assert usable(root) == (old, facts)


def test_killed_while_history_is_cleared_it_is_the_old_or_the_new_journal(
    tmp_path: Path, before: Path
) -> None:
    """At no line is anything acknowledged lost, and the next process sweeps up what was left."""
    old, facts = list(read(before).entries()), current_facts(read(before))
    kept = [entry for entry in old if entry.upgrade_id == "u0003"]

    def clear(store: Store) -> None:
        store.append(EVENT, upgrade_id=None)
        clear_history(store, until=kept[0].seq - 1, dropped_upgrades=2, state=state, by=BY)

    with begin(before.parents[1]) as store:
        found = clearing(store, standing_is_over=True)
        assert found is not None
        assert found.until == kept[0].seq - 1
        state = found.state
    seen = set()
    for root in each_death(tmp_path, before, clear):
        entries, again = usable(root)
        is_new = entries[0].seq != 1
        assert [entry for entry in entries if entry.upgrade_id == "u0003"] == kept
        assert (again.open, again.attempts) == (facts.open, facts.attempts)
        if not is_new:
            assert entries[: len(old)] == old
        seen.add(is_new)
    assert seen == {False, True}
