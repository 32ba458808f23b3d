"""The door's contract, on the node in memory; and how that one dies."""

from typing import Literal

import pytest

from engine.node.door import Application, CallFunction, LoadModules, ModuleFile, Node, StepDone, StepKey
from engine.node.errors import ConnectionLost, NodeDown
from tests.engine.node.contract import COUNTERS, NodeContract
from tests.fake_node import Booted, FakeNode, FakeVm, ToolDies, VmDies


def md5(module: str, version: str) -> str:
    return f"{module}{version}".encode().hex().ljust(32, "0")[:32]


def path(module: str, version: str) -> str:
    return f"/root/lib/{module}-{version[1:]}/ebin/{module}.beam"


def boot() -> Booted:
    return Booted(
        boot_tree="/root",
        running_version="1",
        modules={name: (md5(name, "v1"), path(name, "v1")) for name in ("counter", "looper", "store")},
        applications={name: Application(version="1", running=True) for name in ("probe", "store")},
        code_path=("/root/lib/probe-1/ebin", "/root/lib/store-1/ebin"),
        processes={"counter": COUNTERS},
    )


class FakeSubject:
    """A world of its own for each test."""

    def __init__(self) -> None:
        self.vm = FakeVm(boot, failing=["/bad"])
        self.node: Node = FakeNode(self.vm)
        self.other_folder = "/root/lib/probe-2/ebin"

    def file(self, module: str, version: str) -> ModuleFile:
        file = "/bad" if version == "bad" else path(module, version)
        return ModuleFile(module=module, file=file, md5=md5(module, version))

    def app_file(self, version: str) -> str:
        return f"/root/lib/store-{version[1:]}/ebin/store.app"

    def plant(self, place: Literal["suspend", "up", "down"]) -> None:
        next(iter(self.vm.processes.values())).trouble[place] = "crash"

    def give_in(self) -> None:
        """Who crashes there holds nothing up."""

    def spawn_lingering(self, number: int) -> None:
        for _ in range(number):
            self.vm.spawn("looper", supervised=False, can_be_nudged=False)

    def connect(self, client_id: str) -> None:
        self.vm.spawn("counter", client_id=client_id)

    def end(self, client_id: str, reason: str) -> None:
        self.vm.end(next(p for p in self.vm.processes.values() if p.client_id == client_id), reason)

    def versions(self) -> set[str]:
        assert self.vm.misfits() == []
        versions = {md5("counter", version): version for version in ("v1", "v2")}
        return {
            versions[process.shape] for process in self.vm.processes.values() if process.module == "counter"
        }


@pytest.fixture
def subject() -> FakeSubject:
    """A fresh world for each test."""
    return FakeSubject()


class TestFakeNode(NodeContract):
    """The node in memory."""


LOAD = StepKey(upgrade_id="dying", step=1, attempt=1, direction="do")


def test_a_vm_that_dies_takes_its_live_changes_and_outcomes_along(subject: FakeSubject) -> None:
    """After it nobody answers, and what boots is the old release with a new incarnation."""
    before = subject.node.observe()

    def dies(point: str) -> None:
        if point == "switched looper":
            raise VmDies

    subject.vm.at_point = dies
    with pytest.raises(ConnectionLost):
        subject.node.perform(LOAD, LoadModules(modules=(subject.file("looper", "v2"),)))
    with pytest.raises(NodeDown):
        subject.node.observe()
    subject.vm.start()
    assert subject.node.module_md5s(["looper"]) == {"looper": md5("looper", "v1")}
    assert subject.node.outcome(LOAD) is None
    assert subject.node.observe() != before


def test_a_tool_that_dies_leaves_the_step_to_the_agent(subject: FakeSubject) -> None:
    """The step goes on to its end and its outcome can be asked for."""

    def dies(point: str) -> None:
        if point == "switched looper":
            raise ToolDies

    subject.vm.at_point = dies
    files = (subject.file("looper", "v2"), subject.file("store", "v2"))
    with pytest.raises(ToolDies):
        subject.node.perform(LOAD, LoadModules(modules=files))
    assert isinstance(subject.node.outcome(LOAD), StepDone)
    assert subject.node.module_md5s(["store"]) == {"store": md5("store", "v2")}


def test_a_function_that_is_to_fail_fails(subject: FakeSubject) -> None:
    """Callbacks can be broken for a story, and are counted."""
    subject.vm.failing.add("m:f")
    report = subject.node.perform(LOAD, CallFunction(module="m", function="f", arguments=()))
    assert not isinstance(report, StepDone)
    assert subject.vm.calls == ["m:f"]
