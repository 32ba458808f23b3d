"""Damage is seen, named and never repaired: in the records, in the order of them, in the file below."""

import contextlib
import random
import shutil
from bisect import bisect
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journal import codec, walk
from journal.errors import JournalDamaged, JournalForeign, JournalNewer
from journal.events import Entry
from journal.opening import create_or_open, start_fresh
from journal.reader import read
from journal.verify import anchor_text, read_anchor, verify
from tests.journal import raw
from tests.journal.stories import Ticking, begin, rolled_back, success, told, write, written

LONG = told(*[success, rolled_back] * 6, restart_every=1)[:199]


@pytest.fixture(scope="module")
def sound(new_root: Callable[[], Path]) -> Path:
    """A journal of 200 records that no test changes."""
    return written(new_root(), LONG)


@pytest.fixture(scope="module")
def sound_pairs(sound: Path, new_root: Callable[[], Path]) -> list[raw.Pair]:
    return raw.pairs(Path(shutil.copytree(sound, new_root() / "journal")))


@pytest.fixture
def copy(sound: Path, folder: Path) -> Path:
    """The same, free to be damaged."""
    return Path(shutil.copytree(sound, folder))


def is_sound(stored: list[raw.Pair]) -> bool:
    """What a replay of these records, as LMDB would order them, says."""
    following, previous = 1, codec.GENESIS
    remaining = iter(sorted(stored))
    while True:
        batch = walk.chained(remaining, previous, following)
        if batch.damage is not None or not batch.payloads:
            return batch.damage is None and following == 201
        following, previous = following + len(batch.payloads), batch.last_hash


def test_the_untouched_journal_is_sound(sound: Path, sound_pairs: list[raw.Pair]) -> None:
    """What the following tests damage is whole to begin with."""
    assert len(sound_pairs) == 200
    assert is_sound(sound_pairs)
    verdict = verify(sound)
    assert (verdict.damage, verdict.records, verdict.first) == (None, 200, 1)


def test_every_single_bit_of_every_value_is_guarded(sound_pairs: list[raw.Pair]) -> None:
    """A bit turned in any hash or payload of 200 records is damage at that very record."""
    previous = codec.GENESIS
    for seq, (key, value) in enumerate(sound_pairs, start=1):
        for bit in range(len(value) * 8):
            batch = walk.chained([(key, raw.flip(value, bit))], previous, seq)
            assert batch.damage is not None
            assert (batch.damage.seq, batch.payloads) == (seq, [])
        previous = value[: codec.HASH_SIZE]


def test_every_single_bit_of_every_key_is_guarded(sound_pairs: list[raw.Pair]) -> None:
    """A record under another key is damage, wherever LMDB would sort it to."""
    hashes = [codec.GENESIS] + [value[: codec.HASH_SIZE] for _, value in sound_pairs]
    for index, (key, value) in enumerate(sound_pairs):
        others = sound_pairs[:index] + sound_pairs[index + 1 :]
        for bit in range(64):
            turned = (raw.flip(key, bit), value)
            place = min(index, bisect(others, turned))
            stored = sorted([*others[place:], turned])
            batch = walk.chained(stored, hashes[place], place + 1)
            assert batch.damage is not None or place + len(batch.payloads) < 200


@settings(max_examples=100, deadline=None)
@given(chance=st.randoms(use_true_random=False))
def test_reordered_duplicated_and_dropped_records_are_seen(
    sound_pairs: list[raw.Pair], chance: random.Random
) -> None:
    """Any two swapped, any one repeated later, any one left out."""
    first, second = sorted(chance.sample(range(200), 2))
    values = [value for _, value in sound_pairs]
    swapped = values[:]
    swapped[first], swapped[second] = swapped[second], swapped[first]
    doubled = [*values[: second + 1], values[first], *values[second + 1 :]]
    dropped = values[:first] + values[first + 1 :]
    keys = [codec.key(seq) for seq in range(1, 202)]
    for forged in (swapped, doubled, dropped):
        assert not is_sound(list(zip(keys, forged, strict=False)))
    assert not is_sound(sound_pairs[:first] + sound_pairs[first + 1 :])


def test_a_chain_written_anew_with_a_gap_in_its_numbers_is_seen(sound_pairs: list[raw.Pair]) -> None:
    """Also where every hash follows from the one before: numbers have no gap."""
    first, second = sound_pairs[0], sound_pairs[1]
    payload = second[1][codec.HASH_SIZE :]
    forged = codec.chain_hash(first[1][: codec.HASH_SIZE], codec.key(3), payload) + payload
    batch = walk.chained([first, (codec.key(3), forged)], codec.GENESIS, 1)
    assert len(batch.payloads) == 1
    assert batch.damage is not None
    assert "record 2 is missing" in batch.damage.happened


def damage_record(folder: Path, seq: int) -> None:
    with raw.records(folder) as transaction:
        value = transaction.get(codec.key(seq))
        assert value is not None
        transaction.put(codec.key(seq), raw.flip(value, 300))


@pytest.mark.parametrize("seq", [1, 2, 117, 199, 200])
def test_reading_stops_at_the_damage_and_names_it(copy: Path, seq: int) -> None:
    """The store, the reader and verify all refuse, and say which record."""
    damage_record(copy, seq)
    with pytest.raises(JournalDamaged) as refused:
        list(read(copy).entries())
    assert refused.value.seq == seq
    verdict = verify(copy)
    assert verdict.damage is not None
    assert (verdict.damage.seq, verdict.records) == (seq, seq - 1)


@pytest.mark.parametrize("seq", [2, 117, 200])
def test_salvage_shows_everything_before_the_damage(sound: Path, copy: Path, seq: int) -> None:
    """Nothing sound is lost, nothing unsound is shown, and the damage is told."""
    damage_record(copy, seq)
    salvaging = read(copy, salvage=True)
    assert list(salvaging.entries()) == list(read(sound).entries())[: seq - 1]
    assert salvaging.damage is not None
    assert salvaging.damage.seq == seq


def test_a_writer_refuses_a_damaged_end_and_changes_nothing(copy: Path) -> None:
    """Nothing is appended to a chain that does not hold."""
    damage_record(copy, 200)
    before = (raw.current(copy) / "data.mdb").read_bytes()
    with pytest.raises(JournalDamaged):
        create_or_open(copy, clock=Ticking(), node=None, root="/opt/emqx")
    assert (raw.current(copy) / "data.mdb").read_bytes() == before


def test_a_missing_tail_is_seen_by_the_note_of_the_head(copy: Path) -> None:
    """What was acknowledged and is gone is damage even without a head kept elsewhere."""
    with raw.records(copy) as transaction:
        transaction.delete(codec.key(200))
    with pytest.raises(JournalDamaged, match="acknowledged"):
        list(read(copy).entries())
    with pytest.raises(JournalDamaged, match="acknowledged"):
        create_or_open(copy, clock=Ticking(), node=None, root="/opt/emqx")
    assert verify(copy).damage is not None


def test_an_older_copy_of_the_file_is_seen_by_the_note(tmp_path: Path, folder: Path) -> None:
    """A restored data.mdb does not pass for the journal it was copied from."""
    with begin(tmp_path) as store:
        write(store, told(success))
        shutil.copy(raw.current(folder) / "data.mdb", tmp_path / "older.mdb")
        write(store, told(success))
    shutil.copy(tmp_path / "older.mdb", raw.current(folder) / "data.mdb")
    with pytest.raises(JournalDamaged, match="older copy"):
        read(folder).head()


@pytest.mark.parametrize("key", [b"\xff", b"\xff" * 400])
def test_a_record_under_a_key_that_is_none_is_damage(copy: Path, key: bytes) -> None:
    """Also where it sorts to the end, and so stands where the head should."""
    with raw.records(copy) as transaction:
        transaction.put(key, b"x" * 100)
    with pytest.raises(JournalDamaged):
        answers(copy)
    with pytest.raises(JournalDamaged):
        create_or_open(copy, clock=Ticking(), node=None, root="/opt/emqx")


def test_a_record_beside_the_chain_is_found_by_verify(copy: Path) -> None:
    """No replay comes by it, but a sound journal has none."""
    with raw.records(copy) as transaction:
        transaction.put(codec.key(0), b"x" * 100)
    verdict = verify(copy)
    assert verdict.damage is not None
    assert "201 records, of which 200 belong to the chain" in verdict.damage.happened


def test_a_journal_without_any_record_is_damaged(copy: Path) -> None:
    """The first record is written before anything points to a journal."""
    raw.forget_note(copy)
    raw.replace(copy, [])
    with pytest.raises(JournalDamaged, match="no record"):
        list(read(copy).entries())


def test_without_a_note_a_missing_tail_shows_only_against_a_kept_head(copy: Path) -> None:
    """This is the limit that docs/journal.md tells: no anchor, no proof of the end."""
    kept = read(copy).head()
    assert kept is not None
    with raw.records(copy) as transaction:
        transaction.delete(codec.key(200))
    raw.forget_note(copy)
    assert verify(copy).damage is None
    verdict = verify(copy, anchor=read_anchor(anchor_text(kept)))
    assert verdict.damage is not None
    assert "records are missing, or an older copy" in verdict.damage.happened


def test_a_chain_written_anew_shows_only_against_a_kept_head(copy: Path, sound_pairs: list[raw.Pair]) -> None:
    """A forger who can write the file can chain again, but not to the old hash."""
    kept = read(copy).head()
    assert kept is not None
    payloads = [value[codec.HASH_SIZE :] for _, value in sound_pairs]
    payloads[99] = payloads[99].replace(b"VerifyPackage", b"verifyPackage").replace(b"emqx", b"EMQX")
    raw.replace(copy, raw.rechained(payloads[:99] + payloads[100:] + payloads[99:100]))
    raw.forget_note(copy)
    verdict = verify(copy, anchor=kept)
    assert verdict.damage is not None
    assert "written anew" in verdict.damage.happened


def test_a_kept_head_is_found_again_after_more_was_appended(tmp_path: Path, folder: Path) -> None:
    """A head kept last week proves the journal of today."""
    with begin(tmp_path) as store:
        write(store, told(success))
        kept = store.head()
        write(store, told(success))
    verdict = verify(folder, anchor=kept)
    assert (verdict.damage, verdict.anchor_checked) == (None, True)


def test_an_anchor_that_is_none_is_refused() -> None:
    """Only SEQ:HASH as it was printed counts."""
    for text in ("", "5", "5:abc", "x:" + "0" * 64, "5:" + "G" * 64):
        with pytest.raises(ValueError, match="SEQ:HASH"):
            read_anchor(text)


def test_an_event_of_a_newer_relup_is_told_as_such(copy: Path, sound_pairs: list[raw.Pair]) -> None:
    """An unknown tag stops the reading; it is not skipped, and not called damage."""
    payloads = [value[codec.HASH_SIZE :] for _, value in sound_pairs]
    plain = msgspec.msgpack.decode(payloads[50])
    plain["event"]["type"] = "NodeTeleported"
    payloads[50] = msgspec.msgpack.encode(plain)
    raw.replace(copy, raw.rechained(payloads))
    raw.forget_note(copy)
    seen: list[Entry] = []
    with pytest.raises(JournalNewer, match="NodeTeleported"):
        seen.extend(read(copy).entries())
    assert isinstance(verify(copy).damage, JournalNewer)


def test_fields_of_a_newer_relup_are_ignored(copy: Path, sound_pairs: list[raw.Pair]) -> None:
    """An older relup reads on; the event it knows is the event it sees."""
    payloads = [value[codec.HASH_SIZE :] for _, value in sound_pairs]
    plain = msgspec.msgpack.decode(payloads[50])
    plain["later"] = plain["event"]["much_later"] = {"a": [1, 2]}
    payloads[50] = msgspec.msgpack.encode(plain)
    raw.replace(copy, raw.rechained(payloads))
    raw.forget_note(copy)
    assert list(read(copy).entries())[50] == codec.decode(sound_pairs[50][1][codec.HASH_SIZE :])


def answers(folder: Path) -> tuple[list[Entry], object]:
    reader = read(folder)
    return list(reader.entries()), reader.head()


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(chance=st.randoms(use_true_random=False), bits=st.integers(1, 4))
def test_flips_of_the_raw_file_change_no_answer_or_are_damage(
    sound: Path, new_root: Callable[[], Path], chance: random.Random, bits: int
) -> None:
    """Also those that make LMDB crash: the child dies, the parent says what happened."""
    folder = Path(shutil.copytree(sound, new_root() / "journal"))
    file = raw.current(folder) / "data.mdb"
    content = file.read_bytes()
    # Half of them among the pages that say where everything is.
    span = min(3 * 4096, len(content)) if chance.random() < 0.5 else len(content)
    for _ in range(bits):
        content = raw.flip(content, chance.randrange(span * 8))
    file.write_bytes(content)
    with contextlib.suppress(JournalDamaged, JournalNewer, JournalForeign):
        assert answers(folder) == answers(sound)
    shutil.rmtree(folder.parent)


@pytest.mark.parametrize("length", [0, 1, 4096, 8192, 20000])
def test_a_truncated_file_is_damage(copy: Path, length: int) -> None:
    """LMDB is killed by SIGBUS where its map has no file behind it; that is a message here."""
    with (raw.current(copy) / "data.mdb").open("r+b") as file:
        file.truncate(length)
    with pytest.raises(JournalDamaged):
        answers(copy)


def test_random_bytes_in_place_of_the_file_are_damage(copy: Path) -> None:
    """A foreign file is no journal, and no crash either."""
    (raw.current(copy) / "data.mdb").write_bytes(random.Random(4).randbytes(65536))
    with pytest.raises(JournalDamaged):
        answers(copy)


def test_a_fresh_journal_links_to_the_last_sound_record_of_the_damaged_one(sound: Path, copy: Path) -> None:
    """The evidence stays where it is; the new journal says where the old one could be trusted to."""
    damage_record(copy, 117)
    last_sound = read(copy, salvage=True).head()
    store, aside = start_fresh(copy, clock=Ticking(), node="emqx@127.0.0.1", root="/opt/emqx")
    with store:
        opened = next(store.entries()).event
        write(store, told(success))
    assert last_sound is not None
    assert last_sound.seq == 116
    assert msgspec.structs.asdict(opened)["previous_head"] == last_sound
    assert verify(copy).damage is None
    salvaged = list(read(aside, salvage=True).entries())
    assert salvaged == list(read(sound).entries())[:116]
