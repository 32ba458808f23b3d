"""What the VM notes in a step, beside its work, reaches whoever runs the upgrade and whoever reads of it later."""

from fixtures.build import Built
from tests.engine.scene import Scene
from tests.releases import NodeFactory

RESTARTED = "emqx_retainer was permanent and is temporary until the node restarts"
LEFT_OUT = "1 process runs it under no supervisor and was not updated: "
START_STRAY = """
    proc_lib:spawn(fun() ->
        put('$initial_call', {emqx_metrics, init, 1}),
        gen_server:enter_loop(emqx_metrics, [], sys:get_state(emqx_metrics))
    end)
"""
ALLOWED = ("--full-speed", "--allow", "process_out_of_reach:emqx_metrics")


def test_a_note_of_the_vm_is_told_wherever_its_step_is(node: NodeFactory, releases: Built) -> None:
    """As the step ends, in the summary, under the step in the logs, and in the one object for scripts."""
    scene = Scene(node=node(), catalog=releases.reversible_catalog)
    left_out = LEFT_OUT + scene.node.eval(START_STRAY)
    upgrade = ("upgrade", *ALLOWED, str(releases.tarball("5.10.5")))
    said = scene.relup(*upgrade, "--allow", "no_such_code:nothing")
    assert "  --allow no_such_code:nothing: no finding is called this\n" in said.stderr
    assert f"  update emqx_metrics: {left_out}\n" in said.stderr
    assert f"  restart emqx_retainer: {RESTARTED}\n" in said.stderr
    assert f", ChangeCode emqx_metrics: {left_out}\n" in said.stdout

    logs = scene.relup("logs", "--steps").stdout
    assert f"    note: {left_out}\n" in logs
    assert f"    note: {RESTARTED}\n" in logs

    assert scene.relup("rollback").returncode == 0
    notes = scene.answer(*upgrade)["notes"]
    assert [note["note"] for note in notes if note["subject"] == "emqx_metrics"] == [left_out]
