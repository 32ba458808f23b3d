"""A plan holds as long as nothing has changed: whatever did, `upgrade --plan` refuses, and says what it was.

One node for all. Each change is one that only the plan's id can see: without the id the upgrade would go on.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.exit_codes import exit_code
from engine.patches import PatchesPresent
from engine.plan import PARTS
from engine.survey import PlanChanged
from fixtures.build import Built
from fixtures.node import RunningNode
from fixtures.package import write_sidecar
from journal.events import UpgradeRefused
from tests.engine.footprint import node_differences, node_footprint, tree_footprint
from tests.engine.scene import Scene

GZIP_TIME = 4
"""Where a gzip file keeps a time that nobody unpacks."""

NOBODYS_MODULE = """
    {ok, _, Beam} = compile:forms([
        {attribute, 1, module, loaded_by_hand}, {attribute, 1, export, []}
    ]),
    {module, _} = code:load_binary(loaded_by_hand, "nowhere", Beam)
"""


@dataclass
class Planned:
    """A plan on the shared node, and all that it rests on, as files that may be changed."""

    scene: Scene
    tarball: Path
    hop: Path
    forced: bool = False
    plan_id: str = ""

    def plan(self) -> str:
        """Plan; the id."""
        state, _ = self.scene.plan(self.tarball, force=self.forced)
        assert state.plan is not None
        return state.plan.plan_id

    def assert_refused(self, part: str) -> None:
        """Refused for exactly this part, with the id of now; nothing but the journal has changed."""
        now = self.plan()
        root = self.scene.node.root
        node_before, tree_before = node_footprint(self.scene.node), tree_footprint(root)
        with pytest.raises(PlanChanged) as refused:
            self.scene.upgrade(self.tarball, plan_id=self.plan_id, force=self.forced)
        assert exit_code(refused.value) == 11
        assert f"what differs is {PARTS[part]}. As" in refused.value.happened
        assert refused.value.happened.endswith(f"the plan is {now}.")
        assert_only_the_journal(root, tree_before)
        assert node_differences(self.scene.node, node_before) == []
        last = self.scene.entries()[-1].event
        assert isinstance(last, UpgradeRefused)
        assert last.failure.name == "plan_changed"
        assert (last.from_version, last.target_version) == ("5.10.4", "5.10.5")


def assert_only_the_journal(root: Path, before: dict[str, str]) -> None:
    """No path is new, gone or changed but relup's own folder, which holds the journal and the lock."""
    assert tree_footprint(root) == {"relup": tree_footprint(root)["relup"], **before}
    assert sorted(path.name for path in (root / "relup").iterdir()) == ["journal", "lock"]


@pytest.fixture
def planned(running: RunningNode, releases: Built, tmp_path: Path) -> Planned:
    """A plan that has just been made for files of the test's own; the node never heard of relup."""
    shutil.rmtree(running.root / "relup", ignore_errors=True)
    tarball = tmp_path / releases.tarball("5.10.5").name
    shutil.copy(releases.tarball("5.10.5"), tarball)
    write_sidecar(tarball)
    catalog = tmp_path / "catalog"
    catalog.mkdir()
    hop = catalog / "5.10.4-to-5.10.5.relup"
    shutil.copy(releases.catalog / hop.name, hop)
    made = Planned(Scene(node=running, catalog=catalog), tarball, hop)
    made.plan_id = made.plan()
    return made


def test_a_plan_is_the_same_as_long_as_nothing_changes(planned: Planned) -> None:
    """Planning again changes nothing; else no id would ever hold."""
    assert planned.plan() == planned.plan_id


def test_a_byte_of_the_package_was_changed(planned: Planned) -> None:
    """One that no unpacked file shows, under a sidecar that is right again."""
    content = bytearray(planned.tarball.read_bytes())
    content[GZIP_TIME] ^= 1
    planned.tarball.write_bytes(content)
    write_sidecar(planned.tarball)
    planned.assert_refused("package")


def test_the_hop_file_was_changed(planned: Planned) -> None:
    """By a comment: the steps are the same."""
    with planned.hop.open("a") as file:
        file.write("%% looked at again\n")
    planned.assert_refused("hop")


def test_a_patch_was_put_into_data_patches(planned: Planned) -> None:
    """Where patches are forced, the plan sees another one; where they are not, they are refused by their name."""
    patches = planned.scene.node.root / "data" / "patches"
    patch = patches / "patched_by_hand.beam"
    try:
        patch.write_bytes(b"not loaded before the next start")
        with pytest.raises(PatchesPresent):
            planned.scene.upgrade(planned.tarball, plan_id=planned.plan_id)
        planned.forced = True
        planned.assert_refused("patches")
    finally:
        patch.unlink()


def test_a_patch_got_another_content(planned: Planned) -> None:
    """Under the same name, with the same size and time."""
    patch = planned.scene.node.root / "data" / "patches" / "patched_by_hand.beam"
    try:
        patch.write_bytes(b"one")
        before = patch.stat()
        planned.forced = True
        planned.plan_id = planned.plan()
        patch.write_bytes(b"two")
        os.utime(patch, ns=(before.st_atime_ns, before.st_mtime_ns))
        planned.assert_refused("patches")
    finally:
        patch.unlink()


def test_a_module_was_loaded_by_hand(planned: Planned) -> None:
    """One that neither release nor hop knows: no step of the plan would look at it."""
    planned.scene.node.eval(NOBODYS_MODULE)
    try:
        planned.assert_refused("live")
    finally:
        planned.scene.node.eval("code:delete(loaded_by_hand), code:purge(loaded_by_hand)")


def test_the_node_was_restarted(planned: Planned) -> None:
    """The same release, the same modules, another VM."""
    planned.scene.node.restart()
    planned.assert_refused("node")
