"""A tree hashed by a child: the same answer, none when it fails, and no child left behind."""

import os
from pathlib import Path

import pytest

from engine.release.beam import file_md5s
from engine.release.hashing import hashing
from engine.release.tree import ReleaseTree
from fixtures.build import Built
from fixtures.files import copy_tree


def children() -> list[str]:
    """The living and the unburied children of this process."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested does not depend on the machine."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


def test_the_answer_is_that_of_hashing_it_here(releases: Built) -> None:
    """Every module of the tree, and the child is gone afterwards."""
    before = children()
    root = releases.tree("5.10.5")
    with hashing(root) as begun:
        assert begun is not None
        assert begun.root == root
        assert begun.md5s() == file_md5s(ReleaseTree.read(root).modules)
    assert children() == before


def test_a_tree_that_cannot_be_hashed_gives_no_answer(releases: Built, tmp_path: Path) -> None:
    """Who asked hashes it himself, and meets the error where it can be told."""
    copy_tree(releases.tree("5.10.5"), tmp_path / "tree")
    next((tmp_path / "tree").rglob("emqx_metrics.beam")).write_bytes(b"FOR1")
    with hashing(tmp_path / "tree") as begun:
        assert begun is not None
        assert begun.md5s() is None
    with hashing(tmp_path / "nowhere") as begun:
        assert begun is not None
        assert begun.md5s() is None


def test_an_answer_that_nobody_wants_is_not_waited_for(releases: Built) -> None:
    """The child is ended in the middle of its work."""
    before = children()
    with hashing(releases.tree("5.10.5")) as begun:
        assert begun is not None
        assert len(children()) == len(before) + 1
    assert children() == before


def test_one_core_does_one_thing_at_a_time(releases: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a child would only make it slower."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with hashing(releases.tree("5.10.5")) as begun:
        assert begun is None
