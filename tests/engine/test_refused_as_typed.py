"""Refusals that need a node of their own, as they are typed: node, RootDir, package and temporary folder stay.

What one node in one state can show is in `test_refusals`. Here the node has a pending target, is down, is busy,
or its RootDir is not its user's to write to; and what is looked at goes beyond RootDir.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fixtures.broken import build_broken
from fixtures.build import Built
from fixtures.node import RunningNode
from fixtures.package import write_sidecar
from tests.cli.test_commands_as_root import STRANGER, give_to, street
from tests.engine.footprint import node_differences, node_footprint, tree_footprint
from tests.engine.scene import Scene
from tests.engine.test_lock import another_relup
from tests.engine.witness import assert_runs
from tests.releases import NodeFactory

__all__ = ["street"]

REQUEST, RELEASE, PLACE, UNREACHABLE, BUSY = 11, 12, 13, 50, 60
"""Exit codes of the groups that refuse."""


@dataclass
class Desk:
    """Where the operator types: a package, a catalog, and a temporary folder that is looked into."""

    scene: Scene
    folder: Path

    def package(self, built: Path) -> Path:
        """A copy of a package, with its sidecar."""
        tarball = self.folder / built.name
        shutil.copy(built, tarball)
        write_sidecar(tarball)
        return tarball

    def refuse(self, tarball: Path, *options: str, code: int, name: str) -> str:
        """`plan` and `upgrade` are refused by number and name, and every byte outside the journal stays.

        Returns:
            What happened, in the words of `upgrade`.
        """
        before = self._bytes()
        self._type("plan", tarball, *options, code=code, name=name)
        assert self._bytes() == before
        happened = self._type("upgrade", tarball, *options, code=code, name=name)
        now = self._bytes()
        made = {path: now[path] for path in now.keys() & {"root/relup"}}
        assert now == before | made, "an upgrade makes relup/ for its journal, and nothing else"
        return happened

    def _type(self, command: str, tarball: Path, *options: str, code: int, name: str) -> str:
        temporary = str(self.folder / "tmp")
        done = self.scene.relup("--json", command, str(tarball), *options, TMPDIR=temporary, HOME=temporary)
        assert done.returncode == code, done.stderr
        error = json.loads(done.stdout.splitlines()[-1])["error"]
        assert error["name"] == name
        assert all((error["happened"], error["next"]))
        assert f"({name})" in done.stderr
        happened: str = error["happened"]
        return happened

    def _bytes(self) -> dict[str, str]:
        """RootDir but for journal and lock, and the desk with all that lies on it."""
        root = {f"root/{path}": imprint for path, imprint in tree_footprint(self.scene.node.root).items()}
        return root | {f"desk/{path}": imprint for path, imprint in tree_footprint(self.folder).items()}


def desk_of(node: RunningNode, catalog: Path, folder: Path) -> Desk:
    """A desk with its temporary folder, which every user may write to."""
    (folder / "tmp").mkdir(parents=True)
    (folder / "tmp").chmod(0o777)
    return Desk(Scene(node=node, catalog=catalog), folder)


# ---------------------------------------------------------------- a target is pending


@pytest.fixture(scope="module")
def pending(releases: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node that was hot-upgraded to 5.10.5 and not restarted."""
    root = tmp_path_factory.mktemp("pending") / "node"
    with RunningNode.install(releases.tree("5.10.4"), root) as node:
        Scene(node=node.start(), catalog=releases.catalog).upgrade(releases.tarball("5.10.5"))
        yield node


@dataclass(frozen=True)
class AfterAHop:
    """What is refused on a node with a pending target.

    Attributes:
        arrange: Makes the package, and what else has to be there.
        says: A text in the error.
    """

    arrange: Callable[[Desk, Built], Path]
    code: int
    name: str
    says: str


def the_same_target(desk: Desk, built: Built) -> Path:
    return desk.package(built.tarball("5.10.5"))


def the_base(desk: Desk, built: Built) -> Path:
    return desk.package(built.tarball("5.10.4"))


def a_target_without_a_hop_over_an_older_tree(desk: Desk, built: Built) -> Path:
    """The official tool deletes that tree before it looks into its catalog."""
    older = desk.scene.place.tree("5.10.6")
    shutil.copytree(built.tree("5.10.6") / "releases", older / "releases")
    (desk.folder / "catalog").mkdir()
    desk.scene = desk.scene.with_catalog(desk.folder / "catalog")
    return desk.package(built.tarball("5.10.6"))


def a_hop_with_a_malformed_file_beside_it(desk: Desk, built: Built) -> Path:
    """The hop itself is missing, and the file that cannot be read may be it."""
    catalog = desk.folder / "catalog"
    catalog.mkdir()
    (catalog / "5.10.5-to-5.10.6.relup").write_text(
        '#{from_version => "5.10.5",\n  target_version "5.10.6"}.\n'
    )
    desk.scene = desk.scene.with_catalog(catalog)
    return desk.package(built.tarball("5.10.6"))


AFTER_A_HOP = {
    "the same pending target": AfterAHop(the_same_target, REQUEST, "duplicate_pending_target", "5.10.5"),
    "back to the base": AfterAHop(the_base, REQUEST, "target_is_older", "5.10.4"),
    "no hop": AfterAHop(a_target_without_a_hop_over_an_older_tree, REQUEST, "no_relup_entry", "5.10.5"),
    "malformed hop": AfterAHop(
        a_hop_with_a_malformed_file_beside_it, RELEASE, "malformed_term", "5.10.5-to-5.10.6.relup:2:18"
    ),
}


@pytest.mark.parametrize("case", AFTER_A_HOP.values(), ids=AFTER_A_HOP)
def test_a_pending_target_stays_pending_and_its_node_as_it_was(
    pending: RunningNode, releases: Built, tmp_path: Path, case: AfterAHop
) -> None:
    """Neither its marker nor its tree nor an older tree of the target is touched, and the VM is only read."""
    desk = desk_of(pending, releases.catalog, tmp_path / "desk")
    tarball = case.arrange(desk, releases)
    try:
        before = node_footprint(pending)
        assert case.says in desk.refuse(tarball, code=case.code, name=case.name)
        assert node_differences(pending, before) == []
        assert desk.scene.place.marker.read_text() == "5.10.5"
        assert desk.scene.answer("status")["kind"] == "pending"
    finally:
        shutil.rmtree(desk.scene.place.tree("5.10.6"), ignore_errors=True)


# ---------------------------------------------------------------- nobody is there, or somebody is at it


@pytest.fixture(scope="module")
def asked(releases: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A 5.10.4 that was planned on once: the words that reading brings are there."""
    root = tmp_path_factory.mktemp("asked") / "node"
    with RunningNode.install(releases.tree("5.10.4"), root) as node:
        Scene(node=node.start(), catalog=releases.catalog).plan(releases.tarball("5.10.5"))
        yield node


@pytest.fixture
def running(asked: RunningNode) -> RunningNode:
    """The same, as if relup had never written there."""
    shutil.rmtree(asked.root / "relup", ignore_errors=True)
    return asked


def test_a_node_that_is_down_is_refused_and_stays_down(
    node: NodeFactory, releases: Built, tmp_path: Path
) -> None:
    """Nothing is unpacked for a node that cannot be asked, and nobody starts it."""
    stopped = node(start=False)
    desk = desk_of(stopped, releases.catalog, tmp_path / "desk")
    desk.refuse(desk.package(releases.tarball("5.10.5")), code=UNREACHABLE, name="node_down")
    assert not stopped.is_running
    assert sorted(path.name for path in desk.scene.place.relup.iterdir()) == ["journal", "lock"]


def test_a_second_relup_touches_nothing(running: RunningNode, releases: Built, tmp_path: Path) -> None:
    """Not even a journal is begun while another relup holds the lock, and the lock stays the other's."""
    desk = desk_of(running, releases.catalog, tmp_path / "desk")
    tarball = desk.package(releases.tarball("5.10.5"))
    desk.scene.place.relup.mkdir()
    with another_relup(desk.scene.place.lock) as (holder, _):
        before, held = node_footprint(running), desk.scene.place.lock.read_bytes()
        assert f"pid {holder.pid}" in desk.refuse(tarball, code=BUSY, name="busy")
        assert node_differences(running, before) == []
        assert desk.scene.place.lock.read_bytes() == held
        assert not desk.scene.place.journal.exists()


# ---------------------------------------------------------------- no right to write


def test_a_root_that_cannot_be_written_leaves_its_running_node_alone(releases: Built, street: Path) -> None:
    """The right that counts is that of the node's user, whoever types the command."""
    user = STRANGER if os.geteuid() == 0 else os.geteuid()
    catalog = Path(shutil.copytree(releases.catalog, street / "catalog"))
    with RunningNode.install(releases.tree("5.10.4"), street / "node") as node:
        if user == STRANGER:
            give_to(user, node.root)
        node.environment |= {"HOME": str(street)}
        subprocess.run(
            [str(node.bin), "start"], user=user, env=node.environment, capture_output=True, check=True
        )
        node.root.chmod(0o555)
        desk = desk_of(node, catalog, street / "desk")
        before = node_footprint(node)
        desk.refuse(desk.package(releases.tarball("5.10.5")), code=PLACE, name="no_write_permission")
        assert node_differences(node, before) == []
        assert not desk.scene.place.relup.exists()
        node.root.chmod(0o755)


# ---------------------------------------------------------------- beyond RootDir


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        ("hop-names-missing-module", "module_not_found"),
        ("rel-vsn-runs-a-command", "invalid_rel_vsn"),
        ("check-config-fails", "check_config_failed"),
    ],
)
def test_a_refusal_leaves_nothing_beside_rootdir_either(
    running: RunningNode, releases: Built, tmp_path: Path, broken: str, name: str
) -> None:
    """Package, sidecar, catalog and temporary folder are as they were, also where the new release was started."""
    wrong = build_broken(releases, broken)
    desk = desk_of(running, wrong.catalog, tmp_path / "desk")
    before = node_footprint(running)
    waived = ("--allow", "module_not_in_hop:emqx_conf") if name == "check_config_failed" else ()
    desk.refuse(desk.package(wrong.tarball), *waived, code=RELEASE, name=name)
    assert node_differences(running, before) == []
    assert_runs(running, "5.10.4", built=releases, connections=0)
    assert sorted(path.name for path in desk.scene.place.relup.iterdir()) == ["journal", "lock"]
