"""Snapshots are a cache: they change the time of an answer and never the answer."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from journal.environment import Environment
from journal.reader import read
from journal.store import Store
from projections.facts import PROJECTION
from projections.replay import current_facts, refresh_snapshots
from tests.journal import raw
from tests.journal.stories import Story, begin, folder_of, stories, success, told, unfinished, write


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A folder in memory where the machine has one."""
    where = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="relup-journal-", dir=where) as folder:
        yield Path(folder)


@pytest.fixture
def root(memory: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=memory))


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=stories(4))
def test_the_status_of_every_prefix_is_the_same_by_snapshot_and_by_replay(memory: Path, story: Story) -> None:
    """Wherever the last snapshot was taken."""
    root = Path(tempfile.mkdtemp(dir=memory))
    with begin(root) as store:
        for position, (upgrade_id, event) in enumerate(story):
            store.append(event, upgrade_id=upgrade_id)
            whole = current_facts(store, use_snapshot=False)
            assert current_facts(store) == whole
            if position % 3 == 0:
                refresh_snapshots(store)
                assert current_facts(store) == whole
        assert current_facts(read(folder_of(root))) == current_facts(store, use_snapshot=False)


def snapshots(root: Path, change: bytes | None) -> None:
    """Replace the stored snapshot by itself with a changed byte, or delete it."""
    environment = Environment(raw.current(folder_of(root)), write=True)
    try:
        with environment.lmdb.begin(write=True, db=environment.snapshots) as transaction:
            stored = transaction.get(PROJECTION.encode())
            assert stored is not None
            if change is None:
                transaction.delete(PROJECTION.encode())
            else:
                transaction.put(PROJECTION.encode(), stored[: -len(change)] + change)
    finally:
        environment.close()


@pytest.mark.parametrize("change", [None, b"x", b"emqx"])
def test_a_snapshot_that_is_gone_or_damaged_changes_nothing(root: Path, change: bytes | None) -> None:
    """It is as good as absent."""
    with begin(root) as store:
        write(store, told(success, unfinished))
        refresh_snapshots(store)
    expected = current_facts(read(folder_of(root)), use_snapshot=False)
    snapshots(root, change)
    assert current_facts(read(folder_of(root))) == expected


def test_a_snapshot_is_used(root: Path) -> None:
    """What is folded already is not read again."""
    with begin(root) as store:
        write(store, told(success))
        refresh_snapshots(store)
        last = store.head().seq
        write(store, told(unfinished))
        beginning, entries = store.replay(PROJECTION)
        assert beginning.seq == last
        assert next(entries).seq == last + 1


def test_a_snapshot_of_another_chain_is_not_used(root: Path) -> None:
    """The record it was folded up to must be there, with that very hash."""
    with begin(root) as store:
        write(store, told(success))
        refresh_snapshots(store)
    pairs = raw.pairs(folder_of(root))
    raw.replace(
        folder_of(root), raw.rechained([value[32:] for _, value in pairs[:-2]] + [pairs[-1][1][32:]] * 2)
    )
    raw.forget_note(folder_of(root))
    beginning, _ = read(folder_of(root)).replay(PROJECTION)
    assert (beginning.seq, beginning.snapshot) == (0, None)


def test_an_empty_history_has_empty_facts(root: Path) -> None:
    """Before the first upgrade there is nothing to tell."""
    assert current_facts(read(folder_of(root))).seq == 0


def test_refreshing_twice_is_harmless(root: Path) -> None:
    """A writer may do it whenever it opens or closes."""
    store: Store
    with begin(root) as store:
        refresh_snapshots(store)
        refresh_snapshots(store)
        assert current_facts(store).journal_id == store.identity.journal_id
