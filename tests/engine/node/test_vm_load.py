"""LoadModules on a real node: what is switched, what is skipped, who is nudged, who is killed."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from engine.node.door import LoadModules, ModuleFile, StepDone, StepKey, StepNotDone, StepProgress
from engine.node.vm import Vm
from tests.engine.node.bare_node import BareNode
from tests.engine.node.watched_order import until

_steps = count(1)


def key() -> StepKey:
    return StepKey(upgrade_id="test", step=next(_steps), attempt=1, direction="do")


@pytest.fixture
def vm(node: BareNode) -> Iterator[Vm]:
    vm = node.vm()
    yield vm
    vm.close()


def load(vm: Vm, *files: ModuleFile, **options: object) -> object:
    return vm.perform(key(), LoadModules(modules=files, **options))  # type: ignore[arg-type]


def many(node: BareNode, folder: Path, names: int, version: int) -> tuple[ModuleFile, ...]:
    """Small modules m1, m2, … compiled on the node."""
    folder.mkdir()
    found = node.eval(
        """[begin
            {ok, M, Beam} = compile:forms([{attribute, 1, module, list_to_atom("m" ++ integer_to_list(N))},
                {attribute, 1, export, [{f, 0}]},
                {function, 1, f, 0, [{clause, 1, [], [], [{integer, 1, Version}]}]}]),
            File = filename:join(Folder, atom_to_list(M) ++ ".beam"),
            ok = file:write_file(File, Beam),
            {atom_to_binary(M), unicode:characters_to_binary(File), code:module_md5(Beam)}
        end || N <- lists:seq(1, Names)]""",
        Names=names,
        Version=version,
        Folder=str(folder).encode(),
    )
    return tuple(
        ModuleFile(module=module.decode(), file=file.decode(), md5=md5.hex()) for module, file, md5 in found
    )


def test_changed_modules_are_switched_and_live_ones_skipped(node: BareNode, vm: Vm) -> None:
    """What is live already is left alone, with its old slot."""
    node.eval("[code:ensure_loaded(M) || M <- [looper, store]]")
    report = load(vm, node.file("looper", "v2"), node.file("store", "v1"))
    assert isinstance(report, StepDone)
    assert (report.modules, report.skipped, report.batches) == (1, 1, 1)
    assert vm.module_md5s(["looper", "store"]) == {
        "looper": node.file("looper", "v2").md5,
        "store": node.file("store", "v1").md5,
    }
    assert node.eval("erlang:check_old_code(store)") == "false"


def test_progress_counts_the_modules_of_the_step_and_those_live_already_as_done(
    node: BareNode, vm: Vm
) -> None:
    """`3 of 3 modules`, though one had to be switched: whoever reads it compares with what the step is about."""
    node.eval("[code:ensure_loaded(M) || M <- [looper, store]]")
    files = (node.file("looper", "v2"), node.file("store", "v1"))
    seen: list[StepProgress] = []
    report = vm.perform(key(), LoadModules(modules=files), on_progress=seen.append)
    assert isinstance(report, StepDone)
    assert report.skipped == 1
    assert seen == [StepProgress(done=2, total=2, unit="modules")]


def test_many_modules_are_switched_in_growing_batches_with_progress(
    node: BareNode, vm: Vm, tmp_path: Path
) -> None:
    """Far fewer switches than modules, and the tool hears how far it is."""
    files = many(node, tmp_path / "many", 300, 1)
    seen: list[StepProgress] = []
    report = vm.perform(key(), LoadModules(modules=files), on_progress=seen.append)
    assert isinstance(report, StepDone)
    assert report.modules == 300
    assert report.batches < 100
    assert report.worst_stall_us > 0
    assert seen[-1] == StepProgress(done=300, total=300, unit="modules")
    assert node.eval("[m1:f(), m300:f()]") == [1, 1]


def test_a_budget_decides_how_large_the_batches_grow(node: BareNode, vm: Vm, tmp_path: Path) -> None:
    """One that is never met keeps them small, one that is never reached lets them double."""
    files = many(node, tmp_path / "many", 300, 1)
    report = load(vm, *files, max_stall_ms=0)
    assert isinstance(report, StepDone)
    assert report.batches >= 300 / 8
    report = load(vm, *many(node, tmp_path / "more", 300, 2), max_stall_ms=60_000)
    assert isinstance(report, StepDone)
    assert report.batches <= 7  # 1, 8, 16, 32, 64, 128, 51


def test_a_bad_beam_is_refused_before_anything_is_switched(node: BareNode, vm: Vm, tmp_path: Path) -> None:
    """A file that is no beam, or not the planned one, or missing: nothing was loaded."""
    node.eval("code:ensure_loaded(looper)")
    good, torn = node.file("looper", "v2"), tmp_path / "store.beam"
    torn.write_bytes(b"FOR1 and nothing more")
    for bad, name in (
        (ModuleFile(module="store", file=str(torn), md5="00" * 16), "load_failed"),
        (ModuleFile(module="store", file=str(tmp_path / "none.beam"), md5="00" * 16), "load_failed"),
        (ModuleFile(module="store", file=good.file, md5="00" * 16), "module_md5_mismatch"),
        (ModuleFile(module="store", file=good.file, md5=good.md5), "load_failed"),
    ):
        report = load(vm, good, bad)
        assert isinstance(report, StepNotDone)
        assert (report.name, report.reverted) == (name, True), report.detail
        assert vm.module_md5s(["looper"]) == {"looper": node.file("looper", "v1").md5}


def test_a_module_with_on_load_is_switched_apart(node: BareNode, vm: Vm) -> None:
    """on_load cannot be prepared; it is loaded alone, before the others."""
    node.eval("code:ensure_loaded(onload)")
    report = load(vm, node.file("looper", "v2"), node.file("onload", "v2"))
    assert isinstance(report, StepDone), report
    assert (report.modules, report.batches) == (2, 2)
    assert node.eval("onload:version()") == "v2"


def test_an_on_load_that_fails_leaves_everything_as_it_was(node: BareNode, vm: Vm) -> None:
    """It is tried first, so nothing else is switched when it fails, and its old code still runs."""
    node.eval("[code:ensure_loaded(M) || M <- [onload, looper]]")
    report = load(vm, node.file("looper", "v2"), node.file("onload", "bad"))
    assert isinstance(report, StepNotDone)
    assert (report.name, report.reverted) == ("load_failed", True)
    assert report.live == {
        "looper": node.file("looper", "v1").md5,
        "onload": node.file("onload", "v1").md5,
    }
    assert node.eval("onload:version()") == "v1"


def test_a_sticky_module_is_switched_and_stays_sticky(node: BareNode, vm: Vm) -> None:
    """Folders of OTP's own are sticky: their modules are loaded alone and stuck again."""
    node.eval("code:ensure_loaded(store), code:stick_mod(store)")
    report = load(vm, node.file("store", "v2"))
    assert isinstance(report, StepDone), report
    assert node.eval("{store:version(), code:is_sticky(store)}") == ("v2", "true")


def test_removed_modules_are_gone(node: BareNode, vm: Vm, tmp_path: Path) -> None:
    """The undo of a module that was new deletes it."""
    files = many(node, tmp_path / "many", 2, 1)
    load(vm, *files)
    report = load(vm, remove=("m1", "m2"))
    assert isinstance(report, StepDone), report
    assert report.modules == 2
    assert vm.module_md5s(["m1", "m2"]) == {}


def test_an_idle_process_survives_two_loads_in_a_row_without_a_message_between(
    node: BareNode, vm: Vm
) -> None:
    """A loop that waits inside old code is nudged out of it before the second load; nobody is killed."""
    pids = node.eval("probe_sup:start_loopers(20)")
    assert isinstance(load(vm, node.file("looper", "v2")), StepDone)
    assert {process.pid for process in vm.lingering(["looper"])} == set(
        map(bytes.decode, node.eval("[list_to_binary(pid_to_list(P)) || P <- Pids]", Pids=pids))
    )
    report = load(vm, node.file("looper", "v1"))
    assert isinstance(report, StepDone), report
    assert report.ended == ()
    assert vm.lingering(["looper"]) != ()
    assert node.eval("length([P || P <- Pids, is_process_alive(P)])", Pids=pids) == 20


def test_lingering_processes_refuse_the_load_and_are_named(node: BareNode, vm: Vm) -> None:
    """Who cannot be nudged is never purged away by default."""
    node.eval("[looper:plain() || _ <- lists:seq(1, 100)]")
    assert isinstance(load(vm, node.file("looper", "v2")), StepDone)
    report = load(vm, node.file("looper", "v1"), blocker_timeout_ms=300)
    assert isinstance(report, StepNotDone)
    assert (report.name, report.reverted) == ("lingering_processes", True)
    assert "100 processes still run old code of looper" in report.detail
    assert vm.module_md5s(["looper"]) == {"looper": node.file("looper", "v2").md5}
    assert len(vm.lingering(["looper"])) == 100


def test_who_knows_no_system_message_is_waited_for_and_named(node: BareNode, vm: Vm) -> None:
    """A loop that proc_lib started may end at a nudge: it blocks the load instead, and lives."""
    strict = node.eval("P = strict:start(idle), list_to_binary(pid_to_list(P))").decode()
    node.wait_for(f'list_to_pid("{strict}")', "strict", "idle")
    assert isinstance(load(vm, node.file("strict", "v2")), StepDone)
    report = load(vm, node.file("strict", "v1"), blocker_timeout_ms=300)
    assert isinstance(report, StepNotDone), report
    assert (report.name, report.reverted) == ("lingering_processes", True)
    assert f"{strict} strict:init/1" in report.detail
    assert [process.pid for process in vm.lingering(["strict"])] == [strict]


def test_killing_blockers_ends_exactly_them_and_says_who(node: BareNode, vm: Vm) -> None:
    """With the flag the lingering ones die and are reported; everybody else lives."""
    node.eval("probe_sup:start_loopers(20)")
    node.eval("[looper:plain() || _ <- lists:seq(1, 100)]")
    assert isinstance(load(vm, node.file("looper", "v2")), StepDone)
    lingering = {process.pid for process in vm.lingering(["looper"])} - set(
        map(bytes.decode, node.eval("[list_to_binary(pid_to_list(P)) || P <- probe_sup:loopers()]"))
    )
    before = node.eval("length(processes())")
    report = load(vm, node.file("looper", "v1"), blocker_timeout_ms=300, kill_blockers=True)
    assert isinstance(report, StepDone), report
    assert {ended.pid for ended in report.ended} == lingering
    assert len(lingering) == 100
    assert all(ended.reason.startswith("killed: ") for ended in report.ended)
    assert node.eval("length(probe_sup:loopers())") == 20
    until(lambda: node.eval("length(processes())") <= before - 100 + 2)


def test_those_killed_are_named_also_when_the_load_fails_after_it(node: BareNode, vm: Vm) -> None:
    """What was done cannot be undone, so it is told whatever comes next: they count as lost."""
    node.eval("code:ensure_loaded(onload), [looper:plain() || _ <- lists:seq(1, 10)]")
    assert isinstance(load(vm, node.file("looper", "v2")), StepDone)
    lingering = {process.pid for process in vm.lingering(["looper"])}
    assert len(lingering) == 10
    files = node.file("looper", "v1"), node.file("onload", "bad")
    report = load(vm, *files, blocker_timeout_ms=300, kill_blockers=True)
    assert isinstance(report, StepNotDone), report
    assert report.name == "load_failed"
    assert {ended.pid for ended in report.ended} == lingering
    assert all(ended.reason == "killed: it ran old code of looper" for ended in report.ended)


def test_old_code_is_purged_in_the_background_once_nobody_runs_it(node: BareNode, vm: Vm) -> None:
    """After a switch the old slot empties by itself, softly: a lingering process keeps its code."""
    node.eval("code:ensure_loaded(store), looper:plain()")
    load(vm, node.file("store", "v2"), node.file("looper", "v2"))
    until(lambda: node.eval("erlang:check_old_code(store)") == "false")
    assert node.eval("[erlang:check_old_code(M) || M <- [store, looper]]") == ["false", "true"]


def test_a_dismissed_agent_purges_to_the_end_and_then_goes(node: BareNode, vm: Vm, tmp_path: Path) -> None:
    """The upgrade does not wait for purges; the VM is clean soon after."""
    first, second = (many(node, tmp_path / f"many{version}", 60, version) for version in (1, 2))
    node.eval("probe_sup:start_counters(2000)")
    load(vm, *first)
    load(vm, *second)
    vm.dismiss()
    until(lambda: node.eval("whereis(relup_agent)") == "undefined")
    until(lambda: node.eval("[M || M <- erlang:loaded(), erlang:check_old_code(M)]") == [])
    assert not [module for module in vm.module_md5s() if module.startswith("relup_agent")]
