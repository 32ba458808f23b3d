"""What holds for every test."""

from hypothesis import HealthCheck, settings

from tests.leftovers import pytest_sessionfinish
from tests.releases import node, releases, running

__all__ = ["node", "pytest_sessionfinish", "releases", "running"]

# A machine that does something else for a second is no fault of what is tested.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")
