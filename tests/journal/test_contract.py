"""What every journal owes its callers, whatever keeps the records."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from journal.door import Journal
from journal.events import JournalOpened, UpgradeId
from tests.journal.memory import MemoryJournal
from tests.journal.stories import SECOND, Ticking, begin, success, told, write

U = UpgradeId("u1")


@pytest.fixture(params=["memory", "lmdb"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    if request.param == "memory":
        memory = MemoryJournal(Ticking())
        opened = JournalOpened(journal_id="x", format=1, node=None, root="/opt/emqx")
        memory.append(opened, upgrade_id=None)
        yield memory
    else:
        with begin(tmp_path) as store:
            yield store


def test_an_appended_event_is_read_back_as_it_was(journal: Journal) -> None:
    """Every event of a whole upgrade survives its encoding."""
    for event in success():
        journal.append(event, upgrade_id=U)
    assert [entry.event for entry in journal.entries()][1:] == success()


def test_append_answers_with_the_entry_that_was_stored(journal: Journal) -> None:
    """The caller learns sequence, time and id of what it wrote."""
    appended = [journal.append(event, upgrade_id=U) for event in success()]
    assert appended == list(journal.entries(2))


def test_sequence_numbers_have_no_gap_and_times_come_from_the_clock(journal: Journal) -> None:
    """Entries are numbered from 1 in the order of their appends."""
    write(journal, told(success))
    entries = list(journal.entries())
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert {later.at - entry.at for entry, later in pairwise(entries)} == {SECOND}


def test_entries_can_begin_in_the_middle_and_after_the_end(journal: Journal) -> None:
    """`start` is the first sequence number that comes back."""
    write(journal, told(success))
    everything = list(journal.entries())
    assert list(journal.entries(5)) == everything[4:]
    assert list(journal.entries(len(everything) + 1)) == []


def test_the_head_names_the_last_entry_and_changes_with_each(journal: Journal) -> None:
    """Each append moves the head to another hash."""
    heads = []
    for event in success():
        seq = journal.append(event, upgrade_id=U).seq
        head = journal.head()
        assert head is not None
        assert head.seq == seq
        heads.append(head.hash)
    assert len(set(heads)) == len(heads)


def test_reading_goes_on_while_entries_are_appended(journal: Journal) -> None:
    """Appending in the middle of a replay disturbs neither."""
    write(journal, told(success))
    replay = journal.entries()
    first = next(replay)
    journal.append(success()[0], upgrade_id=U)
    assert first.seq == 1
    assert [entry.seq for entry in replay][:3] == [2, 3, 4]
