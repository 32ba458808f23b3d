"""`relup journal fresh`: what it refuses to forget, and what it says before it forgets it."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.build import Built
from fixtures.node import RunningNode
from journal.opening import create_or_open
from journal.reader import read
from tests.engine.scene import FRONT_DOOR, Scene
from tests.journal.stories import Story, Ticking, refused, success, told, unfinished, write


@pytest.fixture
def installed(releases: Built, tmp_path: Path) -> Scene:
    """A node that is down and has no journal yet."""
    node = RunningNode.install(releases.tree("5.10.4"), tmp_path / "node")
    return Scene(node=node, catalog=releases.catalog)


def with_journal(scene: Scene, story: Story, *, root: str | None = None) -> Scene:
    """Its journal tells that story."""
    journal = scene.place.journal
    with create_or_open(journal, clock=Ticking(), node=None, root=root or str(scene.place.root)) as store:
        write(store, story)
    return scene


def put_aside(scene: Scene) -> list[Path]:
    return sorted(scene.place.relup.glob("journal.aside-*"))


def answered(scene: Scene, answer: str) -> subprocess.CompletedProcess[str]:
    """What the command says to a person at a terminal who answers its question so."""
    main, side = pty.openpty()
    try:
        os.write(main, f"{answer}\n".encode())
        return subprocess.run(
            [sys.executable, str(FRONT_DOOR), "--root", str(scene.node.root), "journal", "fresh"],
            stdin=side,
            capture_output=True,
            text=True,
            env=scene.node.environment,
            check=False,
        )
    finally:
        os.close(main)
        os.close(side)


@pytest.mark.parametrize("answer", ["n", "", "\x04"], ids=["no", "nothing", "the end of the question"])
def test_whoever_does_not_say_yes_keeps_the_journal(installed: Scene, answer: str) -> None:
    """That was asked and answered: it is no error."""
    result = answered(with_journal(installed, told(refused)), answer)
    assert (result.returncode, result.stdout.strip()) == (0, "nothing was changed")
    assert put_aside(installed) == []


def test_whoever_says_yes_gets_a_new_journal(installed: Scene) -> None:
    """The question is put on stderr."""
    result = answered(with_journal(installed, told(refused)), "y")
    assert "Begin a new journal" in result.stderr
    assert "a new journal begins" in result.stdout
    assert len(put_aside(installed)) == 1


def test_a_sound_journal_with_an_unfinished_upgrade_is_not_put_aside(installed: Scene) -> None:
    """Nobody could recover it then; the way to do it all the same is named."""
    scene = with_journal(installed, told(unfinished))
    written = len(list(read(scene.place.journal).entries()))
    result = scene.relup("journal", "fresh", "--yes")
    assert result.returncode == 11
    assert "(upgrade_unfinished)" in result.stderr
    assert "relup recover" in result.stderr
    assert "--forget" in result.stderr
    assert put_aside(scene) == []
    assert len(list(read(scene.place.journal).entries())) == written


def test_an_unfinished_upgrade_is_forgotten_when_that_is_said(installed: Scene) -> None:
    """And told."""
    scene = with_journal(installed, told(unfinished))
    result = scene.relup("journal", "fresh", "--yes", "--forget")
    assert result.returncode == 0
    assert "nobody can recover it any more" in result.stdout
    assert len(put_aside(scene)) == 1


def test_a_hop_that_stands_is_told_before_it_is_forgotten(installed: Scene) -> None:
    """Rollback and verify cannot speak of it any more."""
    scene = with_journal(installed, told(success))
    asked = answered(scene, "n")
    assert asked.stdout.startswith("The hop to 5.10.5 lives in the VM until its restart.")
    assert put_aside(scene) == []
    assert scene.relup("journal", "fresh", "--yes").returncode == 0
    assert len(put_aside(scene)) == 1


def test_a_journal_of_nothing_in_particular_is_put_aside_without_a_word(installed: Scene) -> None:
    """There is nothing to forget."""
    scene = with_journal(installed, told(refused))
    result = scene.relup("journal", "fresh", "--yes")
    assert result.returncode == 0
    assert result.stdout.startswith("a new journal begins")


def test_a_journal_of_another_root_is_put_aside_whatever_it_says(installed: Scene) -> None:
    """Its unfinished upgrade is not this node's, and recover refuses it."""
    scene = with_journal(installed, told(unfinished), root="/opt/elsewhere")
    assert scene.relup("journal", "fresh", "--yes").returncode == 0
    assert len(put_aside(scene)) == 1


def test_a_damaged_journal_is_put_aside_whatever_it_says(installed: Scene) -> None:
    """That is what the command is for."""
    scene = with_journal(installed, told(unfinished))
    (file,) = scene.place.journal.glob("[0-9]*/data.mdb")
    content = file.read_bytes()
    at = content.rindex(b"StepStarted")
    file.write_bytes(content[:at] + b"stepStarted" + content[at + 11 :])
    assert scene.relup("journal", "fresh", "--yes").returncode == 0
    assert len(put_aside(scene)) == 1
