"""Which generation of the journal is the current one, and who still reads an older one.

The journal folder holds `<n>/{data.mdb,lock.mdb}` and the text file `generation` with the current n. An
environment file is never replaced in place. Whoever reads a generation holds a shared flock on its folder,
so that the one who clears history knows when the last reader has gone.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from journal import place
from journal.errors import SALVAGE, JournalDamaged

POINTER = "generation"


def current(folder: Path) -> int | None:
    """The current generation; None when there is no journal.

    Raises:
        JournalDamaged: The pointer does not read as a number.
        JournalPlace: It may not be read.
    """
    try:
        text = (folder / POINTER).read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise place.not_readable(folder) from error
    if not text.strip().isdecimal() or int(text) < 1:
        raise JournalDamaged(f"{folder / POINTER} says {text[:40]!r}, which is no generation", next=SALVAGE)
    return int(text)


def required(folder: Path) -> int | None:
    """The current generation, whose folder is there; None when there is no journal.

    Raises:
        JournalDamaged: The pointer names a generation that is not there.
        JournalPlace: A link stands in its place.
    """
    number = current(folder)
    if number is not None:
        place.refuse_link(folder / str(number))
        if not (folder / str(number)).is_dir():
            raise _missing(folder, number)
    return number


def _missing(folder: Path, number: int) -> JournalDamaged:
    return JournalDamaged(f"generation {number} of {folder} is missing", next=SALVAGE)


def point_to(folder: Path, number: int) -> None:
    """Make `number` the current generation, atomically and durably."""
    place.replace_text(folder / POINTER, f"{number}\n")


def numbered(folder: Path) -> list[int]:
    """Every generation that lies in the folder."""
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal() and path.is_dir())


@contextmanager
def held(folder: Path) -> Iterator[int | None]:
    """Hold the current generation for reading; None when there is no journal.

    Raises:
        JournalDamaged: The pointer names a generation that is not there.
        JournalPlace: It may not be read.
    """
    number, descriptor = _hold(folder)
    try:
        yield number
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _hold(folder: Path) -> tuple[int | None, int | None]:
    number = current(folder)
    while number is not None:
        try:
            descriptor = os.open(
                folder / str(number), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
            )
        except PermissionError as error:
            raise place.not_readable(folder) from error
        except OSError as error:
            if (now := current(folder)) == number:
                raise _missing(folder, number) from error
            number = now
            continue
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if (now := current(folder)) == number:
            return number, descriptor
        os.close(descriptor)
        number = now
    return None, None


def sweep(folder: Path, keep: int) -> list[int]:
    """Remove every other generation that nobody reads; the caller is the only writer.

    Returns:
        The generations that were removed.
    """
    return [number for number in numbered(folder) if number != keep and _remove(folder / str(number))]


def _remove(generation: Path) -> bool:
    descriptor = os.open(generation, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(generation)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
