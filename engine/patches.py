"""Hot patches: beams in data/patches, which stand first in the code path and shadow the release."""

import hashlib
from pathlib import Path

from engine.errors import BadRequest
from engine.readback import listed
from engine.run import Run


class PatchesPresent(BadRequest):
    """data/patches holds beams that shadow the release."""

    name = "patches_dir_not_empty"


def check_patches(run: Run) -> None:
    """Refuse while hot patches shadow the release, unless forced.

    Raises:
        PatchesPresent
    """
    patches = patch_files(run)
    if patches and not run.options.force:
        names = listed([patch.name for patch in patches])
        raise PatchesPresent(
            f"{run.house.data_dir / 'patches'} holds hot patches that shadow the release: {names}.",
            next="Move those away that the target contains already; --force upgrades all the same.",
        )


def patch_files(run: Run) -> list[Path]:
    """Those that lie there now, sorted."""
    return sorted((run.house.data_dir / "patches").glob("*.beam"))


def fingerprint(patch: Path) -> str:
    """The digest of a patch; why it cannot be read when it cannot: the node will not load it either."""
    try:
        return hashlib.sha256(patch.read_bytes()).hexdigest()
    except OSError as fault:
        return str(fault.strerror)
