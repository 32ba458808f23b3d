"""Whatever is refused leaves the node, and every byte under RootDir outside the journal, as they were.

One node for all of them. Each case is tried by `plan` first, which may leave nothing at all, then by `upgrade`.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.exit_codes import exit_code
from engine.errors import Refusal, RelupError
from engine.node.cookie import Cookie
from fixtures.broken import build_broken
from fixtures.build import Built
from fixtures.node import RunningNode
from fixtures.package import write_sidecar
from fixtures.variants import BuiltVariant, Variant, build_variant
from journal.events import Failure, UpgradeRefused, UpgradeRequested
from projections.logs import all_rows
from tests.engine.footprint import node_differences, node_footprint, tree_footprint
from tests.engine.scene import Scene
from tests.in_memory import folder_in_memory

REQUEST, RELEASE, PLACE, UNFIT, UNREACHABLE = 11, 12, 13, 14, 50
"""Exit codes of the groups that refuse."""


@dataclass
class Bench:
    """What a case is arranged on.

    Attributes:
        scene: The shared node with the good catalog.
        desk: A folder of the case's own, outside RootDir.
    """

    scene: Scene
    built: Built
    desk: Path

    @property
    def node(self) -> RunningNode:
        return self.scene.node

    def package(self, *, version: str = "5.10.5") -> Path:
        """A copy of a good package, with its sidecar."""
        tarball = self.desk / self.built.tarball(version).name
        shutil.copy(self.built.tarball(version), tarball)
        write_sidecar(tarball)
        return tarball

    def hop(self, text: str, *, name: str = "5.10.4-to-5.10.5.relup") -> Path:
        """A catalog with one file."""
        folder = self.desk / "catalog"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        return folder


@dataclass
class Arranged:
    """What is asked for.

    Attributes:
        scene: Instead of the bench's.
        undo: Called when the case is over, to give the node back as it was.
    """

    tarball: Path
    catalog: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    scene: Scene | None = None
    undo: Callable[[], object] = lambda: None


Arrange = Callable[[Bench], Arranged]


@dataclass(frozen=True)
class Case:
    """One refusal.

    Attributes:
        name: The error's name, EMQX's own where it has one.
        code: The exit code.
        says: A text that `happened` contains.
        heard: What the node itself writes about it.
        target: The version that the package says; None where it is refused before that can be known.
    """

    name: str
    code: int
    arrange: Arrange
    says: str = ""
    heard: frozenset[str] = frozenset()
    target: str | None = "5.10.5"


# ---------------------------------------------------------------- the tarball and its sidecar


def without_sidecar(bench: Bench) -> Arranged:
    tarball = bench.package()
    sidecar_of(tarball).unlink()
    return Arranged(tarball)


def with_sidecar(content: str) -> Arrange:
    def arrange(bench: Bench) -> Arranged:
        tarball = bench.package()
        sidecar_of(tarball).write_text(content)
        return Arranged(tarball)

    return arrange


def with_unreadable_sidecar(bench: Bench) -> Arranged:
    tarball = bench.package()
    sidecar_of(tarball).unlink()
    sidecar_of(tarball).mkdir()
    return Arranged(tarball)


def sidecar_of(tarball: Path) -> Path:
    return tarball.with_name(f"{tarball.name}.sha256")


def no_tarball(bench: Bench) -> Arranged:
    tarball = bench.package()
    tarball.unlink()
    return Arranged(tarball)


def tarball_is_a_link(bench: Bench) -> Arranged:
    tarball = bench.package()
    aside = tarball.rename(tarball.with_suffix(".aside"))
    tarball.symlink_to(aside)
    return Arranged(tarball)


def truncated(*, with_right_sidecar: bool) -> Arrange:
    def arrange(bench: Bench) -> Arranged:
        tarball = bench.package()
        with tarball.open("r+b") as file:
            file.truncate(tarball.stat().st_size * 2 // 3)
        if with_right_sidecar:
            write_sidecar(tarball)
        return Arranged(tarball)

    return arrange


def not_a_tarball(bench: Bench) -> Arranged:
    tarball = bench.package()
    tarball.write_bytes(b"\xfd7zXZ\0 not ours" * 100)
    write_sidecar(tarball)
    return Arranged(tarball)


# ---------------------------------------------------------------- the release in it


def broken(name: str, **options: object) -> Arrange:
    """One of the published broken releases."""
    return lambda bench: of_variant(build_broken(bench.built, name), options)


def variant(name: str, **changes: object) -> Arrange:
    """A good release but for these changes."""
    made = replace(Variant(name, name), **changes)  # type: ignore[arg-type] # fields by name
    return lambda bench: of_variant(build_variant(bench.built, made), {})


def of_variant(found: BuiltVariant, options: Mapping[str, Any]) -> Arranged:
    return Arranged(found.tarball, found.catalog, options=options)


def same_version(bench: Bench) -> Arranged:
    return Arranged(bench.package(version="5.10.4"))


# ---------------------------------------------------------------- the catalog and its hop


def with_hop(text: str) -> Arrange:
    return lambda bench: Arranged(bench.package(), bench.hop(text))


def empty_catalog(bench: Bench) -> Arranged:
    catalog = bench.desk / "catalog"
    catalog.mkdir()
    return Arranged(bench.package(), catalog)


def no_catalog_folder(bench: Bench) -> Arranged:
    return Arranged(bench.package(), bench.desk / "nowhere")


def two_different_hops(bench: Bench) -> Arranged:
    text = (bench.built.reversible_catalog / "5.10.4-to-5.10.5.relup").read_text()
    bench.hop(text, name="a.relup")
    return Arranged(bench.package(), bench.hop(f"{text}%% another\n", name="b.relup"))


CALLBACK_HOP = """
#{from_version => "5.10.4", target_version => "5.10.5",
  code_changes => [{load_module, emqx_topic}], post_upgrade_callbacks => [count_connections]}.
"""


def callback_module_is_not_loaded(bench: Bench) -> Arranged:
    """Neither loaded now nor by the hop."""
    load = "{module, _} = code:load_file(emqx_post_upgrade)"
    bench.node.eval("true = code:delete(emqx_post_upgrade), code:purge(emqx_post_upgrade)")
    return Arranged(bench.package(), bench.hop(CALLBACK_HOP), undo=lambda: bench.node.eval(load))


# ---------------------------------------------------------------- the node and its place


def with_patches(bench: Bench) -> Arranged:
    patch = bench.node.root / "data" / "patches" / "emqx_broker.beam"
    shutil.copy(next(bench.node.root.glob("lib/emqx-*/ebin/emqx_broker.beam")), patch)
    return Arranged(bench.package(), undo=patch.unlink)


def somebody_is_suspended(bench: Bench) -> Arranged:
    """By somebody else, before we came."""
    bench.node.eval("sys:suspend(emqx_retainer)")
    return Arranged(bench.package(), undo=lambda: bench.node.eval("sys:resume(emqx_retainer)"))


def a_supervisor_is_busy(bench: Bench) -> Arranged:
    """With whatever it does for longer than anybody waits; it has no process that the hop updates."""
    bench.node.eval(
        "Us = self(), Hold = fun(S) -> Us ! held, receive go_on -> S end end,"
        " spawn(fun() -> sys:replace_state(emqx_retainer_sup, Hold, infinity) end), receive held -> ok end"
    )
    return Arranged(bench.package(), undo=lambda: bench.node.eval("emqx_retainer_sup ! go_on"))


def connection_without_a_supervisor(bench: Bench) -> Arranged:
    bench.node.eval(
        "Us = self(), spawn(fun() -> {ok, P} = emqx_connection:start_link(undefined), register(stray, P),"
        " Us ! started, receive after infinity -> ok end end), receive started -> ok end"
    )
    return Arranged(bench.package(), undo=lambda: bench.node.eval("exit(whereis(stray), kill)"))


def with_wrong_cookie(bench: Bench) -> Arranged:
    known = msgspec.structs.replace(bench.scene.known_now(), cookie=Cookie("not-the-cookie"))
    return Arranged(bench.package(), scene=replace(bench.scene, known=known))


def other_plan(bench: Bench) -> Arranged:
    return Arranged(bench.package(), options={"plan_id": "0" * 32})


def base_is_unreadable(bench: Bench) -> Arranged:
    """The tree that the node runs does not say its version any more."""
    variables = bench.node.root / "releases" / "emqx_vars"
    aside = variables.rename(variables.with_suffix(".aside"))
    return Arranged(bench.package(), undo=lambda: aside.rename(variables))


NODE_LOG = frozenset({"log/erlang.log.1"})
"""The VM says there whom it turned away."""

CASES = {
    "no sidecar": Case("missing_sha256_sidecar", REQUEST, without_sidecar, target=None),
    "sidecar is a folder": Case("cannot_read_sha256_sidecar", REQUEST, with_unreadable_sidecar, target=None),
    "sidecar is empty": Case("invalid_sha256_sidecar", RELEASE, with_sidecar(""), target=None),
    "sidecar is no digest": Case(
        "invalid_sha256_sidecar", RELEASE, with_sidecar("what digest?\n"), target=None
    ),
    "sidecar of another file": Case("sha256_mismatch", RELEASE, with_sidecar(f"{'0' * 64}\n"), target=None),
    "no tarball": Case("target_tarball_not_found", REQUEST, no_tarball, target=None),
    "tarball is a symlink": Case("target_tarball_not_regular", REQUEST, tarball_is_a_link, target=None),
    "truncated tarball": Case("sha256_mismatch", RELEASE, truncated(with_right_sidecar=False), target=None),
    "published truncated": Case("truncated_gzip", RELEASE, truncated(with_right_sidecar=True), target=None),
    "another compression": Case("unsupported_compression", RELEASE, not_a_tarball, target=None),
    "no emqx_vars": Case(
        "cannot_read_emqx_vars",
        RELEASE,
        variant("vars-missing", damage={"releases/emqx_vars": "removed"}),
        target=None,
    ),
    "no REL_VSN": Case("rel_vsn_not_found", RELEASE, broken("rel-vsn-missing"), target=None),
    "empty REL_VSN": Case("rel_vsn_not_found", RELEASE, broken("rel-vsn-empty"), target=None),
    "two REL_VSNs": Case("duplicate_rel_vsn", RELEASE, broken("rel-vsn-duplicate"), target=None),
    "REL_VSN climbs": Case("invalid_rel_vsn", RELEASE, broken("rel-vsn-climbs"), "../x", target=None),
    "REL_VSN has spaces": Case(
        "invalid_rel_vsn", RELEASE, broken("rel-vsn-has-spaces"), "5.10.5 x", target=None
    ),
    "REL_VSN runs a command": Case(
        "invalid_rel_vsn", RELEASE, broken("rel-vsn-runs-a-command"), "pwned", target=None
    ),
    "no emqx.rel": Case(
        "cannot_read_release", RELEASE, variant("rel-missing", damage={"releases/*/emqx.rel": "removed"})
    ),
    "no BUILD_INFO": Case(
        "cannot_read_release", RELEASE, variant("info-missing", damage={"releases/*/BUILD_INFO": "removed"})
    ),
    "minor-version hop": Case("not_a_patch_hop", REQUEST, broken("minor-hop"), "5.11.0", target="5.11.0"),
    "downgrade": Case("target_is_older", REQUEST, broken("downgrade"), "5.10.3", target="5.10.3"),
    "same version": Case("already_upgraded_to_target_vsn", REQUEST, same_version, target="5.10.4"),
    "other OTP major": Case("otp_major_vsn_mismatch", RELEASE, broken("other-otp-major"), "27"),
    "other word size": Case(
        "otp_compatible_mismatch",
        RELEASE,
        variant("other-wordsize", texts={"releases/*/BUILD_INFO": (('wordsize: "64', 'wordsize: "32'),)}),
    ),
    "other system": Case("os_arch_mismatch", RELEASE, broken("other-os"), "el9"),
    "other processor": Case("os_arch_mismatch", RELEASE, broken("other-arch"), "s390x"),
    "other edition": Case(
        "edition_mismatch",
        RELEASE,
        variant(
            "other-edition", texts={"releases/emqx_vars": (('IS_ENTERPRISE="yes', 'IS_ENTERPRISE="no'),)}
        ),
    ),
    "runtime does not start": Case(
        "boot_rehearsal_failed", RELEASE, variant("no-erl", damage={"erts-*/bin/erl": "removed"})
    ),
    "config is refused": Case(
        "check_config_failed",
        RELEASE,
        broken("check-config-fails", waivers=("module_not_in_hop:emqx_conf",)),
        "license.key",
    ),
    "beam is cut in half": Case("corrupt_beam", RELEASE, broken("beam-truncated"), "emqx_channel"),
    "no hop": Case("no_relup_entry", REQUEST, empty_catalog),
    "catalog is nowhere": Case("cannot_read_catalog", REQUEST, no_catalog_folder),
    "hop names a missing module": Case(
        "module_not_found", RELEASE, broken("hop-names-missing-module"), "emqx_nowhere"
    ),
    "hop names a missing app": Case(
        "app_not_found", RELEASE, broken("hop-names-missing-app"), "emqx_nowhere"
    ),
    "unknown instruction": Case(
        "invalid_instr", RELEASE, broken("hop-has-unknown-instruction"), "frobnicate"
    ),
    "malformed hop file": Case("malformed_term", RELEASE, with_hop('#{from_version => \n  5.10.4"}.'), ":2:"),
    "hop is a script": Case("script_term", RELEASE, with_hop("F = fun() -> x end,\n#{a => F()}."), ":1:"),
    "two hops for one pair": Case("ambiguous_hop", RELEASE, two_different_hops),
    "no callback module": Case("post_upgrade_module_not_loaded", RELEASE, callback_module_is_not_loaded),
    "patches present": Case("patches_dir_not_empty", REQUEST, with_patches, "emqx_broker.beam", target=None),
    "somebody is suspended": Case("processes_suspended", UNFIT, somebody_is_suspended, "emqx_retainer"),
    "a supervisor does not answer": Case(
        "supervisors_silent", UNFIT, a_supervisor_is_busy, "1 supervisors did not answer: <"
    ),
    "an update cannot reach a process": Case(
        "unsafe_hop", RELEASE, connection_without_a_supervisor, "process_out_of_reach:emqx_connection"
    ),
    "base tree is unreadable": Case("live_release_unknown", UNFIT, base_is_unreadable),
    "plan has changed": Case("plan_changed", REQUEST, other_plan),
    "wrong cookie": Case("wrong_cookie", UNREACHABLE, with_wrong_cookie, heard=NODE_LOG, target=None),
}


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """Each case unpacks two releases and throws them away."""
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture(scope="module")
def shared(releases: Built, memory: Path) -> Iterator[Scene]:
    """One node for all cases, which has been planned for once: words that reading brings are there."""
    with RunningNode.install(releases.tree("5.10.4"), memory / "node") as node:
        scene = Scene(node=node.start(), catalog=releases.catalog)
        scene.plan(releases.tarball("5.10.5"))
        yield scene


@pytest.fixture
def bench(shared: Scene, releases: Built, memory: Path) -> Iterator[Bench]:
    """The shared node, as if relup had never been there."""
    shutil.rmtree(shared.place.relup, ignore_errors=True)
    desk = memory / "desk"
    desk.mkdir()
    yield Bench(scene=shared, built=releases, desk=desk)
    shutil.rmtree(desk)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_refusal_leaves_the_node_and_every_byte_as_they_were(case: Case, bench: Bench) -> None:
    """By its own name and number, in three parts; `plan` leaves no trace, `upgrade` its journal entry."""
    arranged = case.arrange(bench)
    scene = arranged.scene or bench.scene
    scene = replace(scene, catalog=arranged.catalog or scene.catalog)
    try:
        node_before, tree_before = node_footprint(bench.node), tree_footprint(bench.node.root)

        planned = refused(lambda: scene.plan(arranged.tarball, **arranged.options))
        assert_told(planned, case)
        assert left_by(bench.node.root, tree_before) == case.heard
        assert not scene.place.relup.exists()

        upgraded = refused(lambda: scene.upgrade(arranged.tarball, **arranged.options))
        assert_told(upgraded, case)
        assert left_by(bench.node.root, tree_before) == {"relup"} | case.heard
        assert sorted(path.name for path in scene.place.relup.iterdir()) == ["journal", "lock"]
        assert node_differences(bench.node, node_before) == []
    finally:
        arranged.undo()
    assert_written_down(scene, case)


def refused(act: Callable[[], object]) -> RelupError:
    with pytest.raises(RelupError) as raised:
        act()
    return raised.value


def assert_told(error: RelupError, case: Case) -> None:
    """The name, the number and the three parts."""
    assert (error.name, exit_code(error)) == (case.name, case.code), error.happened
    assert isinstance(error, Refusal) or case.code == UNREACHABLE
    assert case.says in error.happened
    assert error.happened.strip()
    assert error.runs_now
    assert error.next.strip()


def left_by(root: Path, before: dict[str, str]) -> set[str]:
    """The paths that are new or changed; none may be gone."""
    now = tree_footprint(root)
    assert before.keys() <= now.keys()
    return {path for path, imprint in now.items() if before.get(path) != imprint}


def assert_written_down(scene: Scene, case: Case) -> None:
    """From the request to a refusal of the same name, without a plan, and of which hop, as far as that is known."""
    events = [entry.event for entry in scene.entries()]
    kinds = [type(event).__name__ for event in events]
    assert kinds[:2] == ["JournalOpened", "UpgradeRequested"]
    assert isinstance(events[1], UpgradeRequested)
    assert "PlanResolved" not in kinds
    last = events[-1]
    assert isinstance(last, UpgradeRefused)
    assert isinstance(last.failure, Failure)
    assert last.failure.name == case.name
    assert all((last.failure.happened, last.failure.runs_now, last.failure.next))
    (row,) = all_rows(scene.entries())
    live = None if case.code == UNREACHABLE else "5.10.4"
    assert (row.from_version, row.target_version) == (live, case.target)
    assert (last.from_version, last.target_version) == (live, case.target)
