"""What holds for every test."""

from tests.leftovers import pytest_sessionfinish
from tests.releases import node, releases, running

__all__ = ["node", "pytest_sessionfinish", "releases", "running"]
