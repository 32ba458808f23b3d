"""Which generation of the journal is the current one, and who still reads an older one.

The journal folder holds `<n>/{data.mdb,lock.mdb}` and the text file `generation` with the current n. An
environment file is never replaced in place. Whoever reads a generation holds a shared flock on its folder,
so that the one who clears history knows when the last reader has gone.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from journal import place
from journal.errors import SALVAGE, JournalDamaged

POINTER = "generation"
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


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
def held(folder: Path, *, exactly: int | None = None) -> Iterator[int | None]:
    """Hold a generation for reading; None when there is no journal.

    Args:
        folder: The journal's.
        exactly: Which one; the current one by default.

    Raises:
        JournalDamaged: It is not there.
        JournalPlace: It may not be read.
    """
    number, descriptor = (exactly, _locked(folder, exactly)) if exactly is not None else _hold_current(folder)
    try:
        yield number
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _hold_current(folder: Path) -> tuple[int | None, int | None]:
    number = current(folder)
    while number is not None:
        try:
            descriptor = _locked(folder, number)
        except JournalDamaged:
            if (now := current(folder)) == number:
                raise
        else:
            if (now := current(folder)) == number:
                return number, descriptor
            os.close(descriptor)
        number = now
    return None, None


def _locked(folder: Path, number: int) -> int:
    """The descriptor of a generation's folder, with a reader's lock on it."""
    try:
        descriptor = os.open(folder / str(number), _FOLDER_FLAGS)
    except PermissionError as error:
        raise place.not_readable(folder) from error
    except OSError as error:
        raise _missing(folder, number) from error
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def sweep(folder: Path, keep: int) -> None:
    """Remove every other generation that nobody needs; the caller is the only writer.

    A reader of an older one may still go on through those after it, so they wait for him too.
    """
    numbers = numbered(folder)
    for unfinished in [number for number in numbers if number > keep]:
        _remove(folder / str(unfinished))
    for older in [number for number in numbers if number < keep]:
        if not _remove(folder / str(older)):
            return


def _remove(generation: Path) -> bool:
    import shutil  # with its compressors it takes long to import, and reading a journal does without

    descriptor = os.open(generation, _FOLDER_FLAGS)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(generation)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
