"""The three facts about versions, held against what a real wrapper boots and a real node runs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.place import Place
from engine.truth import Versions, versions
from fixtures.build import Built
from fixtures.node import RunningNode, place_tree
from tests.engine.scene import Scene
from tests.releases import NodeFactory

# ---------------------------------------------------------------- what boots next


@pytest.fixture(scope="module")
def installed(releases: Built, tmp_path_factory: pytest.TempPathFactory) -> RunningNode:
    """Base 5.10.5 with a deployed 5.10.6, and a 5.10.4 that is older than the base; not running."""
    node = RunningNode.install(releases.tree("5.10.5"), tmp_path_factory.mktemp("truth") / "node")
    for version in ("5.10.4", "5.10.6"):
        place_tree(releases.tree(version), node.root / "relup" / version)
    return node


@pytest.fixture
def marker(installed: RunningNode) -> Iterator[Path]:
    """relup/current, absent before and after."""
    path = installed.root / "relup" / "current"
    yield path
    path.unlink(missing_ok=True)


def holding(text: str) -> Callable[[Path], None]:
    """Writes a text into the marker."""

    def write(path: Path) -> None:
        path.write_text(text)

    return write


MARKERS: dict[str, tuple[Callable[[Path], None], str, str | None]] = {
    "absent": (lambda _: None, "5.10.5", None),
    "a deployed tree": (holding("5.10.6"), "5.10.6", None),
    "with a newline": (holding("5.10.6\n"), "5.10.6", None),
    "empty": (holding(""), "5.10.5", "relup/current is empty"),
    "torn": (
        holding("5.10."),
        "5.10.5",
        "relup/current cannot be followed: it does not hold a version; the base",
    ),
    "a path": (holding("../../x"), "5.10.5", "it does not hold a version"),
    "without a tree": (holding("5.10.7"), "5.10.5", "no such tree"),
    "older than the base": (holding("5.10.4"), "5.10.5", "the package was upgraded underneath"),
    "a symlink to nothing": (
        lambda path: path.symlink_to("/nowhere"),
        "5.10.5",
        "it is a symlink to nothing",
    ),
}


@pytest.mark.parametrize(("write", "boots", "trouble"), MARKERS.values(), ids=MARKERS)
def test_next_boot_is_what_the_wrapper_boots(
    installed: RunningNode, marker: Path, write: Callable[[Path], None], boots: str, trouble: str | None
) -> None:
    """Whatever lies at relup/current, `status` and bin/emqx agree, and what is wrong is said."""
    write(marker)
    facts = versions(Place(installed.root), None)
    assert installed.emqx("version").stdout.strip() == boots
    assert (facts.base, facts.next_boot) == ("5.10.5", boots)
    assert len(facts.troubles) == (0 if trouble is None else 1)
    assert trouble is None or trouble in facts.troubles[0]


def test_a_node_that_is_down_leaves_the_live_version_open(installed: RunningNode) -> None:
    """What could not be asked is None and not guessed from files."""
    facts = versions(Place(installed.root), None)
    assert (facts.live, facts.booted, facts.marker) == (None, None, None)


def test_a_tree_that_cannot_be_read_is_named_and_the_others_are_known(installed: RunningNode) -> None:
    """A half-removed tree hides nothing."""
    torn = installed.root / "relup" / "5.10.9" / "releases"
    torn.mkdir(parents=True)
    try:
        facts = versions(Place(installed.root), None)
    finally:
        torn.rmdir()
        torn.parent.rmdir()
    assert facts.base == "5.10.5"
    (trouble,) = facts.troubles
    assert str(torn.parent) in trouble


# ---------------------------------------------------------------- what runs


def seen(scene: Scene) -> Versions:
    """The facts of a running node."""
    node = scene.connect()
    try:
        return versions(scene.place, node)
    finally:
        node.close()


def load_by_hand(node: RunningNode, beam: Path) -> None:
    """As an operator does in a remote console."""
    file = f'"{beam.with_suffix("")}"'
    assert node.eval(f"code:purge({beam.stem}), element(1, code:load_abs({file}))") == "module"


def beam_of(built: Built, version: str, module: str) -> Path:
    return next(built.tree(version).glob(f"lib/emqx-*/ebin/{module}.beam"))


def test_code_loaded_by_hand_is_seen_and_said(node: NodeFactory, releases: Built) -> None:
    """Live stays the release that matches best; the modules that are not its own are named."""
    scene = Scene(node=node())
    facts = seen(scene)
    assert facts.live is not None
    assert (facts.base, facts.booted, facts.live.version, facts.live.says) == ("5.10.4",) * 4
    assert (facts.live.drifted, facts.troubles) == ((), ())

    load_by_hand(scene.node, beam_of(releases, "5.10.5", "emqx_topic"))
    facts = seen(scene)
    assert facts.live is not None
    assert (facts.live.version, facts.live.drifted) == ("5.10.4", ("emqx_topic",))
    (trouble,) = facts.troubles
    assert trouble.startswith("1 loaded modules are not those of 5.10.4: emqx_topic")
    assert f"trouble: {trouble}" in scene.relup("status").stdout.splitlines()
    assert scene.answer("status")["troubles"] == [trouble]

    load_by_hand(scene.node, beam_of(releases, "5.10.5", "emqx_release"))
    facts = seen(scene)
    assert facts.live is not None
    assert (facts.live.version, facts.live.says) == ("5.10.4", "5.10.5")
    assert "the node calls itself 5.10.5, its code is that of 5.10.4" in facts.troubles


def test_after_a_hop_the_three_facts_differ_and_each_is_right(node: NodeFactory, releases: Built) -> None:
    """Removing the marker by hand changes what boots next and nothing else; the status says so."""
    scene = Scene(node=node(), catalog=releases.reversible_catalog)
    scene.upgrade(releases.tarball("5.10.5"))
    facts = seen(scene)
    assert facts.live is not None
    assert (facts.base, facts.booted, facts.live.version) == ("5.10.4", "5.10.4", "5.10.5")
    assert (facts.next_boot, facts.marker, facts.troubles) == ("5.10.5", "5.10.5", ())
    assert facts.live.tree == scene.place.tree("5.10.5")

    scene.place.marker.unlink()
    *lines, advice = scene.relup("status").stdout.splitlines()
    assert lines == [
        "hot-upgraded to 5.10.5; but a restart boots the base release: relup/current is missing",
        "base 5.10.4, live 5.10.5, next boot 5.10.4",
    ]
    assert advice.startswith("next: a restart gives the hop up.")

    scene.node.kill()
    scene.node.start()
    assert scene.relup("status").stdout.splitlines() == [
        "idle",
        "base 5.10.4, live 5.10.4, next boot 5.10.4",
    ]
