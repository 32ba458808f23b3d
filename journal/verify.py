"""Proof: walking the whole chain, and holding it against a head that was kept elsewhere.

Without a head kept elsewhere nobody can tell a journal from an older copy of itself, or from one whose
chain was computed anew by someone who can write the file; with one, both are seen.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from journal import codec, place, walk
from journal.child import frames
from journal.errors import SALVAGE, JournalDamaged, JournalError
from journal.events import Head
from journal.view import View, opened

_HEX = frozenset("0123456789abcdef")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What verification found.

    Attributes:
        records: How many records are sound, from the first kept one on.
        first: The first kept sequence number; None without a journal.
        head: The last sound record.
        damage: What is wrong with the first unsound one; None in a sound journal.
        anchor_checked: The kept head was found in the chain; None when none was given, False when its
            record was dropped since, so that nothing can be said.
    """

    records: int
    first: int | None
    head: Head | None
    damage: JournalError | None = None
    anchor_checked: bool | None = None


class _Progress(msgspec.Struct, array_like=True):
    """A frame of the child: so far it is sound."""

    first: int
    head: Head | None
    anchor_found: bool
    payloads: list[bytes]


def read_anchor(text: str) -> Head:
    """The head in `SEQ:HASH`, as `relup journal head` prints it.

    Raises:
        ValueError: It is none.
    """
    seq, _, chain_hash = text.strip().partition(":")
    if not seq.isdecimal() or len(chain_hash) != 2 * codec.HASH_SIZE or not set(chain_hash) <= _HEX:
        raise ValueError(f"{text!r} is not SEQ:HASH as `relup journal head` prints it")
    return Head(seq=int(seq), hash=chain_hash)


def anchor_text(head: Head) -> str:
    """`SEQ:HASH`, for keeping elsewhere."""
    return f"{head.seq}:{head.hash}"


def verify(folder: Path, *, anchor: Head | None = None) -> Verdict:
    """Walk the chain and decode every record.

    Raises:
        JournalPlace: The folder cannot be read at all.
    """
    place.refuse_network(folder)
    records, first, head, found = 0, None, None, False
    damage: JournalError | None = None
    try:
        for frame in frames(lambda: _walked(folder, anchor), subject=folder):
            progress = msgspec.msgpack.decode(frame, type=_Progress)
            first, head, found = progress.first, progress.head, found or progress.anchor_found
            for payload in progress.payloads:
                codec.decode(payload)
                records += 1
    except JournalError as error:
        damage = error
    checked = None
    if anchor is not None and damage is None:
        checked = found
        if not found and (first is None or anchor.seq >= first - 1):
            damage = _not_in_chain(folder, anchor, head)
    return Verdict(records=records, first=first, head=head, damage=damage, anchor_checked=checked)


def _walked(folder: Path, anchor: Head | None) -> Iterator[bytes]:
    """The child's side; the checks that need the end of the journal come last, so that damage is located."""
    with opened(folder, salvage=True) as view:
        if view is None:
            return
        first = walk.first_kept(view.identity)
        yield msgspec.msgpack.encode(
            _Progress(first, view.identity.anchor, _holds(view, anchor, first - 1, first), [])
        )
        before = first
        for batch in view.batches(1):
            head = Head(seq=view.position - 1, hash=batch.last_hash.hex())
            found = _holds(view, anchor, before, view.position)
            yield msgspec.msgpack.encode(_Progress(first, head, found, batch.payloads))
            before = view.position
    with opened(folder) as view:
        if view is not None:
            _require_nothing_else(view)


def _holds(view: View, anchor: Head | None, start: int, end: int) -> bool:
    """The record that `anchor` names lies in [start, end) and has that hash."""
    if anchor is None or not start <= anchor.seq < end:
        return False
    with view.transaction() as transaction:
        return walk.hash_of(transaction, view.identity, anchor.seq).hex() == anchor.hash


def _require_nothing_else(view: View) -> None:
    """Refuse records that lie beside the chain, where no replay comes by."""
    with view.transaction() as transaction:
        head = walk.head_of(transaction, view.identity)
        stored = transaction.stat(view.environment.entries)["entries"]
    chained = head.seq + 1 - walk.first_kept(view.identity) if head is not None else 0
    if stored != chained:
        raise JournalDamaged(
            f"{view.folder} holds {stored} records, of which {chained} belong to the chain", next=SALVAGE
        )


def _not_in_chain(folder: Path, anchor: Head, head: Head | None) -> JournalDamaged:
    if head is None or anchor.seq > head.seq:
        end = f"ends at record {head.seq}" if head is not None else "has no record"
        happened = (
            f"{folder} {end}, but the kept head is record {anchor.seq}: records are missing, "
            "or an older copy was put in its place"
        )
    else:
        happened = (
            f"record {anchor.seq} of {folder} has another hash than the kept head: the chain was written anew"
        )
    return JournalDamaged(happened, next=SALVAGE, seq=anchor.seq)
