"""Drafted hops: they cover what differs, in order, and pass their own examination."""

from pathlib import Path

import pytest

from engine.release.analysis import case_of, findings_of
from engine.release.case import LiveFacts
from engine.release.comparison import Comparison, compare_trees
from engine.release.draft import draft_hop
from engine.release.hop import Hop, LoadModule, RestartApplication, Update, read_hop
from engine.release.lint import lint
from engine.release.ordering import callees_first
from engine.release.tree import ReleaseTree
from engine.term import Atom
from fixtures.build import Built
from fixtures.findings import build_pairs

PAIRS = build_pairs()


def drafted(comparison: Comparison, folder: Path, *, live: LiveFacts | None = None) -> Hop:
    """The draft, written and read back."""
    file = folder / f"{comparison.old.version}-to-{comparison.new.version}.relup"
    file.write_text(draft_hop(comparison, live=live))
    return read_hop(file)


def errors_in(hop: Hop, comparison: Comparison) -> list[str]:
    case = case_of(hop, live_tree=comparison.old, target=comparison.new, comparison=comparison)
    return [finding.key for finding in findings_of(case) if finding.severity == "error"]


@pytest.mark.parametrize(("start", "end"), [("5.10.4", "5.10.5"), ("5.10.5", "5.10.6"), ("5.10.4", "5.10.6")])
def test_a_draft_for_the_miniature_emqx_covers_every_difference(
    releases: Built, tmp_path: Path, start: str, end: str
) -> None:
    """Every changed and new module is switched, and the examination of the draft finds no error."""
    comparison = compare_trees(ReleaseTree.read(releases.tree(start)), ReleaseTree.read(releases.tree(end)))
    hop = drafted(comparison, tmp_path)
    case = case_of(hop, live_tree=comparison.old, target=comparison.new, comparison=comparison)
    assert {*comparison.changed, *comparison.added} <= set(case.switched)
    assert errors_in(hop, comparison) == []
    assert lint(hop) == ()


def test_what_stands_on_a_restarted_application_is_restarted_after_it(tmp_path: Path) -> None:
    """fy has not changed, but what it registered in fx is gone when fx restarts."""
    pair = PAIRS["record_held_behind_another"]
    comparison = compare_trees(
        ReleaseTree.read(pair.tree("with", "old")), ReleaseTree.read(pair.tree("with", "new"))
    )
    hop = drafted(comparison, tmp_path)
    assert hop.restarted() == ("fx", "fy")
    assert "stands on fx, restarted above" in hop.text


def test_a_draft_updates_what_a_code_change_takes_and_restarts_what_none_does(
    releases: Built, tmp_path: Path
) -> None:
    """The Extra is found in the clause and the defaults of the new record."""
    comparison = compare_trees(
        ReleaseTree.read(releases.tree("5.10.4")), ReleaseTree.read(releases.tree("5.10.5"))
    )
    hop = drafted(comparison, tmp_path)
    updates = {i.module: i.extra for i in hop.instructions if isinstance(i, Update)}
    assert updates == {
        "emqx_metrics": [(Atom("window_s"), 60)],
        "emqx_connection": [(Atom("counts"), {Atom("in"): 0, Atom("out"): 0})],
    }
    assert hop.restarted() == ("emqx_retainer",)


def test_callees_come_before_their_callers(releases: Built, tmp_path: Path) -> None:
    """emqx_channel calls emqx_limits, which is new: the other way round it would not be found."""
    comparison = compare_trees(
        ReleaseTree.read(releases.tree("5.10.4")), ReleaseTree.read(releases.tree("5.10.5"))
    )
    order = list(drafted(comparison, tmp_path).modules())
    assert order.index("emqx_limits") < order.index("emqx_channel") < order.index("emqx_connection")


def test_each_line_has_its_reason(releases: Built) -> None:
    """A person reads the draft before it is used."""
    comparison = compare_trees(
        ReleaseTree.read(releases.tree("5.10.4")), ReleaseTree.read(releases.tree("5.10.5"))
    )
    lines = draft_hop(comparison).splitlines()
    instructions = [number for number, line in enumerate(lines) if line.startswith("        {")]
    assert len(instructions) == 9
    assert all(lines[number - 1].startswith("        %% ") for number in instructions)


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_a_draft_for_each_planted_fault_has_not_that_fault(name: str, tmp_path: Path) -> None:
    """What a hop can mend, the draft mends: no error is left but where no hop could help."""
    pair = PAIRS[name]
    comparison = compare_trees(
        ReleaseTree.read(pair.tree("with", "old")), ReleaseTree.read(pair.tree("with", "new"))
    )
    left = errors_in(drafted(comparison, tmp_path), comparison)
    beyond_any_hop = {
        "removed_function_called": ["removed_function_called:fx_b->fx_a:v/0"],
        "message_changed": ["message_changed:fx_client->fx_srv:get"],
    }
    assert left == beyond_any_hop.get(name, [])


def test_a_record_that_live_connections_hold_makes_the_draft_restart_their_application(
    tmp_path: Path,
) -> None:
    """No code_change migrates it, so nothing less will do; the reason names fields and processes."""
    pair = PAIRS["record_held_elsewhere"]
    comparison = compare_trees(
        ReleaseTree.read(pair.tree("with", "old")), ReleaseTree.read(pair.tree("with", "new"))
    )
    live = LiveFacts(md5s=comparison.old_md5s, processes={"fx_conn": 200, "fx_sup": 0})
    hop = drafted(comparison, tmp_path, live=live)
    assert hop.instructions == (RestartApplication(application="fx", line=7),)
    assert "#channel{} lost id in fx_channel, which 200 live processes of fx_conn hold" in hop.text


def test_without_live_holders_a_changed_record_is_just_loaded(tmp_path: Path) -> None:
    """The node was asked and has no such process."""
    pair = PAIRS["record_held_elsewhere"]
    comparison = compare_trees(
        ReleaseTree.read(pair.tree("with", "old")), ReleaseTree.read(pair.tree("with", "new"))
    )
    live = LiveFacts(md5s=comparison.old_md5s, processes={"fx_conn": 0, "fx_sup": 0})
    hop = drafted(comparison, tmp_path, live=live)
    assert [type(instruction) for instruction in hop.instructions] == [LoadModule]


def test_what_no_hop_brings_is_said_at_the_head() -> None:
    """Removed modules, the runtime's modules, native code."""
    said = {
        "removed_module_stays": "fx_gone is gone in the target",
        "runtime_stays_old": "fx_std: modules of the runtime",
        "native_code_changed": "the native libraries of fx differ",
        "application_env_changed": "sets other defaults",
    }
    for name, words in said.items():
        pair = PAIRS[name]
        comparison = compare_trees(
            ReleaseTree.read(pair.tree("with", "old")), ReleaseTree.read(pair.tree("with", "new"))
        )
        head = draft_hop(comparison).partition("#{")[0]
        assert words in head


def test_circles_of_calls_are_kept_together() -> None:
    """Who call each other are one group; the others stand in order, whatever the names."""
    calls = {
        "a": frozenset({"b"}),
        "b": frozenset({"c", "outside"}),
        "c": frozenset({"b", "d"}),
        "d": frozenset[str](),
        "e": frozenset({"a"}),
    }
    assert callees_first("eadcb", calls) == [("d",), ("b", "c"), ("a",), ("e",)]


def test_a_long_chain_of_calls_needs_no_stack() -> None:
    """Ten thousand modules that each call the next."""
    calls = {f"m{n:05}": frozenset({f"m{n + 1:05}"}) for n in range(10_000)}
    groups = callees_first(calls, calls)
    assert groups[0] == ("m09999",)
    assert len(groups) == 10_000
