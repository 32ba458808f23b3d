"""Root upgrades a node that runs as another user: what is written is that user's, whatever root's files are."""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.ahead import OUTSIDE, ROOMS
from fixtures.build import Built
from fixtures.node import RunningNode
from tests.engine.scene import Scene
from tests.engine.witness import assert_deployed, assert_runs

HOUSE = Path(__file__).resolve().parents[2]
STRANGER = 54_321
"""A user that no machine knows."""


def private_copy(folder: Path) -> Path:
    """relup in a folder that only its owner may enter; its front door."""
    folder.mkdir(mode=0o700)
    for room in ROOMS:
        shutil.copytree(HOUSE / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    return Path(shutil.copy(HOUSE / "relup.py", folder))


def give_to(user: int, root: Path) -> None:
    """All of a tree. Erlang's own files, which it shares with every other tree, become its own first."""
    for path in (root, *root.rglob("*")):
        if path.lstat().st_nlink > 1 and path.is_file() and not path.is_symlink():
            own = path.with_name(f"{path.name}.own")
            shutil.copy2(path, own)
            own.replace(path)
        os.chown(path, user, user, follow_symlinks=False)


@pytest.fixture
def street() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own it closes again whenever a session begins."""
    with tempfile.TemporaryDirectory(prefix="relup-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_root_upgrades_a_node_of_another_user(releases: Built, street: Path) -> None:
    """It becomes that user before the first byte, and needs none of its own files afterwards.

    Without root the same is done as one user.
    """
    user = STRANGER if os.geteuid() == 0 else os.geteuid()
    door = private_copy(street / "private")
    with RunningNode.install(releases.tree("5.10.4"), street / "node") as node:
        node.environment |= {"HOME": str(street)}
        if user == STRANGER:
            give_to(user, node.root)
        start = [str(node.bin), "start"]
        subprocess.run(start, user=user, env=node.environment, capture_output=True, check=True)
        chosen = ["--root", str(node.root), "--catalog", str(shared(releases.reversible_catalog, street))]
        upgrade = ["upgrade", str(releases.tarball("5.10.5")), "--full-speed"]
        for words in (upgrade, ["status"], ["verify"], ["rollback"], ["logs-clear"], upgrade):
            done = subprocess.run(
                [sys.executable, str(door), *chosen, *words],
                env=node.environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (words, done.stdout, done.stderr)
        assert_runs(node, "5.10.5", built=releases, connections=0)
        assert_deployed(node, "5.10.5", built=releases)
        relup = node.root / "relup"
        assert {path.lstat().st_uid for path in (relup, *relup.rglob("*"))} == {user}


def shared(catalog: Path, folder: Path) -> Path:
    """A copy of a catalog that everybody may read."""
    return Path(shutil.copytree(catalog, folder / "catalog"))


def test_a_root_that_the_nodes_user_cannot_write_is_refused(releases: Built, street: Path) -> None:
    """13, before the first byte: the right that counts is that of the node's user, not root's."""
    node = RunningNode.install(releases.tree("5.10.4"), street / "node")
    node.root.chmod(0o555)
    if os.geteuid() == 0:
        os.chown(node.root, STRANGER, STRANGER)
    scene = Scene(node=node, catalog=releases.catalog)
    before = sorted(node.root.iterdir())
    for command in ("upgrade", "plan"):
        result = scene.relup("--json", command, str(releases.tarball("5.10.5")))
        assert result.returncode == 13, result.stderr
        assert '"no_write_permission"' in result.stdout
    assert sorted(node.root.iterdir()) == before
    node.root.chmod(0o755)


def test_everything_that_is_imported_late_is_loaded_ahead() -> None:
    """A new late import of a library has to be named in cli/ahead.py."""
    files = [file for room in ROOMS for file in (HOUSE / room).rglob("*.py")]
    late = {name for file in files for name in late_imports(file) if name.partition(".")[0] not in ROOMS}
    start = "import sys, relup, cli.app, cli.output; print(*sys.modules)"
    begun = subprocess.run(
        [sys.executable, "-c", start], cwd=HOUSE, capture_output=True, text=True, check=True
    )
    assert late - set(begun.stdout.split()) - set(OUTSIDE) == set()


def late_imports(file: Path) -> set[str]:
    """The modules that a file imports inside its functions."""
    found: set[str] = set()
    for function in ast.walk(ast.parse(file.read_text())):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    found |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module is not None:
                    found.add(node.module)
    return found
