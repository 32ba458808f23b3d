"""Release trees: what they say of themselves, and what is refused."""

import shutil
from pathlib import Path

import pytest

from engine.errors import BadRelease
from engine.release.errors import (
    CannotReadEmqxVars,
    CannotReadRelease,
    DuplicateRelVsn,
    InvalidRelVsn,
    RelVsnNotFound,
)
from engine.release.tree import ReleaseTree, check_whole
from engine.release.vars import MAX_BYTES
from fixtures.build import Built


def vars_of(folder: Path, content: bytes | str) -> Path:
    """A tree with nothing but an emqx_vars."""
    (folder / "releases").mkdir(parents=True)
    (folder / "releases" / "emqx_vars").write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


@pytest.mark.parametrize(
    "line",
    [
        'REL_VSN="5.10.4"',
        "REL_VSN=5.10.4",
        "REL_VSN='5.10.4'",
        "export REL_VSN=5.10.4",
        '  REL_VSN="5.10.4" # built',
    ],
)
def test_the_version_is_read_from_a_plain_assignment(tmp_path: Path, line: str) -> None:
    """Every way in which a shell would assign the same literal."""
    tree = ReleaseTree.read(vars_of(tmp_path, f"# comment\n{line}\nERTS_VSN='13.1'\nX=\"$HOME\"\n"))
    assert str(tree.version) == "5.10.4"
    assert tree.emqx_vars == {"REL_VSN": "5.10.4", "ERTS_VSN": "13.1"}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("ERTS_VSN=1\n", RelVsnNotFound),
        ('REL_VSN=""\n', RelVsnNotFound),
        ("REL_VSN=\n", RelVsnNotFound),
        ("MY_REL_VSN=5.10.4\n", RelVsnNotFound),
        ("REL_VSN=5.10.4\nREL_VSN=5.10.4\n", DuplicateRelVsn),
        ("REL_VSN=5.10.4\nexport REL_VSN=5.10.5\n", DuplicateRelVsn),
        ("REL_VSN=../x\n", InvalidRelVsn),
        ('REL_VSN="5.10.4 "\n', InvalidRelVsn),
        ("REL_VSN=5.10.4 x\n", InvalidRelVsn),
        ("REL_VSN=$(id)\n", InvalidRelVsn),
        ('REL_VSN="`id`"\n', InvalidRelVsn),
        ("REL_VSN=5.10.4;id\n", InvalidRelVsn),
        ('REL_VSN="5.10.4"x\n', InvalidRelVsn),
        ("REL_VSN=${OTHER}\n", InvalidRelVsn),
        (b"REL_VSN=5.10.4\xff\n", CannotReadEmqxVars),
        (b"REL_VSN=5.10.4\n\0", CannotReadEmqxVars),
        (b"#" * (MAX_BYTES + 1), CannotReadEmqxVars),
    ],
)
def test_anything_but_one_plain_version_is_refused(
    tmp_path: Path, content: bytes | str, error: type[BadRelease]
) -> None:
    """REL_VSN is used in paths: missing, empty, twice, or with anything a shell would run, it is refused."""
    with pytest.raises(error):
        ReleaseTree.read(vars_of(tmp_path, content))


def test_a_tree_without_emqx_vars_is_refused(tmp_path: Path) -> None:
    """Missing, or a folder in its place."""
    with pytest.raises(CannotReadEmqxVars):
        ReleaseTree.read(tmp_path)
    (tmp_path / "releases" / "emqx_vars").mkdir(parents=True)
    with pytest.raises(CannotReadEmqxVars):
        ReleaseTree.read(tmp_path)


def test_a_built_release_is_read_whole(releases: Built) -> None:
    """Applications, modules, BUILD_INFO and the runtime of a real tree."""
    tree = ReleaseTree.read(releases.tree("5.10.5"))
    check_whole(tree)
    assert tree.is_enterprise is True
    assert tree.build["wordsize"] == "64"
    assert {"emqx", "emqx_conf", "emqx_retainer", "kernel"} <= set(tree.applications)
    file = tree.module_file("emqx_metrics")
    application = tree.app_of("emqx_metrics")
    assert file is not None
    assert file.is_file()
    assert application is not None
    assert application.name == "emqx"
    assert "stdlib" in application.requires
    assert tree.module_file("no_such_module") is None
    assert tree.app_of("no_such_module") is None


@pytest.fixture
def tree(releases: Built, tmp_path: Path) -> ReleaseTree:
    """A copy of a tree that a test may break."""
    folder = tmp_path / "tree"
    shutil.copytree(releases.tree("5.10.5"), folder, symlinks=True)
    return ReleaseTree.read(folder)


def test_a_tree_that_lacks_an_application_is_not_whole(tree: ReleaseTree) -> None:
    """emqx.rel names it, the folder is not there."""
    shutil.rmtree(tree.applications["emqx_retainer"].ebin)
    with pytest.raises(CannotReadRelease, match="emqx_retainer"):
        check_whole(tree)


def test_a_tree_that_lacks_its_runtime_is_not_whole(tree: ReleaseTree) -> None:
    """The boot would fail."""
    shutil.rmtree(tree.root / f"erts-{tree.erts_version}")
    with pytest.raises(CannotReadRelease, match="erts-"):
        check_whole(tree)


@pytest.mark.parametrize("name", ["emqx.rel", "BUILD_INFO"])
def test_a_tree_that_lacks_its_own_description_is_not_whole(tree: ReleaseTree, name: str) -> None:
    """What the tree says of itself is needed for every check."""
    (tree.release_folder / name).unlink()
    with pytest.raises(CannotReadRelease, match=name):
        check_whole(tree)


def test_a_rel_file_of_another_version_is_refused(tree: ReleaseTree) -> None:
    """The two descriptions of one tree must agree."""
    rel = tree.release_folder / "emqx.rel"
    rel.write_text(rel.read_text().replace('"5.10.5"', '"5.10.6"'))
    with pytest.raises(CannotReadRelease, match=r"5\.10\.6"):
        check_whole(tree)


def test_an_app_file_of_another_application_is_refused(tree: ReleaseTree) -> None:
    """An .app that describes something else describes nothing."""
    application = tree.applications["emqx_retainer"]
    application.app_file.write_text("{application, other, []}.")
    with pytest.raises(CannotReadRelease, match="does not describe emqx_retainer"):
        _ = application.properties
