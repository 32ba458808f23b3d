"""One file with a whole journal gives the same answers on another machine, or says that it is damaged."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journal.compaction import clear_history
from journal.errors import JournalDamaged, JournalError, JournalNewer, JournalPlace
from journal.portable import MAGIC, export, open_export
from journal.reader import read
from projections.as_of import as_of
from projections.logs import all_rows, last_rows
from projections.replay import current_facts
from projections.retention import clearing
from tests.journal import raw
from tests.journal.stories import BY, Story, begin, folder_of, stories, success, told, write, written


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=stories(), is_cleared=st.booleans())
def test_an_exported_journal_gives_the_same_answers(
    new_root: Callable[[], Path], story: Story, is_cleared: bool
) -> None:
    """Entries, status, logs and the state as of any record, also after a clearing."""
    root = new_root()
    with begin(root) as store:
        write(store, story)
        found = clearing(store, keep=1)
        if is_cleared and found is not None:
            clear_history(
                store, until=found.until, dropped_upgrades=found.dropped_upgrades, state=found.state, by=BY
            )
    head = export(folder_of(root), root / "journal.relup")
    here, there = read(folder_of(root)), open_export(root / "journal.relup")
    assert there.head() == here.head() == head
    assert there.identity() == here.identity()
    assert list(there.entries()) == list(here.entries())
    assert list(there.entries(head.seq)) == list(here.entries(head.seq))
    assert current_facts(there) == current_facts(here)
    assert all_rows(there.entries()) == all_rows(here.entries())
    assert last_rows(there, 2) == last_rows(here, 2)
    assert as_of(there, seq=head.seq - 1) == as_of(here, seq=head.seq - 1)


@pytest.fixture(scope="module")
def exported(new_root: Callable[[], Path]) -> bytes:
    root = new_root()
    written(root, told(success))
    export(folder_of(root), root / "journal.relup")
    return (root / "journal.relup").read_bytes()


def replayed(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    list(open_export(file).entries())


def test_every_single_bit_of_the_file_is_guarded(tmp_path: Path, exported: bytes) -> None:
    """Header, lengths, hashes and payloads alike."""
    for bit in range(0, len(exported) * 8, 11):
        with pytest.raises(JournalError):
            replayed(tmp_path / "flipped", raw.flip(exported, bit))


def test_a_file_cut_short_anywhere_or_grown_is_damaged(tmp_path: Path, exported: bytes) -> None:
    """A transfer that broke off does not pass for a shorter history."""
    for length in range(len(MAGIC), len(exported), 7):
        with pytest.raises(JournalDamaged):
            replayed(tmp_path / "cut", exported[:length])
    with pytest.raises(JournalDamaged):
        replayed(tmp_path / "grown", exported + b"x")


def test_another_file_is_no_export_and_a_newer_one_is_told_as_such(tmp_path: Path, exported: bytes) -> None:
    """Each has its own error."""
    for content in (b"", b"ELF", exported[1:]):
        with pytest.raises(JournalPlace, match="no exported journal"):
            replayed(tmp_path / "other", content)
    with pytest.raises(JournalNewer):
        replayed(tmp_path / "newer", exported.replace(MAGIC, b"relup-journal 2\n", 1))
    with pytest.raises(JournalPlace, match="cannot be read"):
        open_export(tmp_path / "missing")


def test_nothing_is_exported_over_a_file_or_from_no_journal(tmp_path: Path, folder: Path) -> None:
    """An export never overwrites, and leaves no file where it failed."""
    target = tmp_path / "journal.relup"
    with pytest.raises(JournalPlace, match="no journal"):
        export(folder, target)
    assert not target.exists()
    written(tmp_path, told(success))
    target.write_text("mine")
    with pytest.raises(FileExistsError):
        export(folder, target)
    assert target.read_text() == "mine"


def test_a_damaged_journal_is_not_exported_as_if_it_were_whole(tmp_path: Path, folder: Path) -> None:
    """The export is refused, and what was begun of it is removed."""
    written(tmp_path, told(success))
    with raw.records(folder) as transaction:
        transaction.delete(b"\0\0\0\0\0\0\0\x05")
    with pytest.raises(JournalDamaged):
        export(folder, tmp_path / "journal.relup")
    assert not (tmp_path / "journal.relup").exists()
