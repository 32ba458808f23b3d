"""The staging folder `<RootDir>/relup/.staging-<upgrade id>`: made private, removed whole."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.errors import RelupError
from engine.place import STAGING_PREFIX
from engine.release.errors import StagingExists, UnsafeRelupFolder
from engine.release.faults import cannot_write
from engine.release.manifest import MANIFEST_SUFFIX, manifest_path

REMOVED_PREFIX = ".removed-"
"""Of a tree that has lost its name and is being removed."""


@contextmanager
def new_staging(staging: Path, *, doing: str) -> Iterator[None]:
    """A new empty staging folder, 0700; removed again when the work in it fails.

    An OSError of the work becomes an error of ours that says what was being done.

    Raises:
        StagingExists, BadPlace: It cannot be made.
    """
    was_there = os.path.lexists(staging.parent)
    try:
        make_relup_folder(staging.parent)
        staging.mkdir(mode=0o700)
    except FileExistsError:
        raise StagingExists(
            f"the staging folder {staging} is already there", next="Run 'relup recover' or 'relup clean'."
        ) from None
    except OSError as fault:
        _remove_unused(staging.parent, was_there=was_there)
        raise cannot_write(fault, f"making the staging folder {staging}") from fault
    try:
        _forget_inherited_rights(staging)
        yield
    except OSError as fault:
        refusal = cannot_write(fault, doing)
        refusal.next += _discarded(staging, was_there=was_there)
        raise refusal from fault
    except RelupError as refusal:
        refusal.next += _discarded(staging, was_there=was_there)
        raise
    except BaseException as fault:
        fault.add_note(_discarded(staging, was_there=was_there))
        raise


def make_relup_folder(relup: Path) -> None:
    """Make `<RootDir>/relup/` when it is missing.

    Raises:
        UnsafeRelupFolder: It is a symlink or no folder.
        OSError: It cannot be made.
    """
    with suppress(FileExistsError):
        relup.mkdir(mode=0o755)
    if not stat.S_ISDIR(os.lstat(relup).st_mode):
        raise UnsafeRelupFolder(
            f"{relup} is not a folder of its own", next="Remove the file or symlink that lies there."
        )


def remove_staging(staging: Path) -> None:
    """Remove a staging folder and its manifest, or any other of the leftovers; they need not be there.

    Raises:
        BadPlace: A file operation failed.
    """
    try:
        _remove(staging)
    except OSError as fault:
        raise cannot_write(fault, f"removing the staging folder {staging}") from fault


def leftovers(relup: Path) -> list[Path]:
    """Staging folders with their manifests, and `remains`, below relup/, in order of their names."""
    if not relup.is_dir():
        return []
    staged = (item for item in relup.iterdir() if item.name.startswith(STAGING_PREFIX))
    return sorted({*staged, *remains(relup)})


def remains(relup: Path) -> list[Path]:
    """What an interrupted write or removal has left: half-removed trees, manifests of nothing, half a file."""
    return [item for item in relup.iterdir() if _is_remainder(item)]


def _is_remainder(item: Path) -> bool:
    name = item.name
    if name.startswith(REMOVED_PREFIX) or (name.startswith(".") and name.endswith("-new")):
        return True
    if not (name.startswith(".") and name.endswith(MANIFEST_SUFFIX)):
        return False
    described = name.removeprefix(".").removesuffix(MANIFEST_SUFFIX)
    return not any(os.path.lexists(item.with_name(tree)) for tree in (described, f".{described}"))


def _remove(staging: Path) -> None:
    manifest_path(staging).unlink(missing_ok=True)
    if staging.is_dir() and not staging.is_symlink():
        shutil.rmtree(staging)
    else:
        staging.unlink(missing_ok=True)


def _discarded(staging: Path, *, was_there: bool) -> str:
    """Remove a staging folder after a fault; what is left of it, if that fails too, as a sentence."""
    try:
        _remove(staging)
    except OSError as left:
        return f" The staging folder {staging} could not be removed ({left.strerror}): remove it."
    _remove_unused(staging.parent, was_there=was_there)
    return ""


def _remove_unused(relup: Path, *, was_there: bool) -> None:
    """relup/ goes again when it was made for this staging, unless it is in use by now."""
    if not was_there:
        with suppress(OSError):
            relup.rmdir()


def _forget_inherited_rights(folder: Path) -> None:
    """A set-group-id bit or a default ACL above would change the modes of all that is written."""
    folder.chmod(0o700)
    with suppress(OSError):
        os.removexattr(folder, "system.posix_acl_default")
