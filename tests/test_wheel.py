"""The built wheel: what lies where in it, and that it runs from there without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.test_house import HOUSE, ROOMS


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = f"from poetry.core.masonry.api import build_wheel; print(build_wheel({str(folder)!r}))"
    built = subprocess.run(
        [sys.executable, "-c", build], cwd=HOUSE, capture_output=True, text=True, check=True
    )
    return folder / built.stdout.split()[-1]


def test_site_packages_gets_nothing_but_the_front_door_and_one_private_folder(wheel: Path) -> None:
    """No wheel of anybody else can collide with a top-level `cli` or `engine` of ours."""
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"relup.py", "_relup"}


def test_every_file_of_the_rooms_is_in_the_wheel(wheel: Path) -> None:
    """Sources, the agent's Erlang and every grammar come along; nothing else does."""
    shipped = {
        name.removeprefix("_relup/") for name in zipfile.ZipFile(wheel).namelist() if "_relup/" in name
    }
    kept = {
        str(path.relative_to(HOUSE))
        for room in ROOMS
        for path in (HOUSE / room).rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".beam")
    }
    assert shipped == kept
    assert any(name.endswith(".erl") for name in shipped)


def test_the_command_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """Unpacked as an installer does it, with the checkout out of reach, every module of the rooms is the wheel's."""
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    where = "import sys, relup; sys.argv = ['relup', 'status', '--help']\ntry: relup.main()\n"
    where += (
        "except SystemExit: pass\nprint(sys.modules['cli.main'].__file__, sys.modules['cli.status'].__file__)"
    )
    environ = {**os.environ, "PYTHONPATH": str(site)}
    ran = subprocess.run(
        [sys.executable, "-P", "-c", where],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[-1].split() == [
        f"{site}/_relup/cli/main.py",
        f"{site}/_relup/cli/status.py",
    ]
