"""What must be so at the end of a run on the VM in memory: one release everywhere, and nobody gone."""

from pathlib import Path

from engine.place import Place
from engine.release.beam import file_md5s
from engine.release.staging import leftovers
from engine.release.tree import ReleaseTree
from tests.fake_node import FakeVm
from tests.torture.small import PROCESSES

TARGET = "5.10.5"


class Stuck(AssertionError):
    """No recovery brings the node to an end."""


class Torn(AssertionError):
    """The node, the files and the journal do not agree on one release."""


class Lost(AssertionError):
    """A process, or an acknowledged entry, is gone."""


def require_one_release(vm: FakeVm, root: Path, *, at_target: bool) -> None:
    """Code, states, path, marker, trees and processes are those of the target, or of RootDir's own release.

    Raises:
        Stuck, Torn, Lost
    """
    place = Place(root)
    tree = place.tree(TARGET)
    if tree.exists() != at_target:
        raise Torn(f"at the target: {at_target}, but its tree is there: {tree.exists()}")
    wanted = file_md5s(ReleaseTree.read(tree if at_target else root).modules)
    live = {module: md5 for module, (md5, _) in vm.modules.items()}
    if live != wanted:
        differing = sorted(module for module in live | wanted if live.get(module) != wanted.get(module))
        raise Torn(f"at the target: {at_target}, but other code runs: {differing}")
    marker = place.marker.read_text() if place.marker.exists() else None
    if marker != (TARGET if at_target else None):
        raise Torn(f"at the target: {at_target}, but relup/current says {marker}")
    if not at_target and any("/relup/" in folder for folder in vm.path):
        raise Torn(f"the code path still leads to the target: {vm.path}")
    if misfits := vm.misfits():
        raise Torn(f"states do not fit the code: {misfits}")
    if left := leftovers(place.relup):
        raise Torn(f"left over: {left}")
    _require_processes(vm)


def _require_processes(vm: FakeVm) -> None:
    for module, number in PROCESSES.items():
        there = [process for process in vm.processes.values() if process.module == module]
        if len(there) != number:
            raise Lost(f"{len(there)} of {number} processes of {module} are left")
        if any(process.suspended for process in there):
            raise Stuck(f"processes of {module} are suspended")
