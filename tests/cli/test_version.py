"""The tool tells the version that it was packaged with."""

import tomllib
from pathlib import Path

from cli.version import VERSION

HOUSE = Path(__file__).resolve().parents[2]


def test_the_version_is_that_of_the_package() -> None:
    """`relup --version` and the wheel's name cannot drift apart."""
    assert tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]["version"] == VERSION
