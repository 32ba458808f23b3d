"""Errors of the journal, grouped by what is wrong with it. Each says what happened and what to do next.

They stand beside the engine's errors and have the same three parts, but know nothing of them: the journal
imports no other room. `runs_now` is for whoever stopped the work to fill in. No exit code lives here.
"""

from typing import ClassVar


class JournalError(Exception):
    """Anything the journal refuses or cannot do.

    Args:
        happened: One sentence, no trailing advice.
        next: What the operator should do; never empty.
        seq: The first record concerned, where there is one.
    """

    name: ClassVar[str] = "journal_error"
    """The contract for scripts."""

    def __init__(self, happened: str, *, next: str, seq: int | None = None) -> None:  # noqa: A002 - the word users see
        super().__init__(happened)
        self.happened = happened
        self.next = next
        self.seq = seq
        self.runs_now: str | None = None


class JournalDamaged(JournalError):
    """What is stored is not what was written: a broken chain, a missing tail, a file LMDB cannot read."""

    name = "journal_damaged"


class JournalNewer(JournalError):
    """A newer relup wrote this; this one does not understand it and must not guess."""

    name = "journal_newer"


class JournalForeign(JournalError):
    """The journal of another node or another RootDir lies here."""

    name = "journal_foreign"


class JournalFull(JournalError):
    """No room for another record: the disk, or the map, is full. Nothing was written."""

    name = "journal_full"


class JournalPlace(JournalError):
    """The folder is not fit for a journal: a link, a wrong owner or mode, a network filesystem."""

    name = "journal_place"


GROUPS: dict[str, type[JournalError]] = {
    group.name: group for group in (JournalDamaged, JournalNewer, JournalForeign, JournalFull, JournalPlace)
}
"""Every group by its name, so that an error can cross a process boundary."""

SALVAGE = (
    "read what is before the damage with --salvage, keep the folder as it is, "
    "and start a fresh journal that links to it with `relup journal fresh`"
)
"""The advice that goes with damage."""
