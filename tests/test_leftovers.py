"""The watch over nodes that tests leave behind, with a real Erlang VM."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.leftovers import beams_under, leftovers

HOUSE = Path(__file__).resolve().parent.parent


def command(folder: Path) -> list[str]:
    erl = shutil.which("erl")
    assert erl is not None
    return [erl, "-noshell", "-noinput", "-emqx_data_dir", f"{folder}/data"]


@contextmanager
def running(folder: Path) -> Iterator[int]:
    """A VM whose command line names `folder`; ended on the way out."""
    node = subprocess.Popen(command(folder), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield node.pid
    finally:
        node.kill()
        node.wait()


def test_a_node_under_the_folder_is_found_and_one_elsewhere_is_not(tmp_path: Path) -> None:
    """Only nodes of this session are looked at; those of others are not ours to end."""
    with running(tmp_path / "ours") as ours, running(tmp_path / "theirs"):
        found = []
        while ours not in found and psutil.pid_exists(ours):  # the shell wrapper becomes the VM in a moment
            found = [process.pid for process in beams_under(tmp_path / "ours")]
        assert found == [ours]
    assert leftovers(tmp_path) == []


def test_a_session_that_leaves_a_node_fails_and_the_node_is_ended(tmp_path: Path) -> None:
    """The test itself passed; the session does not, and says which process it was."""
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "conftest.py").write_text("from tests.leftovers import pytest_sessionfinish\n")
    (suite / "test_it.py").write_text(
        "import subprocess\n"
        "from tests.leftovers import beams_under\n"
        "def test_leaves_a_node(tmp_path):\n"
        f"    line = {command(Path('FOLDER'))!r}\n"
        "    line[-1] = str(tmp_path / 'data')\n"
        "    subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode = 0\n"
        "    while not beams_under(tmp_path): pass  # the shell wrapper becomes the VM in a moment\n"
    )
    session = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--basetemp={tmp_path}/base",
            str(suite),
        ],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in session.stdout
    assert "left behind by a test: pid" in session.stdout
    assert session.returncode == 1
    assert leftovers(tmp_path / "base") == []
