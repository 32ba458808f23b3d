"""A plan finds exactly what is planted in a pair of releases, and what it foretells happens."""

import itertools
import re
import subprocess
from pathlib import Path

import pytest

from engine.failures import FAILURES
from engine.node.door import LoadModules
from engine.release.analysis import case_of, findings_of
from engine.release.explanations import FINDINGS
from engine.release.findings import Finding
from engine.release.hop import read_hop
from engine.release.tree import ReleaseTree
from engine.term import charlist, format_term
from fixtures.build import RELEASES, Built
from fixtures.findings import Pair, Variant, build_pairs, names

PAIRS = build_pairs()
VARIANTS: tuple[Variant, ...] = ("with", "without")
RUN = [name for name in names() if "run" in PAIRS[name].said]


def said(findings: tuple[Finding, ...]) -> list[str]:
    """The findings as pair.toml writes them."""
    return sorted(f"{finding.severity} {finding.key}" for finding in findings)


def found_in(pair: Pair, variant: Variant) -> tuple[Finding, ...]:
    """What the analyses say of a pair, no node asked."""
    case = case_of(
        read_hop(pair.hop(variant)),
        live_tree=ReleaseTree.read(pair.tree(variant, "old")),
        target=ReleaseTree.read(pair.tree(variant, "new")),
    )
    return findings_of(case)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", names())
def test_a_plan_finds_exactly_what_is_planted(name: str, variant: Variant) -> None:
    """No finding is missing and none is a false alarm."""
    assert said(found_in(PAIRS[name], variant)) == sorted(PAIRS[name].expected(variant))


def test_an_on_load_is_told_with_where_it_runs_and_how_long_it_may() -> None:
    """Plan, explanation and failure name the seconds that the step gives it."""
    [finding] = found_in(PAIRS["on_load_module"], "with")
    seconds = f" {LoadModules(modules=()).on_load_timeout_ms // 1000} s"
    assert "in the live VM" in finding.happened
    assert "switched alone" in finding.happened
    for text in (
        finding.happened,
        FINDINGS["on_load_module"].means,
        FAILURES["load_failed"].means,
    ):
        assert seconds in text


WALK = r"""
{ok, Runs} = file:consult(hd(init:get_plain_arguments())),
Ebins = fun(Tree) -> filelib:wildcard(Tree ++ "/lib/*/ebin") end,
Modules = fun(Ebin) -> [list_to_atom(filename:rootname(filename:basename(B)))
                        || B <- filelib:wildcard(Ebin ++ "/*.beam")] end,
Eval = fun(Text) ->
    {ok, Tokens, _} = erl_scan:string(Text ++ "."),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    {value, Value, _} = erl_eval:exprs(Expressions, []), Value end,
Load = fun(M) -> code:purge(M), {module, M} = code:load_file(M) end,
Remove = fun(M) -> code:purge(M), code:delete(M), code:purge(M) end,
Restart = fun(App) ->
    application:stop(App),
    case application:get_key(App, modules) of {ok, Gone} -> [Remove(M) || M <- Gone]; undefined -> ok end,
    application:unload(App),
    ok = application:load(App),
    {ok, Come} = application:get_key(App, modules),
    [Load(M) || M <- Come],
    ok = application:start(App) end,
Update = fun(M, From, Extra) ->
    Pids = [P || P <- [whereis(M)], is_pid(P)],
    [sys:suspend(P) || P <- Pids],
    Load(M),
    [ok = sys:change_code(P, M, From, Extra) || P <- Pids],
    [sys:resume(P) || P <- Pids] end,
Walk = fun({load_module, M}, _) -> Load(M);
          ({update, M, {advanced, Extra}}, From) -> Update(M, From, Extra);
          ({restart_application, App}, _) -> Restart(App);
          ({apply, _, _, _}, _) -> ok end,
CleanUp = fun(All) ->
    [begin application:stop(App), application:unload(App) end || App <- [fx, fy]],
    [case whereis(M) of
        undefined -> ok;
        Pid -> Ref = monitor(process, Pid), exit(Pid, kill), receive {'DOWN', Ref, _, _, _} -> ok end
     end || M <- All],
    [Remove(M) || M <- All] end,
Run = fun({Name, Old, New, File, Setup, Probe}) ->
    Before = code:get_path(),
    code:add_pathsa(Ebins(Old)),
    [Load(M) || Ebin <- Ebins(Old), M <- Modules(Ebin)],
    Eval(Setup),
    {ok, #{from_version := From} = Hop} = file:script(File),
    code:add_pathsa(Ebins(New)),
    Answer = try [Walk(I, From) || I <- maps:get(code_changes, Hop)], Eval(Probe)
             catch _:{undef, _} -> undef; _:undef -> undef; _:Reason -> {failed, Reason} end,
    io:format("~s ~w~n", [Name, Answer]),
    CleanUp(lists:usort([M || Ebin <- Ebins(Old) ++ Ebins(New), M <- Modules(Ebin)])),
    code:set_path(Before) end,
[Run(R) || R <- Runs],
halt(0, [{flush, true}]).
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every hop walked in a VM whatever was found, one after the other; what its probe says afterwards."""
    file = tmp_path_factory.mktemp("findings") / "runs"
    lines = []
    for name in RUN:
        for variant in VARIANTS:
            pair, run = PAIRS[name], PAIRS[name].said["run"]
            old, new, hop = pair.tree(variant, "old"), pair.tree(variant, "new"), pair.hop(variant)
            texts = [f"{name}/{variant}", str(old), str(new), str(hop), run["setup"], run["probe"]]
            lines.append("{" + ", ".join(format_term(charlist(text)) for text in texts) + "}.")
    file.write_text("\n".join(lines))
    command = ["erl", "-noshell", "-mode", "embedded", "-kernel", "logger_level", "emergency", "-eval", WALK]
    done = subprocess.run(
        [*command, "-extra", str(file)], capture_output=True, text=True, timeout=120, check=True
    )
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", RUN)
def test_what_was_foretold_happens_when_the_hop_is_run_anyway(
    answers: dict[str, str], name: str, variant: Variant
) -> None:
    """The pair with the fault fails as the finding says; the pair without works."""
    assert re.fullmatch(PAIRS[name].said["run"][variant], answers[f"{name}/{variant}"])


@pytest.mark.parametrize(("start", "end"), list(itertools.pairwise(RELEASES)))
@pytest.mark.parametrize("catalog", ["catalog", "catalog-reversible"])
def test_the_miniature_releases_raise_no_false_alarm(
    releases: Built, catalog: str, start: str, end: str
) -> None:
    """Hops that are right have notes only."""
    hop = read_hop(releases.root / catalog / f"{start}-to-{end}.relup")
    case = case_of(
        hop, live_tree=ReleaseTree.read(releases.tree(start)), target=ReleaseTree.read(releases.tree(end))
    )
    assert said(findings_of(case)) == ["note application_version_changed:emqx"]


def test_every_finding_that_the_analyses_can_have_is_explained_and_planted() -> None:
    """No code without an explanation, no explanation without a code, and each has its pair or its own test."""
    sources = Path(__file__).parents[3] / "engine" / "release"
    used = {code for file in sources.glob("*.py") for code in re.findall(r'code="(\w+)"', file.read_text())}
    planted = {
        finding.partition(" ")[2].partition(":")[0]
        for name in names()
        for finding in PAIRS[name].said["expected"]
    }
    elsewhere = {"already_live", "live_code_differs", "module_patched", "fun_held", "old_fun_held"}
    elsewhere |= {"process_out_of_reach", "restart_ends_clients"}
    linted = {
        "hop_not_a_patch",
        "hop_is_empty",
        "hop_file_name",
        "module_named_twice",
        "application_named_twice",
        "never_restarted",
        "apply_before_code_changes",
    }
    assert used == set(FINDINGS)
    assert used == planted | elsewhere | linted
