"""What a hop names is found before anything is touched, or the hop is refused."""

import shutil
from pathlib import Path

import pytest

from engine.release.beam import module_md5
from engine.release.errors import ApplicationNotFound, CallbackNotFound, CorruptBeam, ModuleNotFound
from engine.release.hop import Callback, Hop, LoadModule, RestartApplication, Update
from engine.release.resolution import Resolution, resolve
from engine.release.tree import ReleaseTree
from fixtures.build import Built


@pytest.fixture
def trees(releases: Built) -> tuple[ReleaseTree, ReleaseTree]:
    return ReleaseTree.read(releases.tree("5.10.5")), ReleaseTree.read(releases.tree("5.10.6"))


def hop_with(
    *instructions: LoadModule | Update | RestartApplication,
    callbacks: tuple[Callback, ...] = (),
    ebins: tuple[Path, ...] = (),
) -> Hop:
    return Hop(
        from_version="5.10.5",
        target_version="5.10.6",
        instructions=instructions,
        callbacks=callbacks,
        file=Path("a.relup"),
        sha256="",
        text="",
        ebins=ebins,
    )


def resolved(
    trees: tuple[ReleaseTree, ReleaseTree], hop: Hop, *, loaded: set[str] | None = None
) -> Resolution:
    live, target = trees
    return resolve(hop, live=live, target=target, loaded=set(live.modules) if loaded is None else loaded)


def test_a_module_is_taken_from_the_target_first(
    trees: tuple[ReleaseTree, ReleaseTree], tmp_path: Path
) -> None:
    """The package's beam of the same name is not asked."""
    shutil.copy(trees[0].modules["emqx_topic"], tmp_path / "emqx_metrics.beam")
    found = resolved(trees, hop_with(Update(module="emqx_metrics", extra=[]), ebins=(tmp_path,)))
    module = found.modules["emqx_metrics"]
    assert module.file == trees[1].modules["emqx_metrics"]
    assert module.md5 == module_md5(module.file)
    assert not module.from_package


def test_a_module_the_target_lacks_is_taken_from_the_hop_package(
    trees: tuple[ReleaseTree, ReleaseTree], tmp_path: Path
) -> None:
    """Hot-upgrade packages bring helpers that no release has."""
    source = trees[1].modules["emqx_retainer_limiter"]
    only = ReleaseTree(trees[1].root, trees[1].version, {})
    modules = {name: file for name, file in trees[1].modules.items() if name != "emqx_retainer_limiter"}
    only.__dict__["modules"] = modules
    shutil.copy(source, tmp_path)
    hop = hop_with(LoadModule(module="emqx_retainer_limiter"), ebins=(tmp_path / "none", tmp_path))
    found = resolved((trees[0], only), hop).modules["emqx_retainer_limiter"]
    assert found.file == tmp_path / "emqx_retainer_limiter.beam"
    assert found.from_package


def test_a_module_that_nobody_has_is_refused(trees: tuple[ReleaseTree, ReleaseTree]) -> None:
    """The official tool finds this in the middle of the upgrade."""
    with pytest.raises(ModuleNotFound, match="emqx_missing"):
        resolved(trees, hop_with(LoadModule(module="emqx_metrics"), LoadModule(module="emqx_missing")))


def test_an_application_the_target_lacks_is_refused(trees: tuple[ReleaseTree, ReleaseTree]) -> None:
    """Stopping it would be the end of it."""
    with pytest.raises(ApplicationNotFound, match="emqx_missing"):
        resolved(trees, hop_with(RestartApplication(application="emqx_missing")))


def test_a_restarted_application_brings_all_its_modules(trees: tuple[ReleaseTree, ReleaseTree]) -> None:
    """Those of the target, new ones too; those it lost are named, so that an undo brings them back."""
    found = resolved(trees, hop_with(RestartApplication(application="emqx_retainer")))
    application = found.applications["emqx_retainer"]
    assert "emqx_retainer_limiter" in {module.module for module in application.modules}
    assert application.removed == ()
    assert set(found.becomes_live()) == set(trees[1].applications["emqx_retainer"].modules)
    back = resolve(
        hop_with(RestartApplication(application="emqx_retainer")),
        live=trees[1],
        target=trees[0],
        loaded=set(),
    )
    assert back.applications["emqx_retainer"].removed == ("emqx_retainer_limiter",)


def test_an_application_that_is_never_restarted_is_not_even_looked_for(
    trees: tuple[ReleaseTree, ReleaseTree],
) -> None:
    """kernel's restart is passed over, as the official tool does."""
    found = resolved(trees, hop_with(RestartApplication(application="kernel")))
    assert found.applications == {}


def test_callbacks_need_a_module_that_is_loaded_by_then(trees: tuple[ReleaseTree, ReleaseTree]) -> None:
    """The versioned module first; one that the hop itself loads counts."""
    callbacks = (Callback(function="f"),)
    own = "emqx_post_upgrade_5.10.6"
    assert resolved(trees, hop_with(callbacks=callbacks)).callback_module == "emqx_post_upgrade"
    assert resolved(trees, hop_with(callbacks=callbacks), loaded={own}).callback_module == own
    loads = hop_with(LoadModule(module="emqx_post_upgrade"), callbacks=callbacks)
    assert resolved(trees, loads, loaded=set()).callback_module == "emqx_post_upgrade"
    assert resolved(trees, hop_with(), loaded=set()).callback_module is None
    with pytest.raises(CallbackNotFound, match=r"emqx_post_upgrade_5\.10\.6"):
        resolved(trees, hop_with(callbacks=callbacks), loaded=set())


def test_a_beam_that_holds_another_module_is_refused(
    trees: tuple[ReleaseTree, ReleaseTree], tmp_path: Path
) -> None:
    """The VM would refuse it in the middle of the hop."""
    shutil.copy(trees[1].modules["emqx_topic"], tmp_path / "emqx_helper.beam")
    with pytest.raises(CorruptBeam, match="holds the module emqx_topic"):
        resolved(trees, hop_with(LoadModule(module="emqx_helper"), ebins=(tmp_path,)))
