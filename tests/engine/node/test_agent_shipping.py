"""How the agent gets into the VM: its source, its names, its compilers."""

import re
import subprocess
from pathlib import Path

import pytest

from engine.agent.compiler import NoCompiler, compile_outside
from engine.agent.source import HELD_FUNS, WALK, agent_source, forms, looking_source
from engine.node.door import CallFunction, StepDone, StepKey
from tests.engine.node.bare_node import BareNode

CALL = StepKey(upgrade_id="shipping", step=1, attempt=1, direction="do")


def test_every_module_carries_the_digest_and_calls_its_sisters_by_it() -> None:
    """Two sources never meet under one name; the registered name is the same for all."""
    source = agent_source()
    assert re.fullmatch(r"[0-9a-f]{8}", source.digest)
    assert source.desk == f"relup_agent_{source.digest}"
    for module, texts in source.modules.items():
        assert texts[0] == f"-module({module})."
        for called in re.findall(r"\brelup_agent[a-z_0-9]*(?=:[a-z])", "\n".join(texts)):
            assert called in source.modules
    assert "gen_server:start({local, relup_agent}" in "\n".join(source.modules[source.desk])


def test_forms_end_with_a_dot_at_the_end_of_a_line() -> None:
    """Comments and empty lines are left out; what follows the last dot would be lost, so it may not be."""
    assert forms("%% One.\n-module(m).\n\nf() ->\n    a.\n") == ("-module(m).", "f() ->\n    a.")
    with pytest.raises(AssertionError):
        forms("f() ->\n")


def test_the_compiler_has_nothing_to_remark(tmp_path: Path) -> None:
    """No variable, function or clause of the agent is there for nothing."""
    sources = sorted((Path(__file__).parents[3] / "engine" / "agent").glob("*.erl"))
    done = subprocess.run(
        ["erlc", "-Wall", "-Werror", "-o", str(tmp_path), *map(str, sources)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("module", [WALK, HELD_FUNS])
def test_a_looking_module_needs_nothing_but_itself(module: str) -> None:
    """It is interpreted under its plain name: no call of a sister, no fun name/arity."""
    text = "\n".join(looking_source(module))
    assert not re.search(r"\brelup_agent\w*:[a-z]", text)
    assert not re.search(r"\bfun [a-z]\w*/\d", text)


def test_an_embedded_node_without_a_compiler_gets_the_agent_compiled_outside(builds: Path) -> None:
    """Embedded, OTP's start_clean: no compiler is loaded, the tree on disk has one."""
    with BareNode(builds, "-mode", "embedded") as node:
        assert node.eval("erlang:function_exported(compile, forms, 2)") == "false"
        before = node.eval("lists:sort(erlang:loaded())")
        vm = node.vm()
        order = CallFunction(module="erlang", function="node", arguments=())
        assert isinstance(vm.perform(CALL, order), StepDone)
        loaded = set(node.eval("erlang:loaded()")) - set(before)
        assert loaded == set(agent_source().modules)
        vm.dismiss()
        assert node.eval("lists:sort(erlang:loaded())") == before
        vm.close()


def test_without_any_compiler_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No tree, no Erlang on the machine's path: a refusal that says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCompiler, match="without OTP's compiler"):
        compile_outside(agent_source().modules, tree=tmp_path)


def test_both_ways_make_the_same_modules() -> None:
    """The machine's compiler compiles every module of the agent."""
    source = agent_source()
    beams = compile_outside(source.modules, tree=Path("/nonexistent"))
    assert beams.keys() == source.modules.keys()
    assert all(beam.startswith(b"FOR1") for beam in beams.values())
