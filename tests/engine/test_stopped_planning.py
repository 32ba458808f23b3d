"""Ctrl-C while a plan is made: it is not finished, and nothing is left of it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import Interrupted
from fixtures.build import Built
from fixtures.node import RunningNode
from journal.events import UpgradeInterrupted
from projections.logs import all_rows
from tests.engine.footprint import node_differences, node_footprint, tree_footprint
from tests.engine.scene import Scene


@pytest.fixture
def scene(running: RunningNode, releases: Built) -> Scene:
    """The operator asks to stop as soon as the package lies unpacked. What the first plan brings into the node
    (atoms for the words of its questions) is there.
    """
    shutil.rmtree(running.root / "relup", ignore_errors=True)
    scene = Scene(node=running, catalog=releases.catalog)
    scene.plan(releases.tarball("5.10.5"))
    return replace(scene, interrupts=lambda: len(manifests(running.root)))


def manifests(root: Path) -> list[Path]:
    return list((root / "relup").glob(".staging-*.manifest"))


def test_a_plan_that_is_stopped_behind_the_unpacking_is_not_told_as_made(
    scene: Scene, releases: Built
) -> None:
    """Whoever pressed Ctrl-C gets no plan to act on, and the node and its files are as before."""
    before, node_before = tree_footprint(scene.node.root), node_footprint(scene.node)
    with pytest.raises(Interrupted) as stopped:
        scene.plan(releases.tarball("5.10.5"))
    assert stopped.value.happened == "the operator stopped relup while making the plan"
    assert {*tree_footprint(scene.node.root)} - {"relup"} == {*before} - {"relup"}
    assert manifests(scene.node.root) == []
    assert node_differences(scene.node, node_before) == []


def test_an_upgrade_that_is_stopped_there_writes_down_that_it_was(scene: Scene, releases: Built) -> None:
    """It ends before its plan is written, as an interrupted one, and the next upgrade is free to begin."""
    node_before = node_footprint(scene.node)
    with pytest.raises(Interrupted):
        scene.upgrade(releases.tarball("5.10.5"))
    last = scene.entries()[-1].event
    assert isinstance(last, UpgradeInterrupted)
    assert last.why == "the operator stopped relup while making the plan"
    (row,) = all_rows(scene.entries())
    assert (row.from_version, row.target_version) == ("5.10.4", "5.10.5")
    assert manifests(scene.node.root) == []
    assert node_differences(scene.node, node_before) == []
