"""The disk is full at the k-th operation on relup's files, for every k of an upgrade: once, or from there on."""

import itertools

import pytest

from cli.exit_codes import exit_code
from engine.errors import RelupError
from engine.state import Phase
from fixtures.build import Built
from tests.faults.disk import FullDisk
from tests.faults.memory import MakeMemoryNode, MemoryNode
from tests.torture.oracle import require_one_release

SEEN_IN_UNPACKING = 17
"""Only every so many-th operation of the unpacking is failed here; tests/engine/release fails all of them."""
REFUSED, UNDONE = 13, 20
"""Exit codes."""


def upgraded_on(node: MemoryNode, *, full_from: int, stays_full: bool) -> tuple[FullDisk, RelupError | None]:
    """Upgrade while the disk is full at one operation; the error that this ends with."""
    with pytest.MonkeyPatch.context() as patched:
        disk = FullDisk(patched, node.place.relup, full_from=full_from, stays_full=stays_full)
        try:
            node.upgrade()
        except RelupError as error:
            return disk, error
    return disk, None


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stays_full", [False, True], ids=["once", "from there on"])
def test_whichever_file_operation_finds_the_disk_full_the_upgrade_is_refused_or_undone(
    memory_node: MakeMemoryNode, releases: Built, stays_full: bool
) -> None:
    """Refused while unpacking, undone later; either way nothing is left under relup/ but the record of it."""
    codes: list[int] = []
    for full_from in itertools.count(1):
        unpacking = UNDONE not in codes
        if unpacking and full_from % SEEN_IN_UNPACKING and codes[-1:] == [REFUSED]:
            continue
        node = memory_node(releases.reversible_catalog)
        disk, error = upgraded_on(node, full_from=full_from, stays_full=stays_full)
        if not disk.failed:
            assert error is None
            break
        assert error is not None
        assert error.name in ("not_enough_disk_space", "cannot_write_marker")
        codes.append(exit_code(error))
        assert node.phase is Phase.ENDED
        require_one_release(node.vm, node.root, at_target=False)
        assert {path.name for path in node.place.relup.iterdir()} == {"journal", "lock"}
    assert codes == sorted(codes)
    assert set(codes) == {REFUSED, UNDONE}
    assert codes.count(UNDONE) > 40


def test_after_an_upgrade_on_a_full_disk_the_next_one_goes_through(
    memory_node: MakeMemoryNode, releases: Built
) -> None:
    """Nothing of the one that was undone is in the way."""
    node = memory_node(releases.reversible_catalog)
    _, error = upgraded_on(node, full_from=120, stays_full=True)
    assert error is not None
    assert exit_code(error) == UNDONE
    node.upgrade()
    require_one_release(node.vm, node.root, at_target=True)
