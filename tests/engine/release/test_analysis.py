"""Findings that depend on the node, and what becomes of findings: waivers, strictness, the word "safe"."""

import pytest

from engine.release.analysis import case_of, findings_of
from engine.release.case import Case, HeldFun, LiveFacts
from engine.release.comparison import compare_trees
from engine.release.findings import Finding, InvalidWaiver, Severity, UnsafeHop, judge, require_safe
from engine.release.hop import read_hop
from engine.release.tree import ReleaseTree
from fixtures.findings import Pair, Variant, build_pairs

PAIRS = build_pairs()
STRANGE = "0" * 32


def case(pair: Pair, variant: Variant = "with", **live: object) -> Case:
    """The case of a pair on a node with these facts; where nothing else is said, it runs the old release."""
    old, new = ReleaseTree.read(pair.tree(variant, "old")), ReleaseTree.read(pair.tree(variant, "new"))
    comparison = compare_trees(old, new)
    facts = {"md5s": comparison.old_md5s} | live
    return case_of(
        read_hop(pair.hop(variant)),
        live_tree=old,
        target=new,
        comparison=comparison,
        live=LiveFacts(**facts),  # type: ignore[arg-type]  # the tests name the fields
    )


def said(found: tuple[Finding, ...]) -> list[str]:
    return [f"{finding.severity} {finding.key}" for finding in found]


def test_code_that_is_in_neither_release_is_a_warning() -> None:
    """Somebody loaded it by hand; the hop would lose it and an undo could not bring it back."""
    md5s = case(PAIRS["nothing_wrong"]).comparison.old_md5s
    found = findings_of(case(PAIRS["nothing_wrong"], md5s={**md5s, "fx_a": STRANGE}))
    assert said(found) == ["warning live_code_differs:fx_a"]


def test_code_of_the_target_that_is_live_already_is_a_note() -> None:
    """Also where the hop forgets the module: it is not old any more."""
    comparison = case(PAIRS["module_not_in_hop"]).comparison
    md5s = {**comparison.old_md5s, "fx_a": comparison.new_md5s["fx_a"]}
    assert said(findings_of(case(PAIRS["module_not_in_hop"], md5s=md5s))) == ["note already_live:fx_a"]


def test_a_patch_that_shadows_a_module_is_a_warning() -> None:
    """Its live md5 is the patch's, which is no drift; the next start brings the patch back."""
    md5s = case(PAIRS["nothing_wrong"]).comparison.old_md5s
    found = findings_of(
        case(PAIRS["nothing_wrong"], md5s={**md5s, "fx_a": STRANGE}, patches=frozenset({"fx_a", "other"}))
    )
    assert said(found) == ["warning module_patched:fx_a", "warning module_patched:other"]
    assert "brings the patch back" in found[0].happened
    assert "no module of either release" in found[1].happened


def test_held_funs_are_one_warning_for_each_module_and_age_that_names_the_places() -> None:
    """However many places; the age decides when they fail, so it has its own name."""
    held = (
        HeldFun("fx_a", "persistent term p", is_old=True, count=1),
        HeldFun("fx_a", "ETS table t", is_old=False, count=2),
        HeldFun("fx_a", "state of s", is_old=True, count=3),
    )
    found = findings_of(case(PAIRS["nothing_wrong"], held_funs=held))
    assert said(found) == ["warning fun_held:fx_a", "warning old_fun_held:fx_a"]
    live, old = (finding.happened for finding in found)
    assert live.startswith("2 funs of the live code of fx_a")
    assert "ETS table t (2)" in live
    assert old.startswith("4 funs of a code of fx_a before")
    assert "persistent term p (1), state of s (3)" in old
    assert not judge(found).refusing
    assert judge(found, strict=True).refusing == found


def test_processes_that_an_update_does_not_reach_refuse_it() -> None:
    """Those of an updated module only: a plain load changes no state."""
    strays = {"fx_srv": ("<0.7.0> (fx_srv:init/1)", "<0.8.0> (late)"), "fx_a": ("<0.9.0> (x)",)}
    found = findings_of(case(PAIRS["nothing_wrong"], out_of_reach=strays))
    assert said(found) == ["error process_out_of_reach:fx_srv"]
    assert "2 live processes of it" in found[0].happened
    assert "<0.8.0> (late)" in found[0].happened


def test_a_restart_that_ends_connections_of_clients_refuses_the_hop() -> None:
    """Of the applications it restarts only; the others keep theirs."""
    found = findings_of(case(PAIRS["application_env_changed"], "without", clients={"fx": 3, "other": 7}))
    (costly,) = [finding for finding in found if finding.code == "restart_ends_clients"]
    assert (costly.severity, costly.subject) == ("error", "fx")
    assert "3 of 10 clients" in costly.happened


def test_a_forgotten_module_that_is_not_loaded_is_only_a_warning() -> None:
    """Nothing runs its old code."""
    assert said(findings_of(case(PAIRS["module_not_in_hop"], md5s={}))) == ["warning module_not_in_hop:fx_a"]


def test_a_changed_record_names_the_number_of_live_processes() -> None:
    """What the operator loses is counted: fields, module, processes."""
    (found,) = findings_of(case(PAIRS["record_changed"], processes={"fx_srv": 17}))
    assert found.key == "record_changed:fx_srv:state"
    assert "#state{} lost dropped" in found.happened
    assert "17 live processes of fx_srv" in found.happened


def test_a_changed_record_of_a_module_without_processes_holds_nobody_up() -> None:
    """Zero was asked for and answered; not having asked is no zero."""
    assert said(findings_of(case(PAIRS["record_changed"], processes={"fx_srv": 0}))) == [
        "note record_changed_at_rest:fx_srv:state"
    ]
    assert said(findings_of(case(PAIRS["record_changed"], processes={}))) == [
        "error record_changed:fx_srv:state"
    ]


def test_the_holder_of_a_record_is_named_with_its_processes() -> None:
    """The connection processes hold the channel's record, whose module has no processes."""
    (found,) = findings_of(case(PAIRS["record_held_elsewhere"], processes={"fx_conn": 200, "fx_sup": 0}))
    assert found.key == "record_changed:fx_channel:channel"
    assert "#channel{} lost id" in found.happened
    assert "200 live processes of fx_conn" in found.happened


def test_a_caller_that_is_not_loaded_cannot_fail() -> None:
    """Only modules that run are counted among the callers of a lost function."""
    pair = PAIRS["removed_function_called"]
    md5s = {name: md5 for name, md5 in case(pair).comparison.old_md5s.items() if name != "fx_b"}
    assert said(findings_of(case(pair, md5s=md5s))) == []


def finding(severity: Severity, code: str = "record_changed", subject: str = "m:state") -> Finding:
    return Finding(code=code, severity=severity, subject=subject, happened="h", next="n")


@pytest.mark.parametrize(
    ("severity", "strict", "refuses"),
    [
        ("error", False, True),
        ("warning", False, False),
        ("warning", True, True),
        ("note", False, False),
        ("note", True, False),
    ],
)
def test_errors_refuse_and_with_strict_warnings_too(severity: Severity, strict: bool, refuses: bool) -> None:
    """A note never stops anybody."""
    judgement = judge([finding(severity)], strict=strict)
    assert bool(judgement.refusing) is refuses
    if refuses:
        with pytest.raises(UnsafeHop, match="record_changed:m:state"):
            require_safe(judgement)
    else:
        require_safe(judgement)


def test_a_finding_is_waived_by_its_code_and_subject_alone() -> None:
    """One by one: the other finding of the same code goes on refusing; a waiver that meets nothing is told."""
    findings = [finding("error"), finding("error", subject="other:state")]
    judgement = judge(findings, waivers=["record_changed:m:state", "record_changed:gone"])
    assert [f.subject for f in judgement.waived] == ["m:state"]
    assert [f.subject for f in judgement.refusing] == ["other:state"]
    assert judgement.unused == ("record_changed:gone",)


@pytest.mark.parametrize("waiver", ["", "record_changed", ":m", "record_changed:"])
def test_a_waiver_that_names_no_finding_is_refused(waiver: str) -> None:
    """A wildcard would waive what nobody has read."""
    with pytest.raises(InvalidWaiver):
        judge([], waivers=[waiver])


def test_a_hop_whose_state_was_not_checked_is_never_called_safe() -> None:
    """Without debug information nobody looked; a waived finding does not make a hop safe either."""
    assert judge([finding("note", code="erts_changed")]).is_safe
    assert not judge([finding("note", code="no_debug_info")]).is_safe
    assert not judge([finding("error")], waivers=["record_changed:m:state"]).is_safe
    assert not judge([finding("error")]).is_safe
