"""An installation by deb or rpm: etc, data and log lie outside RootDir, and emqx_vars says where."""

from pathlib import Path

import pytest

from fixtures.build import Built
from fixtures.node import RunningNode
from tests.engine.scene import Scene
from tests.releases import NodeFactory

RELEASE = 12
"""Exit code."""


@pytest.fixture
def scene(node: NodeFactory, releases: Built, tmp_path: Path) -> Scene:
    """A node of such an installation; it does not run yet."""
    return Scene(node=node(start=False).move_out(tmp_path / "elsewhere"), catalog=releases.catalog)


def conf(node: RunningNode) -> Path:
    assert node.elsewhere is not None
    return node.elsewhere / "etc" / "emqx.conf"


def test_the_node_is_known_while_it_is_down(scene: Scene) -> None:
    """Its name stands in the emqx.conf that it boots with."""
    assert f"Node {scene.node.name} does not answer" in scene.answer("status")["not_asked"]


def test_a_hop_goes_from_the_plan_to_the_restart(scene: Scene, releases: Built) -> None:
    """What lies elsewhere stays there, and nothing of it is made anew under RootDir."""
    scene.node.start()
    tarball = str(releases.tarball("5.10.5"))
    assert scene.relup("plan", tarball).returncode == 0
    assert scene.relup("upgrade", "--full-speed", tarball).returncode == 0
    assert scene.answer("status")["kind"] == "pending"
    scene.node.restart()
    status = scene.answer("status")
    assert (status["status"], status["node"]["live"]) == ("idle", "5.10.5")
    assert scene.relup("verify").returncode == 0
    assert not {"etc", "data", "log"} & {path.name for path in scene.node.root.iterdir()}


def test_the_configuration_that_the_target_will_boot_with_is_checked(scene: Scene, releases: Built) -> None:
    """A key that it does not know is found by the plan, in the file that has it."""
    scene.node.start()
    with conf(scene.node).open("a") as file:
        file.write("no.such.key = 1\n")
    refused = scene.relup("plan", str(releases.tarball("5.10.5")))
    assert refused.returncode == RELEASE
    assert f"bad configuration in {conf(scene.node)}: unknown key: no.such.key" in refused.stderr
    assert f"Correct the configuration in {conf(scene.node).parent}" in refused.stderr
