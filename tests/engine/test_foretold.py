"""What a plan foretells, on a real node with real MQTT clients: refused, and when it is run anyway, it happens."""

from collections import Counter
from pathlib import Path

import pytest

from engine.errors import RolledBack
from engine.release.comparison import compare_trees
from engine.release.draft import draft_hop
from engine.release.findings import UnsafeHop
from engine.release.hop import Update, read_hop
from engine.release.tree import ReleaseTree
from engine.state import Phase
from fixtures.build import Built
from fixtures.clients import Swarm
from fixtures.variants import BuiltVariant, Variant, build_variant
from journal.events import StepFailed, StepSucceeded, UpgradeSucceeded
from tests.boundaries.stage import Wrong, eventually
from tests.engine.scene import Scene
from tests.engine.witness import assert_runs, live_md5s, md5s_of
from tests.releases import NodeFactory

CLIENTS, IDLE = 20, 10
COSTLY = "restart_ends_clients:emqx"
FINDING = "record_changed:emqx_channel:channel"

LOST_A_FIELD = Variant(
    "channel-lost-a-field",
    "A record that the connections hold loses a field; the hop only reloads its module.",
    sources={
        "emqx/src/emqx_channel.erl": (
            ("    keepalive = 0 :: non_neg_integer(),\n", ""),
            ("keepalive(#channel{keepalive = Seconds}) -> Seconds.", "keepalive(#channel{}) -> 0."),
            ("#{clientid := Wish, keepalive := Seconds}}, #channel", "#{clientid := Wish}}, #channel"),
            ("#channel{clientid = ClientId, keepalive = Seconds}", "#channel{clientid = ClientId}"),
        )
    },
)


@pytest.fixture
def lost_a_field(releases: Built) -> BuiltVariant:
    return build_variant(releases, LOST_A_FIELD)


def require_cut_off(swarm: Swarm, least: int) -> None:
    """So many clients have lost their connection.

    Raises:
        Wrong: They are fewer.
    """
    if (found := swarm.report().disconnects) < least:
        raise Wrong(f"{found} clients were cut off")


def ended(scene: Scene) -> list[tuple[str | None, str]]:
    """Clients and reasons of all whom the steps say to have ended."""
    events = [entry.event for entry in scene.entries()]
    steps = [event for event in events if isinstance(event, StepSucceeded | StepFailed)]
    return [(process.client_id, process.reason) for event in steps for process in event.evidence.ended]


def drafted(old: Path, new: Path, catalog: Path) -> Path:
    """A catalog with nothing but the drafted hop."""
    text = draft_hop(compare_trees(ReleaseTree.read(old), ReleaseTree.read(new)))
    catalog.mkdir()
    (catalog / "5.10.4-to-5.10.5.relup").write_text(text)
    return catalog


def test_a_record_that_live_connections_hold_refuses_the_hop(
    node: NodeFactory, lost_a_field: BuiltVariant
) -> None:
    """The refusal names record, field, modules and the number of live processes; the node is as it was."""
    running = node()
    scene = Scene(node=running, catalog=lost_a_field.catalog)
    with Swarm(running.mqtt_port, count=CLIENTS, idle=IDLE, interval_ms=200) as swarm:
        before = live_md5s(running)
        with pytest.raises(UnsafeHop) as refused:
            scene.upgrade(lost_a_field.tarball)
        for words in (FINDING, "#channel{} lost keepalive", f"{CLIENTS} live processes of emqx_connection"):
            assert words in refused.value.happened
        assert f"--allow {FINDING}" in refused.value.next
        assert live_md5s(running) == before
        report = swarm.stop()
    assert (report.connected, report.lost) == (CLIENTS, 0)


def test_when_it_is_run_anyway_the_foretold_crash_happens(
    node: NodeFactory, lost_a_field: BuiltVariant
) -> None:
    """With the finding waived, every connection that is not idle crashes on its next packet.

    The new code is watched while it serves, so the hop is undone, and the journal names the clients.
    """
    running = node()
    scene = Scene(node=running, catalog=lost_a_field.catalog)
    with Swarm(running.mqtt_port, count=CLIENTS, idle=IDLE, interval_ms=200) as swarm:
        before = live_md5s(running)
        with pytest.raises(RolledBack) as raised:
            scene.upgrade(lost_a_field.tarball, waivers=(FINDING,), watch_ms=60_000)
        assert raised.value.name == "connections_lost"
        assert live_md5s(running) == before
        require_cut_off(swarm, 1)
    assert all("\n" not in reason for _, reason in ended(scene)), "one line for people"
    crashed = [client for client, reason in ended(scene) if "emqx_channel" in reason]
    assert crashed
    assert all(client is not None and client.startswith("swarm-") for client in crashed)


def test_the_drafted_hop_for_the_same_pair_restarts_the_application_and_counts_who_was_cut_off(
    node: NodeFactory, releases: Built, lost_a_field: BuiltVariant, tmp_path: Path
) -> None:
    """Nothing migrates the record, so nothing less will do; every client that it costs is in the journal."""
    running = node()
    catalog = drafted(releases.tree("5.10.4"), lost_a_field.tree, tmp_path / "drafted")
    hop = read_hop(catalog / "5.10.4-to-5.10.5.relup")
    assert hop.restarted() == ("emqx", "emqx_retainer"), "what stands on emqx starts again after it"
    scene = Scene(node=running, catalog=catalog)
    with Swarm(running.mqtt_port, count=CLIENTS, idle=IDLE, interval_ms=200) as swarm:
        done = scene.upgrade(lost_a_field.tarball, max_lost=CLIENTS)
        assert done.phase == Phase.SUCCEEDED
        eventually(lambda: require_cut_off(swarm, CLIENTS))
    last = next(e.event for e in reversed(scene.entries()) if isinstance(e.event, UpgradeSucceeded))
    assert last.connections_before == CLIENTS
    assert last.connections_after == 0
    assert Counter(process.reason for process in last.ended if process.client_id) == {
        "stopped: emqx was restarted": CLIENTS
    }
    assert live_md5s(running) == md5s_of(lost_a_field.tree, loaded_in=running)
    with Swarm(running.mqtt_port, count=2, idle=0, interval_ms=100) as again:
        assert again.stop().lost == 0


def test_a_restart_that_costs_clients_is_refused_unless_they_are_accepted(
    node: NodeFactory, releases: Built, lost_a_field: BuiltVariant, tmp_path: Path
) -> None:
    """Before anybody is cut off; where the finding is allowed and the loss is not, the hop is undone."""
    running = node()
    catalog = drafted(releases.tree("5.10.4"), lost_a_field.tree, tmp_path / "drafted")
    scene = Scene(node=running, catalog=catalog)
    before = live_md5s(running)
    with Swarm(running.mqtt_port, count=CLIENTS, idle=IDLE, interval_ms=200) as swarm:
        for accepted in (0, CLIENTS - 1):
            with pytest.raises(UnsafeHop, match=f"{COSTLY}.*{CLIENTS} of {CLIENTS} clients"):
                scene.upgrade(lost_a_field.tarball, max_lost=accepted)
        assert swarm.report().disconnects == 0
        with pytest.raises(RolledBack, match=f"has ended {CLIENTS} client connections") as raised:
            scene.upgrade(lost_a_field.tarball, waivers=(COSTLY,))
    assert raised.value.name == "connections_lost"
    assert live_md5s(running) == before


def test_a_drafted_hop_upgrades_the_node_and_loses_nobody(
    node: NodeFactory, releases: Built, tmp_path: Path
) -> None:
    """5.10.4 to 5.10.5 as the tool wrote it: states migrated, every changed module switched."""
    running = node()
    catalog = drafted(releases.tree("5.10.4"), releases.tree("5.10.5"), tmp_path / "drafted")
    hop = read_hop(catalog / "5.10.4-to-5.10.5.relup")
    assert {i.module for i in hop.instructions if isinstance(i, Update)} == {
        "emqx_metrics",
        "emqx_connection",
    }
    scene = Scene(node=running, catalog=catalog)
    with Swarm(running.mqtt_port, count=CLIENTS, idle=IDLE, interval_ms=200) as swarm:
        assert scene.upgrade(releases.tarball("5.10.5")).phase == Phase.SUCCEEDED
        assert_runs(running, "5.10.5", built=releases, connections=CLIENTS)
        report = swarm.stop()
    assert (report.connected, report.lost) == (CLIENTS, 0)
