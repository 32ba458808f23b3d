"""Hops that name a module twice: it is moved once, with the states of its processes, and back again."""

from pathlib import Path

import pytest

from fixtures.build import Built
from tests.faults.memory import MakeMemoryNode

HOP = "5.10.4-to-5.10.5.relup"
FIRST = "{load_module, emqx_topic},"
LAST = "{restart_application, emqx_retainer}"
LOAD, UPDATE = "{load_module, emqx_metrics}", "{update, emqx_metrics, {advanced, [{window_s, 60}]}}"
NAMED = {
    "load, then update": (FIRST, f"{LOAD}, {FIRST}"),
    "update, then load": (LAST, f"{LAST}, {LOAD}"),
    "update twice": (LAST, f"{LAST}, {UPDATE}"),
}


def catalog(releases: Built, folder: Path, edit: tuple[str, str]) -> Path:
    """A catalog with the reversible hop, edited."""
    text = (releases.reversible_catalog / HOP).read_text()
    assert text.count(edit[0]) == 1
    (folder / HOP).write_text(text.replace(*edit))
    return folder


@pytest.mark.parametrize("order", NAMED)
def test_an_updated_module_that_is_named_once_more_is_moved_with_its_states_both_ways(
    releases: Built, tmp_path: Path, memory_node: MakeMemoryNode, order: str
) -> None:
    """In whichever order: no process ever runs code that its state does not fit."""
    node = memory_node(catalog(releases, tmp_path, NAMED[order]))
    before = node.vm.md5("emqx_metrics")
    node.upgrade()
    assert node.vm.md5("emqx_metrics") != before
    assert node.vm.misfits() == []
    node.roll_back()
    assert node.vm.md5("emqx_metrics") == before
    assert node.vm.misfits() == []


def test_an_upgrade_tells_which_line_moves_the_module_and_which_is_passed_over(
    releases: Built, tmp_path: Path, memory_node: MakeMemoryNode
) -> None:
    """Also to those who have not looked at the plan."""
    node = memory_node(catalog(releases, tmp_path, NAMED["load, then update"]))
    node.upgrade()
    (told,) = node.notes.lines
    assert told.startswith("the hop names emqx_metrics 2 times; its update in line ")
    assert told.endswith("is passed over")
