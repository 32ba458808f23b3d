"""An upgrade is called complete only when the VM says so: a real one, in which a callback left something wrong."""

import json

import pytest

from fixtures.build import Built
from fixtures.variants import Variant, build_variant
from tests.engine.scene import Scene
from tests.releases import NodeFactory

BETWEEN_RELEASES = 30
"""Exit code."""


def left_by_a_callback(name: str, what: str, expression: str) -> Variant:
    """The good release but for what its last callback leaves behind."""
    return Variant(
        name,
        what,
        sources={
            "emqx/src/emqx_post_upgrade.erl": (
                ("count_connections(FromVsn) ->\n", f"count_connections(FromVsn) ->\n    {expression},\n"),
            )
        },
        reversible=False,
    )


SUSPENDS = left_by_a_callback(
    "callback-suspends", "A callback leaves a process suspended.", "ok = sys:suspend(emqx_metrics)"
)
STOPS = left_by_a_callback(
    "callback-stops-an-application",
    "A callback stops the application that the hop has restarted.",
    "ok = application:stop(emqx_retainer)",
)
UNLOADS = left_by_a_callback(
    "callback-unloads-a-module",
    "A callback throws a module out that the hop has loaded.",
    "true = code:delete(emqx_mgmt_cli)",
)


@pytest.mark.parametrize(
    ("variant", "says", "mended"),
    [
        (SUSPENDS, "(emqx_metrics) is suspended", "sys:resume(emqx_metrics)"),
        (STOPS, "application emqx_retainer 5.0.26 does not run", "application:start(emqx_retainer)"),
        (UNLOADS, "emqx_mgmt_cli runs nothing", "code:load_file(emqx_mgmt_cli)"),
    ],
    ids=lambda value: value.name if isinstance(value, Variant) else "",
)
def test_what_a_callback_left_wrong_is_no_complete_upgrade(
    node: NodeFactory, releases: Built, variant: Variant, says: str, mended: str
) -> None:
    """It is named, the marker is not written, and recover ends the upgrade once it has been put right."""
    wrong = build_variant(releases, variant)
    scene = Scene(node=node(), catalog=wrong.catalog)
    done = scene.relup("--json", "upgrade", str(wrong.tarball), "--full-speed")
    assert done.returncode == BETWEEN_RELEASES, done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["name"] == "verification_failed"
    assert says in error["happened"]
    assert not scene.place.marker.exists()
    assert scene.answer("status")["kind"] == "between_releases"
    (row,) = scene.relup("logs").stdout.splitlines()
    assert "success" not in row
    assert "reason=verification_failed" in row

    scene.node.eval(mended)
    recovered = scene.relup("recover")
    assert recovered.returncode == 0, recovered.stderr
    assert scene.place.marker.read_text() == "5.10.5"
    assert scene.answer("status")["kind"] == "pending"
    assert scene.relup("verify").returncode == 0
