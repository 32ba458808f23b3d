"""The reader's child: its frames, its errors, and its deaths."""

import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from journal import place
from journal.child import frames
from journal.errors import GROUPS, JournalDamaged, JournalError, JournalFull

HERE = Path("/opt/emqx/relup/journal")


def test_frames_arrive_as_they_were_produced() -> None:
    """Empty ones are signs of life and not handed on."""
    bodies = [b"a", b"", b"b" * 3_000_000, b"c"]
    assert list(frames(lambda: iter(bodies), subject=HERE)) == [b"a", b"b" * 3_000_000, b"c"]


@pytest.mark.parametrize("group", GROUPS.values())
def test_an_error_crosses_over_whole(group: type[JournalError]) -> None:
    """Group, sentence, advice and record number are those that were raised; frames before it count."""

    def produce() -> Iterator[bytes]:
        yield b"a"
        raise group("it happened", next="do this", seq=7)

    stream = frames(produce, subject=HERE)
    assert next(stream) == b"a"
    with pytest.raises(group) as raised:
        next(stream)
    assert type(raised.value) is group
    assert (raised.value.happened, raised.value.next, raised.value.seq) == ("it happened", "do this", 7)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGKILL])
def test_a_killed_child_is_damage(number: signal.Signals) -> None:
    """The parent lives and says which signal it was."""

    def produce() -> Iterator[bytes]:
        yield b"a"
        os.kill(os.getpid(), number)

    stream = frames(produce, subject=HERE)
    assert next(stream) == b"a"
    with pytest.raises(JournalDamaged, match=number.name):
        next(stream)


def test_a_child_that_reads_where_nothing_is_dies_alone() -> None:
    """A real segmentation fault, not only its signal."""

    def produce() -> Iterator[bytes]:
        yield ctypes.string_at(0)

    with pytest.raises(JournalDamaged, match="SIGSEGV"):
        list(frames(produce, subject=HERE))


def test_sigbus_on_a_full_disk_is_told_as_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator frees space instead of mistrusting the record."""
    monkeypatch.setattr("journal.child.free_bytes", lambda folder: place.MIN_FREE_BYTES - 1)

    def produce() -> Iterator[bytes]:
        os.kill(os.getpid(), signal.SIGBUS)
        yield b""

    with pytest.raises(JournalFull):
        list(frames(produce, subject=tmp_path))


def test_an_unforeseen_error_in_the_child_is_no_silence(capfd: pytest.CaptureFixture[str]) -> None:
    """Its traceback is on stderr, and nobody takes it for the end of the journal."""

    def produce() -> Iterator[bytes]:
        yield b"a"
        raise ZeroDivisionError("unforeseen")

    with pytest.raises(JournalDamaged, match="nobody foresaw"):
        list(frames(produce, subject=HERE))
    assert "ZeroDivisionError: unforeseen" in capfd.readouterr().err


def test_frames_that_nobody_wants_end_their_child() -> None:
    """Also one that never stops by itself."""

    def produce() -> Iterator[bytes]:
        yield str(os.getpid()).encode()
        while True:
            yield b"more" * 1000

    stream = frames(produce, subject=HERE)
    child = int(next(stream))
    stream.close()  # type: ignore[attr-defined]  # a generator
    assert not Path(f"/proc/{child}").exists()
