"""An application controller that does not answer, as while it stops an application: named, and nothing is begun."""

from collections.abc import Iterator

import pytest

from engine.node.door import CallFunction, StepDone, StepKey, StepNotDone
from engine.node.vm import Vm
from tests.engine.node.bare_node import BareNode
from tests.engine.node.updates import answers, down, up

COUNT = 3


@pytest.fixture
def vm(node: BareNode) -> Iterator[Vm]:
    """The node behind the door, with the agent installed and COUNT counters running."""
    node.eval(f"probe_sup:start_counters({COUNT})")
    vm = node.vm()
    vm.perform(key(0), CallFunction(module="erlang", function="node", arguments=()))
    yield vm
    vm.close()


def key(step: int) -> StepKey:
    return StepKey(upgrade_id="controller", step=step, attempt=1, direction="do")


@pytest.mark.parametrize("way", ["up", "down"])
def test_an_update_is_refused_both_ways(node: BareNode, vm: Vm, way: str) -> None:
    """Without it no supervisor is found: nothing is suspended, nothing is switched, also on the way back."""
    if way == "down":
        assert isinstance(vm.perform(key(1), up(node)), StepDone)
    before = answers(node)
    node.eval("sys:suspend(application_controller)")
    report = vm.perform(key(2), up(node) if way == "up" else down(node))
    assert isinstance(report, StepNotDone)
    assert (report.name, report.reverted) == ("app_still_stopping", True)
    assert report.detail == "the application controller does not answer"
    assert answers(node) == before


def test_a_plan_sees_it_as_the_supervisor_that_does_not_answer(node: BareNode, vm: Vm) -> None:
    """It stands above all others, and an update is refused for it."""
    node.eval("sys:suspend(application_controller)")
    (silent,) = vm.module_users(["counter"])["counter"].silent
    assert silent.name == "application_controller"
