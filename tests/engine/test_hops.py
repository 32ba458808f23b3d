"""Real hops on a real node with real MQTT clients: the node, its files and the journal afterwards."""

import shutil
from collections.abc import Iterable

import pytest

from engine.errors import PastNoReturn, RelupError, RolledBack
from engine.state import Phase
from fixtures.broken import CRASH_ME, build_broken
from fixtures.build import Built
from fixtures.clients import Swarm
from fixtures.variants import build_hop_package
from journal.events import (
    Entry,
    NodeObserved,
    PlanResolved,
    StepStarted,
    StepSucceeded,
    UpgradeFailed,
    UpgradeId,
    UpgradeSucceeded,
)
from tests.engine.scene import Scene
from tests.engine.witness import assert_deployed, assert_runs, code_path, live_md5s
from tests.releases import NodeFactory

CLIENTS, IDLE = 30, 15
FIRST_CALLS = '{limit_topic_levels,"5.10.4",16},{count_connections,"5.10.4"}'
SECOND_CALLS = '{rename_owner,"5.10.5",emqx,broker},{count_connections,"5.10.5"}'
PENDING = "hot-upgraded to {}; pending on restart to boot from the new version"


def events_of(entries: Iterable[Entry], upgrade_id: UpgradeId) -> list[object]:
    return [entry.event for entry in entries if entry.upgrade_id == upgrade_id]


def assert_traced(scene: Scene, upgrade_id: UpgradeId, *, previous_marker: str | None) -> None:
    """Every step of the plan was begun, then done, in order and once; the survivors were counted."""
    events = events_of(scene.entries(), upgrade_id)
    (plan,) = (event for event in events if isinstance(event, PlanResolved))
    numbers = [1, 2, *(step.number for step in plan.steps)]
    walked = [event for event in events if isinstance(event, StepStarted | StepSucceeded)]
    assert [event.step for event in walked] == [number for number in numbers for _ in "io"]
    assert [type(event) for event in walked] == [StepStarted, StepSucceeded] * len(numbers)
    assert {(event.attempt, event.direction) for event in walked} == {(1, "do")}
    assert plan.previous_marker == previous_marker
    assert isinstance(events[1], NodeObserved)
    ended = events[-1]
    assert isinstance(ended, UpgradeSucceeded)
    assert (events[1].connections, ended.connections_before, ended.connections_after) == (CLIENTS,) * 3
    assert ended.ended == ()
    assert ended.worst_suspend_us


def test_two_hops_without_a_restart_between(node: NodeFactory, releases: Built) -> None:
    """5.10.4 to 5.10.6 in one VM under clients; then the marker, the log and a restart tell the same."""
    running = node()
    scene = Scene(node=running, catalog=releases.catalog)
    with Swarm(running.mqtt_port, count=CLIENTS, idle=IDLE, interval_ms=200) as swarm:
        first = scene.upgrade(releases.tarball("5.10.5"))
        assert first.phase == Phase.SUCCEEDED
        assert_runs(running, "5.10.5", built=releases, connections=CLIENTS)
        assert_deployed(running, "5.10.5", built=releases)
        assert running.eval("emqx_post_upgrade:done()") == f"[{FIRST_CALLS}]"
        assert running.eval("emqx_limits:topic_levels()") == "16"
        path = code_path(running)
        assert (path["emqx"], path["emqx_retainer"]) == ("relup/5.10.5", "relup/5.10.5")
        assert (path["emqx_conf"], path["kernel"]) == (".", ".")
        assert scene.answer("status")["status"] == PENDING.format("5.10.5")

        second = scene.upgrade(releases.tarball("5.10.6"))
        assert_runs(running, "5.10.6", built=releases, connections=CLIENTS)
        assert_deployed(running, "5.10.6", built=releases)
        assert running.eval("emqx_post_upgrade:done()") == f"[{FIRST_CALLS},{SECOND_CALLS}]"
        assert running.eval("maps:get(owner, emqx_metrics:info())") == "broker"
        assert running.eval("emqx_bpapi:announced()") == f"[{{'{running.name}',emqx}}]"
        assert code_path(running)["emqx"] == "relup/5.10.6"
        assert running.eval("emqx_stats:getstat('connections.count')") == str(CLIENTS)
        report = swarm.stop()
    assert (report.connected, report.disconnects, report.lost) == (CLIENTS, 0, 0)
    assert report.published > 0
    assert_traced(scene, first.upgrade_id, previous_marker=None)
    assert_traced(scene, second.upgrade_id, previous_marker="5.10.5")
    assert_told_until_the_restart(scene, releases)


def assert_told_until_the_restart(scene: Scene, built: Built) -> None:
    """What stands is kept by logs-clear and not done twice; the restart boots it and makes it history."""
    running = scene.node
    status = scene.relup("status").stdout.splitlines()
    assert status == [PENDING.format("5.10.6"), "base 5.10.4, live 5.10.6, next boot 5.10.6"]
    with pytest.raises(RelupError) as again:
        scene.upgrade(built.tarball("5.10.6"))
    assert again.value.name == "duplicate_pending_target"
    with pytest.raises(PastNoReturn):
        scene.roll_back()
    assert_runs(running, "5.10.6", built=built, connections=0)
    assert scene.answer("logs-clear")["kept_upgrades"] >= 2
    assert scene.relup("status").stdout.splitlines() == status

    running.restart()
    assert_runs(running, "5.10.6", built=built, connections=0)
    assert running.eval("code:root_dir()") == f'"{scene.place.tree("5.10.6")}"'
    assert scene.relup("status").stdout.splitlines() == [
        "idle",
        "base 5.10.4, live 5.10.6, next boot 5.10.6",
    ]
    assert scene.relup("logs-clear").stdout == "cleared all upgrade logs\n"
    assert scene.relup("logs").stdout == "no upgrade history on this node\n"


def test_two_hops_with_a_restart_between(node: NodeFactory, releases: Built) -> None:
    """The second target lies beside the first, not inside it, and the base stays the authority."""
    running = node()
    scene = Scene(node=running, catalog=releases.catalog)
    scene.upgrade(releases.tarball("5.10.5"))
    running.restart()
    assert running.eval("code:root_dir()") == f'"{scene.place.tree("5.10.5")}"'
    assert_runs(running, "5.10.5", built=releases, connections=0)
    with Swarm(running.mqtt_port, count=CLIENTS, idle=IDLE, interval_ms=200) as swarm:
        second = scene.upgrade(releases.tarball("5.10.6"))
        assert_runs(running, "5.10.6", built=releases, connections=CLIENTS)
        report = swarm.stop()
    assert (report.connected, report.lost) == (CLIENTS, 0)
    assert_traced(scene, second.upgrade_id, previous_marker="5.10.5")
    assert_deployed(running, "5.10.6", built=releases)
    assert not (scene.place.tree("5.10.5") / "relup").exists()
    path = code_path(running)
    assert (path["emqx"], path["emqx_conf"]) == ("relup/5.10.6", "relup/5.10.5")
    assert scene.relup("status").stdout.splitlines() == [
        PENDING.format("5.10.6"),
        "base 5.10.4, live 5.10.6, next boot 5.10.6",
    ]
    running.restart()
    assert running.eval("code:root_dir()") == f'"{scene.place.tree("5.10.6")}"'
    assert_runs(running, "5.10.6", built=releases, connections=0)


def test_a_target_that_was_booted_is_not_pending_any_more(node: NodeFactory, releases: Built) -> None:
    """The node runs it: nobody is told to restart into it."""
    running = node()
    scene = Scene(node=running, catalog=releases.catalog)
    scene.upgrade(releases.tarball("5.10.5"))
    running.restart()
    with pytest.raises(RelupError) as refused:
        scene.upgrade(releases.tarball("5.10.5"))
    assert refused.value.name == "already_upgraded_to_target_vsn"


def test_two_hops_are_undone_one_after_the_other(node: NodeFactory, releases: Built) -> None:
    """Each rollback leads to the release before, under clients; what is left stands and can be read back."""
    running = node()
    scene = Scene(node=running, catalog=releases.reversible_catalog)
    before, path_before = live_md5s(running), code_path(running)
    with Swarm(running.mqtt_port, count=CLIENTS, idle=IDLE, interval_ms=200) as swarm:
        scene.upgrade(releases.tarball("5.10.5"))
        scene.upgrade(releases.tarball("5.10.6"))
        with pytest.raises(RelupError):
            scene.upgrade(releases.tarball("5.10.4"))

        assert scene.roll_back().phase == Phase.ENDED
        assert_runs(running, "5.10.5", built=releases, connections=CLIENTS)
        assert_deployed(running, "5.10.5", built=releases)
        assert not scene.place.tree("5.10.6").exists()
        assert scene.relup("status").stdout.splitlines() == [
            PENDING.format("5.10.5"),
            "base 5.10.4, live 5.10.5, next boot 5.10.5",
        ]
        verified = scene.relup("verify")
        assert (verified.returncode, verified.stdout[:15]) == (0, "verified 5.10.5")

        scene.roll_back()
        assert_runs(running, "5.10.4", built=releases, connections=CLIENTS)
        report = swarm.stop()
    assert (report.connected, report.lost) == (CLIENTS, 0)
    assert (live_md5s(running), code_path(running)) == (before, path_before)
    assert not scene.place.marker.exists()
    assert not scene.place.tree("5.10.5").exists()
    assert scene.answer("status")["status"] == "idle"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("beam-garbled", "load_failed"),
        ("code-change-crashes", "code_change_failed"),
        ("app-does-not-start", "failed_to_start_app"),
    ],
)
def test_a_hop_that_fails_is_undone_and_nobody_is_lost(
    node: NodeFactory, releases: Built, name: str, error: str
) -> None:
    """Automatically, to the last md5; the journal says why, and the node can be upgraded afterwards."""
    running = node()
    broken = build_broken(releases, name)
    scene = Scene(node=running, catalog=broken.catalog)
    path = code_path(running)
    with Swarm(running.mqtt_port, count=CLIENTS, idle=IDLE, names=[CRASH_ME], interval_ms=200) as swarm:
        with pytest.raises(RolledBack) as failed:
            scene.upgrade(broken.tarball)
        assert failed.value.name == error
        assert failed.value.runs_now is not None
        assert_runs(running, "5.10.4", built=releases, connections=CLIENTS)
        assert code_path(running) == path
        assert sorted(p.name for p in scene.place.relup.iterdir()) == ["journal", "lock"]
        last = scene.entries()[-1].event
        assert isinstance(last, UpgradeFailed)
        assert (last.ended_as, last.failure.name) == ("rolled_back", error)

        scene.with_catalog(releases.reversible_catalog).upgrade(releases.tarball("5.10.5"))
        assert_runs(running, "5.10.5", built=releases, connections=CLIENTS)
        report = swarm.stop()
    assert (report.connected, report.lost) == (CLIENTS, 0)


def test_a_callback_that_only_the_hop_package_has_is_called(node: NodeFactory, releases: Built) -> None:
    """The package is installed as the official one is; its module is loaded before anything calls it."""
    running = node()
    package = build_hop_package(releases)
    shutil.copytree(package, running.root / "plugins" / package.name / package.name)
    Scene(node=running).upgrade(releases.tarball("5.10.5"))
    called = running.eval("persistent_term:get('emqx_post_upgrade_5.10.5')")
    assert called == '{greet,"5.10.4",world}'


def test_force_upgrades_beside_a_patch(node: NodeFactory, releases: Built) -> None:
    """The patches folder stays first in the code path; the patch stays where it is."""
    running = node()
    patch = running.root / "data" / "patches" / "emqx_broker.beam"
    shutil.copy(next(running.root.glob("lib/emqx-*/ebin/emqx_broker.beam")), patch)
    scene = Scene(node=running, catalog=releases.catalog)
    with pytest.raises(RelupError) as refused:
        scene.upgrade(releases.tarball("5.10.5"))
    assert refused.value.name == "patches_dir_not_empty"
    assert scene.upgrade(releases.tarball("5.10.5"), force=True).phase == Phase.SUCCEEDED
    assert_runs(running, "5.10.5", built=releases, connections=0)
    assert patch.exists()
    assert running.eval("hd(code:get_path())") == f'"{patch.parent}"'


SENDS_TO_A_SLOW_CLIENT = """
    Self = self(),
    Sender = spawn(fun() ->
        {ok, Listen} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
        {ok, Port} = inet:port(Listen),
        {ok, Client} = gen_tcp:connect("127.0.0.1", Port, [{active, false}]),
        {ok, Socket} = gen_tcp:accept(Listen),
        Self ! sending,
        [erlang:port_command(Socket, binary:copy(<<0>>, 1000000)) || _ <- lists:seq(1, 100)],
        gen_tcp:close(Client)
    end),
    receive sending -> ok end,
    Waits = fun W() ->
        {status, Now} = process_info(Sender, status),
        Now =:= suspended orelse begin timer:sleep(10), W() end
    end,
    Waits()
"""


def test_a_process_that_waits_for_a_slow_client_hinders_no_hop(node: NodeFactory, releases: Built) -> None:
    """The VM calls it suspended, but nobody has suspended it."""
    running = node()
    assert running.eval(SENDS_TO_A_SLOW_CLIENT) == "true"
    scene = Scene(node=running, catalog=releases.reversible_catalog)
    assert scene.upgrade(releases.tarball("5.10.5")).phase == Phase.SUCCEEDED
