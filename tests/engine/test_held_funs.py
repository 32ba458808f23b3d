"""Funs that a purge does not see: the plan warns of them on a real node, and what it foretells happens."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import RelupError
from engine.node.door import HeldFuns
from engine.node.errors import CallTimedOut, RemoteException
from engine.node.vm import Vm
from engine.release.findings import UnsafeHop
from engine.term import Atom
from fixtures.build import Built
from fixtures.node import NodeFailed, RunningNode
from tests.engine.footprint import node_differences, node_footprint, tree_footprint
from tests.engine.scene import Scene

DOCTORED = """
    Parsed = [element(2, erl_parse:parse_form(element(2, erl_scan:string(Text)))) || Text <- [
        "-module(emqx_topic).", "-export([made/0]).", "made() -> fun() -> works end."
    ]],
    {ok, emqx_topic, Beam} = compile:forms(Parsed),
    {module, _} = code:load_binary(emqx_topic, "by_hand", Beam)
"""
KEPT = """
    Here = self(),
    Keeper = spawn(fun() ->
        ets:new(kept_funs, [named_table, public]),
        put(kept, emqx_topic:made()),
        Here ! kept,
        receive after infinity -> ok end
    end),
    receive kept -> register(keeper_of_funs, Keeper) end,
    ets:insert(kept_funs, [{N, [emqx_topic:made()]} || N <- [1, 2]]),
    persistent_term:put(kept_fun, #{deep => emqx_topic:made()})
"""
PLACES = {
    ("ETS table kept_funs", 2),
    ("persistent term kept_fun", 1),
    ("process dictionary of keeper_of_funs", 1),
}
CALLED = "[Fun] = ets:lookup_element(kept_funs, 1, 2), Fun()"
GONE = "exit(whereis(keeper_of_funs), kill), persistent_term:erase(kept_fun)"
RELOADED = "code:purge(emqx_topic), {module, _} = code:load_file(emqx_topic)"


@pytest.fixture
def keeping(releases: Built, tmp_path: Path) -> Iterator[Scene]:
    """A node in which three places keep funs of a module that the hop switches, made by its live code."""
    with RunningNode.install(releases.tree("5.10.4"), tmp_path / "node") as node:
        node.start()
        node.eval(DOCTORED)
        node.eval(KEPT)
        yield Scene(node=node, catalog=releases.catalog)


def test_old_funs_are_warned_of_wherever_they_lie_and_fail_after_the_hop(
    keeping: Scene, releases: Built
) -> None:
    """In a table, a persistent term, a process dictionary; only --strict refuses; the call fails as foretold."""
    tarball = releases.tarball("5.10.5")
    keeping.node.eval(RELOADED)
    _, prospect = keeping.plan(tarball)
    found = {(held.where, held.count) for held in prospect.held_funs.found if held.is_old}
    assert found == PLACES
    (finding,) = [each for each in prospect.judgement.others if each.severity == "warning"]
    assert finding.key == "old_fun_held:emqx_topic"
    assert finding.happened.startswith("4 funs of a code of emqx_topic before the live one")
    for where, count in PLACES:
        assert f"{where} ({count})" in finding.happened

    assert_strict_refuses(keeping, tarball, finding.key)
    _, waived = keeping.plan(tarball, strict=True, waivers=(finding.key,))
    assert [each.key for each in waived.judgement.waived] == [finding.key]

    assert keeping.node.eval(CALLED) == "works"
    keeping.upgrade(tarball)
    with pytest.raises(NodeFailed, match="badfun"):
        keeping.node.eval(CALLED)


def assert_strict_refuses(scene: Scene, tarball: Path, key: str) -> None:
    """By the name of the finding, with nothing but the journal changed."""
    node_before, tree_before = node_footprint(scene.node), tree_footprint(scene.node.root)
    with pytest.raises(UnsafeHop, match=key):
        scene.upgrade(tarball, strict=True)
    assert node_differences(scene.node, node_before) == []
    now = tree_footprint(scene.node.root)
    assert now == {"relup": now["relup"], **tree_before}


def test_funs_of_the_live_code_are_warned_of_by_another_name_and_the_command_line_shows_both(
    keeping: Scene, releases: Built
) -> None:
    """They work until the hop's own purge. The text and the object say that the search is not complete."""
    tarball = str(releases.tarball("5.10.5"))
    told = keeping.relup("plan", tarball).stdout
    assert (
        "warning fun_held:emqx_topic: 4 funs of the live code of emqx_topic, which the hop replaces" in told
    )
    assert "4 found, by a search of a sample that is never complete\n" in told

    answer = keeping.answer("plan", tarball)
    held = answer["held_funs"]
    assert (held["is_complete"], held["time_ran_out"]) == (False, False)
    assert {(each["where"], each["count"]) for each in held["found"]} == PLACES
    assert {each["module"] for each in held["found"]} == {"emqx_topic"}
    assert "fun_held" in {each["code"] for each in answer["findings"]}

    keeping.node.eval(GONE)
    assert keeping.answer("plan", tarball)["held_funs"]["found"] == []

    for code in ("fun_held:emqx_topic", "old_fun_held:emqx_topic"):
        explained = keeping.relup("explain", code).stdout
        assert "never complete" in explained
        assert "badfun" in explained


@pytest.mark.parametrize(
    "failure",
    [CallTimedOut("No answer.", next="Wait."), RemoteException("error", Atom("badarg"), [], called="held")],
    ids=["no answer", "it raised"],
)
def test_a_search_that_fails_refuses_nothing_and_is_not_called_complete(
    keeping: Scene, releases: Built, monkeypatch: pytest.MonkeyPatch, failure: RelupError
) -> None:
    """The search is a courtesy: an upgrade does not hang on it."""

    def fail(*_: object) -> HeldFuns:
        raise failure

    monkeypatch.setattr(Vm, "held_funs", fail)
    state, prospect = keeping.plan(releases.tarball("5.10.5"))
    assert state.plan is not None
    assert prospect.held_funs == HeldFuns(time_ran_out=True)
