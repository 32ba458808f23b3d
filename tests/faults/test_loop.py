"""What the loop insists on, whatever the VM says: its order, what it reads back, what it must not touch."""

import shutil
from collections.abc import Callable

import msgspec
import pytest

from engine.cleaning import removable
from engine.errors import (
    BetweenReleases,
    ConnectionsLost,
    Interrupted,
    NodeUnreachable,
    RelupError,
    RolledBack,
)
from engine.looks import looks_done, looks_untouched
from engine.node import door
from engine.state import Phase
from engine.steps import RestartApplication, from_record
from engine.survey import UpgradeOpen
from engine.truth import versions
from fixtures.build import Built
from journal.events import (
    NodeRestarted,
    RollbackFinished,
    StepFailed,
    StepOutcomeUnknown,
    StepStarted,
    StepSucceeded,
    UpgradeFailed,
)
from journal.reader import read
from tests.fake_node import FakeNode, FakeProcess, FakeVm, ToolDies, VmDies
from tests.faults.memory import MakeMemoryNode, MemoryNode
from tests.torture.oracle import TARGET, require_one_release

PLANNED = 7
"""How many entries are written when the plan is."""
LAST_LIVE_STEP_DONE = 19
"""How many entries are written when the last live step of the reversible hop is done."""
LAST_LIVE_POINT = "started emqx_retainer"
"""The VM passes it when everything of the reversible hop is live; undoing the restart passes it again."""


@pytest.fixture
def node(memory_node: MakeMemoryNode, releases: Built) -> MemoryNode:
    """A fresh one, on the hop that can be undone."""
    return memory_node(releases.reversible_catalog)


def once(name: str, act: Callable[[], object]) -> Callable[[str], None]:
    """What `FakeVm.at_point` calls: does something the first time the VM passes a point of that name."""
    left = [act]

    def at_point(passed: str) -> None:
        if passed == name and left:
            left.pop()()

    return at_point


def undone_for(node: MemoryNode, name: str) -> RelupError:
    """The error of an upgrade that was rolled back for a reason of that name."""
    with pytest.raises(RolledBack) as raised:
        node.upgrade()
    assert raised.value.name == name
    return raised.value


def die() -> None:
    raise ToolDies


@pytest.mark.parametrize(
    ("point", "step"),
    [
        ("path set", "SetCodePath"),
        ("switched emqx_topic", "LoadModules"),
        ("suspended emqx_metrics", "ChangeCode"),
        ("stopped emqx_retainer", "RestartApplication"),
    ],
)
def test_what_the_tool_was_about_to_do_when_it_died_is_in_the_journal(
    node: MemoryNode, point: str, step: str
) -> None:
    """The start of a step is on disk before the VM is touched."""
    node.vm.at_point = once(point, die)
    with pytest.raises(ToolDies):
        node.upgrade()
    last = node.entries()[-1].event
    assert isinstance(last, StepStarted)
    assert (last.name, last.direction) == (step, "do")


def test_an_upgrade_is_refused_while_another_has_not_ended(node: MemoryNode) -> None:
    """Not even an entry is written; recover is named."""
    node.lose_the_node_at("switched emqx_metrics")
    with pytest.raises(NodeUnreachable):
        node.upgrade()
    node.find_the_node()
    written = len(node.entries())
    with pytest.raises(UpgradeOpen, match="has not ended") as raised:
        node.upgrade()
    assert "relup recover" in raised.value.next
    assert len(node.entries()) == written


def test_a_callback_whose_end_nobody_heard_is_asked_for_and_not_called_again(
    memory_node: MakeMemoryNode, releases: Built
) -> None:
    """The connection broke under it; the agent knows, and recovery writes down what it says."""
    node = memory_node(releases.catalog)
    node.lose_the_node_at("called emqx_post_upgrade:limit_topic_levels")
    with pytest.raises(NodeUnreachable):
        node.upgrade()
    node.find_the_node()
    node.recover()
    assert node.vm.calls == ["emqx_post_upgrade:limit_topic_levels", "emqx_post_upgrade:count_connections"]
    require_one_release(node.vm, node.root, at_target=True)


def test_a_callback_whose_module_has_gone_is_not_called_and_all_is_undone(
    memory_node: MakeMemoryNode, releases: Built
) -> None:
    """Nothing has run that could not be undone: this is not past the point of no return."""
    node = memory_node(releases.catalog)

    def unload(title: str) -> None:
        if title.startswith("callback"):
            node.vm.modules.pop("emqx_post_upgrade")

    node.notes.at_step = unload
    undone_for(node, "post_upgrade_module_not_loaded")
    assert node.vm.calls == []
    require_one_release(node.vm, node.root, at_target=False)


# ---------------------------------------------------------------- reading back


def test_a_module_that_is_not_live_after_its_load_undoes_the_hop(node: MemoryNode) -> None:
    """The agent said that it was switched; the VM says otherwise."""
    old = node.vm.modules["emqx_topic"]
    node.vm.at_point = once(LAST_LIVE_POINT, lambda: node.vm.modules.update(emqx_topic=old))
    assert "emqx_topic runs" in undone_for(node, "verification_failed").happened
    require_one_release(node.vm, node.root, at_target=False)


def test_a_process_that_is_suspended_after_the_hop_undoes_it(node: MemoryNode) -> None:
    """Whoever suspended it: a node on which somebody stands still is not upgraded."""
    process = somebody_stands_still(node, LAST_LIVE_POINT)
    told_later(node.vm, door.SetCodePath, lambda: setattr(process, "suspended", False), nth=2)
    assert f"{process.pid} (emqx_cm:init/1) is suspended" in undone_for(node, "verification_failed").happened


def somebody_stands_still(node: MemoryNode, point: str) -> FakeProcess:
    """A process that no step touches is suspended by somebody else when the VM passes that point."""
    process = next(p for p in node.vm.processes.values() if p.module == "emqx_cm")

    def suspend() -> None:
        process.suspended = True

    node.vm.at_point = once(point, suspend)
    return process


def test_an_application_that_does_not_run_after_its_restart_undoes_the_hop(node: MemoryNode) -> None:
    """It ended again behind the agent's back."""

    def stop() -> None:
        node.vm.at_point = lambda _: None
        node.vm.applications["emqx_retainer"] = door.Application(version="5.0.26", running=False)

    told_later(node.vm, door.RestartApplication, stop)
    assert "application emqx_retainer 5.0.26 does not run" in undone_for(node, "verification_failed").happened
    require_one_release(node.vm, node.root, at_target=False)


def told_later(vm: FakeVm, order: type[door.StepOrder], act: Callable[[], object], *, nth: int = 1) -> None:
    """Something happens in the VM right after the nth order of a kind was carried out."""
    do, seen = vm.do, [0]

    def carried_out(given: door.StepOrder) -> door.StepReport:
        report = do(given)
        seen[0] += isinstance(given, order)
        if isinstance(given, order) and seen[0] == nth:
            act()
        return report

    vm.do = carried_out  # type: ignore[assignment,method-assign]


def test_connections_that_the_hop_has_ended_undo_it(node: MemoryNode) -> None:
    """One more than the operator accepts, which is none."""
    losing_a_client_in(node.vm, door.ChangeCode)
    assert "car-7" in undone_for(node, "connections_lost").happened
    require_one_release(node.vm, node.root, at_target=False)


@pytest.mark.parametrize("reason", ["normal", "shutdown", "{shutdown,tcp_closed}"])
def test_a_client_that_leaves_in_the_middle_of_a_hop_undoes_nothing(node: MemoryNode, reason: str) -> None:
    """Its connection was closed: the hop has not ended it, and not one is accepted to be lost."""
    losing_a_client_in(node.vm, door.ChangeCode, reason=reason)
    node.upgrade()
    require_one_release(node.vm, node.root, at_target=True)


def losing_a_client_in(vm: FakeVm, order: type[door.StepOrder], *, reason: str = "badmatch") -> None:
    """Each step of a kind ends a client's connection."""
    do = vm.do
    gone = door.Ended(pid="<0.9.0>", name="emqx_connection:init/2", reason=reason, client_id="car-7")

    def losing(given: door.StepOrder) -> door.StepReport:
        report = do(given)
        if isinstance(given, order) and isinstance(report, door.StepDone):
            return msgspec.structs.replace(report, ended=(gone,))
        return report

    vm.do = losing  # type: ignore[assignment,method-assign]


def test_connections_lost_in_the_last_live_step_undo_it_also_when_the_tool_died_there(
    node: MemoryNode,
) -> None:
    """Recovery counts what the journal says the hop has ended, whoever walked the steps."""
    losing_a_client_in(node.vm, door.RestartApplication)
    node.stop_at, node.requests = LAST_LIVE_STEP_DONE, 2
    with pytest.raises(BetweenReleases):
        node.upgrade()
    last = node.entries()[-2].event
    assert isinstance(last, StepSucceeded)
    assert last.evidence.ended
    node.stop_at = None
    with pytest.raises(RolledBack, match="car-7"):
        node.recover()
    require_one_release(node.vm, node.root, at_target=False)


def test_connections_lost_past_the_point_of_no_return_stop_nothing_and_are_no_success(
    memory_node: MakeMemoryNode, releases: Built
) -> None:
    """Stopping would bring nobody back, and would leave the node between releases at each step anew."""
    node = memory_node(releases.catalog)
    losing_a_client_in(node.vm, door.CallFunction)
    with pytest.raises(ConnectionsLost, match="car-7"):
        node.upgrade()
    require_one_release(node.vm, node.root, at_target=True)
    assert node.phase is Phase.SUCCEEDED


def test_a_step_that_has_undone_itself_is_not_undone_again(node: MemoryNode) -> None:
    """The agent took the failed update back; the journal says so, and the rollback passes it by."""
    for process in node.vm.processes.values():
        if process.module == "emqx_connection":
            process.trouble["up"] = "crash"
    undone_for(node, "code_change_failed")
    events = [entry.event for entry in node.entries()]
    failed = next(event for event in events if isinstance(event, StepFailed))
    assert failed.reverted
    undone = {event.step for event in events if isinstance(event, StepStarted) and event.direction == "undo"}
    assert failed.step not in undone
    assert isinstance(
        next(event for event in events if isinstance(event, RollbackFinished)), RollbackFinished
    )


def test_a_node_that_cannot_be_read_back_undoes_the_hop(node: MemoryNode) -> None:
    """It answers, but with an exception: it is not lost, and the step has failed."""

    def ask(title: str) -> None:
        node.raises_in = "suspended" if title == "verify node" else None

    node.notes.at_step = ask
    undone_for(node, "remote_exception")
    require_one_release(node.vm, node.root, at_target=False)


def test_a_node_that_does_not_count_its_clients_is_upgraded_all_the_same(node: MemoryNode) -> None:
    """The number is shown; nothing rests on it."""

    def ask(title: str) -> None:
        node.raises_in = "connections"

    node.notes.at_step = ask
    state = node.upgrade()
    assert state.summary is not None
    assert state.summary.connections_after is None


# ---------------------------------------------------------------- looking at a restart


def of_two_sides(step: RestartApplication, *, same_code: bool, same_version: bool) -> RestartApplication:
    """The restart that was done, as one whose two sides do not differ in the one or the other."""
    replace = msgspec.structs.replace
    changes = [replace(change, from_md5=change.to_md5) if same_code else change for change in step.modules]
    old_app_file = step.new_app_file if same_version else step.old_app_file
    return replace(step, modules=tuple(changes), old_app_file=old_app_file)


@pytest.mark.parametrize("same_version", [False, True])
@pytest.mark.parametrize("same_code", [False, True])
def test_a_restart_is_seen_only_where_its_two_sides_differ(
    node: MemoryNode, same_code: bool, same_version: bool
) -> None:
    """A dependent that is the same in both releases looks restarted before it was, and undone as well."""
    node.upgrade()
    with node.in_hand() as run:
        done = next(s for r in run.state.records if isinstance(s := from_record(r), RestartApplication))
        step = of_two_sides(done, same_code=same_code, same_version=same_version)
        assert looks_done(run, step, "do") is not (same_code and same_version)
        assert not looks_done(run, step, "undo")
        assert not looks_untouched(run, step)


def test_an_application_that_stands_still_is_not_seen_to_be_restarted(node: MemoryNode) -> None:
    """All its new modules are live, and it does not run."""
    node.upgrade()
    version = node.vm.applications["emqx_retainer"].version
    node.vm.applications["emqx_retainer"] = door.Application(version=version, running=False)
    with node.in_hand() as run:
        step = next(s for r in run.state.records if isinstance(s := from_record(r), RestartApplication))
        assert not looks_done(run, step, "do")


# ---------------------------------------------------------------- undoing


def test_a_rollback_kills_nobody_whatever_the_hop_was_allowed_to(node: MemoryNode) -> None:
    """--kill-blockers was said to go on, not to come back."""
    do, seen = node.vm.do, []

    def failing(order: door.StepOrder) -> door.StepReport:
        if isinstance(order, door.RestartApplication):
            return door.StepNotDone(name="failed_to_start_app", detail="planted", reverted=True)
        if isinstance(order, door.LoadModules | door.ChangeCode):
            seen.append(order.kill_blockers)
        return do(order)

    node.vm.do = failing  # type: ignore[method-assign]
    with pytest.raises(RolledBack):
        node.upgrade(kill_blockers=True)
    assert seen == [True] * 3 + [False] * 3, "one load and two updates, each way"


def test_old_code_that_is_not_live_after_a_rollback_is_told(node: MemoryNode) -> None:
    """Every step was undone, and still the VM does not run the old release: that is no success."""
    node.upgrade()
    new = node.vm.modules["emqx_topic"]
    told_later(node.vm, door.SetCodePath, lambda: node.vm.modules.update(emqx_topic=new))
    with pytest.raises(
        BetweenReleases, match="After the rollback the node is not as it was before the hop: emqx_topic"
    ):
        node.roll_back()
    assert node.phase is Phase.BETWEEN


def test_an_application_that_does_not_run_after_a_rollback_is_told(node: MemoryNode) -> None:
    """Its old modules are all live, but it has ended again behind the agent's back."""
    node.upgrade()

    def stop() -> None:
        version = node.vm.applications["emqx_retainer"].version
        node.vm.applications["emqx_retainer"] = door.Application(version=version, running=False)

    told_later(node.vm, door.SetCodePath, stop)
    with pytest.raises(BetweenReleases, match=r"application emqx_retainer [\d.]+ does not run"):
        node.roll_back()
    assert node.phase is Phase.BETWEEN


def test_an_application_that_runs_in_the_new_version_after_a_rollback_is_told(node: MemoryNode) -> None:
    """It runs, but what the VM takes it for is the target's."""
    node.upgrade()
    new = node.vm.applications["emqx_retainer"]
    told_later(node.vm, door.SetCodePath, lambda: node.vm.applications.update(emqx_retainer=new))
    with pytest.raises(BetweenReleases, match=r"application emqx_retainer [\d.]+ does not run"):
        node.roll_back()


def test_a_process_that_is_suspended_after_a_rollback_is_told_until_it_is_resumed(node: MemoryNode) -> None:
    """The old code is live, but somebody stands still; recover looks again and ends it."""
    process = somebody_stands_still(node, LAST_LIVE_POINT)
    with pytest.raises(BetweenReleases, match="is suspended"):
        node.upgrade()
    assert node.phase is Phase.BETWEEN
    process.suspended = False
    node.recover("undo")
    assert not node.is_open
    require_one_release(node.vm, node.root, at_target=False)


def test_a_vm_that_dies_before_its_sides_are_asked_for_hides_no_failure(
    memory_node: MakeMemoryNode, releases: Built
) -> None:
    """A callback fails and takes the VM with it: the failure is recorded and told, the sides are unknown."""
    node = memory_node(releases.catalog)
    node.vm.failing = {"emqx_post_upgrade:limit_topic_levels"}
    told_later(node.vm, door.CallFunction, node.vm.die)
    with pytest.raises(BetweenReleases) as raised:
        node.upgrade()
    assert raised.value.name == "call_failed"
    assert (raised.value.runs_now or "").startswith("unknown: the node could not be asked")
    ended = node.entries()[-1].event
    assert isinstance(ended, UpgradeFailed)
    assert (ended.failure.name, ended.on_old, ended.on_new) == ("call_failed", (), ())
    node.vm.start()
    node.recover()
    require_one_release(node.vm, node.root, at_target=False)


def test_a_vm_that_dies_before_its_rollback_hides_no_failure(node: MemoryNode) -> None:
    """The step that was to be undone is begun and lost in the journal; the error says why it was."""

    def failing(order: door.StepOrder) -> door.StepReport:
        if not isinstance(order, door.RestartApplication):
            return do(order)
        node.vm.die()
        return door.StepNotDone(name="failed_to_start_app", detail="planted", reverted=False)

    do = node.vm.do
    node.vm.do = failing  # type: ignore[method-assign]
    with pytest.raises(NodeUnreachable) as raised:
        node.upgrade()
    assert "undone because: planted" in raised.value.happened
    last = node.entries()[-1].event
    assert isinstance(last, StepOutcomeUnknown)
    assert (last.name, last.direction) == ("RestartApplication", "undo")


def restart(vm: FakeVm) -> None:
    """The node's supervisor starts it again at once."""
    vm.die()
    vm.start()


def test_the_code_of_a_vm_that_was_started_meanwhile_ends_no_step(node: MemoryNode) -> None:
    """The VM dies under the step that is undone, and another one, on the old release, answers in its place."""
    node.upgrade()

    def die_and_come_back() -> None:
        restart(node.vm)
        raise VmDies

    node.vm.at_point = once("path set", die_and_come_back)
    node.vm.die = node.vm.start  # type: ignore[method-assign]
    with pytest.raises(NodeUnreachable):
        node.roll_back()
    assert isinstance(node.entries()[-1].event, StepOutcomeUnknown)
    node.recover("undo")
    assert any(isinstance(entry.event, NodeRestarted) for entry in node.entries())
    require_one_release(node.vm, node.root, at_target=False)


def test_the_code_of_a_vm_that_was_started_meanwhile_is_no_rollback(node: MemoryNode) -> None:
    """It boots the old release, and nobody undid anything in it."""
    node.upgrade()
    told_later(node.vm, door.SetCodePath, lambda: restart(node.vm))
    with pytest.raises(NodeUnreachable, match="has ended; another one runs"):
        node.roll_back()
    assert node.is_open
    node.recover("undo")
    assert any(isinstance(entry.event, NodeRestarted) for entry in node.entries())


def test_a_tree_that_boots_next_is_not_removed_by_a_rollback(node: MemoryNode) -> None:
    """Somebody wrote the marker again while the hop was being undone."""
    node.upgrade()
    told_later(node.vm, door.SetCodePath, lambda: node.place.marker.write_text(TARGET))
    with pytest.raises(BetweenReleases) as raised:
        node.roll_back()
    assert raised.value.name == "tree_in_use"
    assert node.place.tree(TARGET).exists()


def test_a_rollback_takes_the_marker_back(node: MemoryNode) -> None:
    """The next start boots the old release."""
    node.upgrade()
    assert node.place.marker.read_text() == TARGET
    node.roll_back()
    assert not node.place.marker.exists()
    require_one_release(node.vm, node.root, at_target=False)


def test_clean_leaves_an_open_upgrade_its_staging_and_the_manifest_of_it(node: MemoryNode) -> None:
    """Without the manifest beside it recovery could not tell a whole staging from a torn one."""
    node.stop_at, node.requests = PLANNED, 2
    with pytest.raises(Interrupted):
        node.upgrade()
    assert node.place.staging(node.entries()[-1].upgrade_id or "").exists()
    found = removable(node.place, versions(node.place, FakeNode(node.vm)), read(node.place.journal))
    assert found == []


def test_clean_offers_no_tree_that_runs_or_boots_next(node: MemoryNode) -> None:
    """One that nothing needs is offered all the same."""
    node.upgrade()
    spare = node.place.tree("5.10.3")
    shutil.copytree(node.place.tree(TARGET), spare)
    node.vm.die()
    node.vm.start()
    found = removable(node.place, versions(node.place, FakeNode(node.vm)), read(node.place.journal))
    assert [each.path for each in found] == [spare]
