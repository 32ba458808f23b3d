"""A whole upgrade as EMQX's manual tells it, `emqx ctl relup`, on each way by which a node can be reached."""

import sys
from pathlib import Path

import pytest

from fixtures.build import Built
from fixtures.clients import Swarm
from fixtures.node import Dist
from tests.engine.scene import FRONT_DOOR, Scene
from tests.engine.witness import assert_deployed, assert_runs
from tests.releases import NodeFactory

CLIENTS = 10


def relup_command(folder: Path) -> Path:
    """This checkout's relup as one executable file."""
    command = folder / "relup"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FRONT_DOOR}" "$@"\n')
    command.chmod(0o755)
    return command


@pytest.mark.parametrize("dist", ["fixed", "epmd", "tls"])
def test_ctl_relup_upgrades_a_node_however_it_is_reached(
    node: NodeFactory, releases: Built, tmp_path: Path, dist: Dist
) -> None:
    """EMQX's own port, epmd, or TLS with the node's certificates: with the official texts and every client kept."""
    running = node(dist=dist)
    running.environment["RELUP_BIN"] = str(relup_command(tmp_path))
    scene = Scene(node=running, catalog=releases.catalog)
    own = scene.place.own_catalog
    own.mkdir(parents=True)
    for hop in releases.catalog.iterdir():
        (own / hop.name).write_bytes(hop.read_bytes())

    def ctl(*words: str) -> list[str]:
        return running.emqx("ctl", "relup", *words).stdout.splitlines()

    assert ctl("list-supported-paths")[:1] == ["5.10.4 -> 5.10.5"]
    assert ctl("status")[0] == "idle"
    assert ctl("logs") == ["no upgrade history on this node"]
    with Swarm(running.mqtt_port, count=CLIENTS, idle=CLIENTS // 2, interval_ms=200) as swarm:
        assert ctl("upgrade", str(releases.tarball("5.10.5")))[0] == "upgrade complete"
        assert_runs(running, "5.10.5", built=releases, connections=CLIENTS)
        report = swarm.stop()
    assert (report.connected, report.lost) == (CLIENTS, 0)
    assert_deployed(running, "5.10.5", built=releases)
    pending = "hot-upgraded to 5.10.5; pending on restart to boot from the new version"
    assert ctl("status")[0] == pending
    (row,) = ctl("logs")
    assert row.startswith("started=")
    assert row.endswith(" 5.10.4 -> 5.10.5 status=finished result=success")
    running.restart()
    assert running.eval("code:root_dir()") == f'"{scene.place.tree("5.10.5")}"'
    assert ctl("status")[:2] == ["idle", "base 5.10.4, live 5.10.5, next boot 5.10.5"]
    assert ctl("logs-clear") == ["cleared all upgrade logs"]
