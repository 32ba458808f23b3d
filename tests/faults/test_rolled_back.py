"""Releases that fail on the live node: each is rolled back, every client stays, the node is as it was before."""

from collections.abc import Iterator

import pytest

from fixtures.broken import build_broken
from fixtures.build import Built
from journal.events import RollbackFinished, RollbackStarted, StepFailed, UpgradeFailed
from tests.boundaries.oracle import World
from tests.faults.serving import Serving

CLIENTS = 200
BUSY = 20
ROLLED_BACK = 20
"""Exit code."""
AN_IDLE_CONNECTION = 'hd(emqx_cm:lookup_channels(<<"swarm-150">>))'


@pytest.fixture(scope="module")
def serving(releases: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One node for all failures: what one of them left behind would show in the next."""
    root = tmp_path_factory.mktemp("serving") / "root"
    with Serving.opened(releases, root, clients=CLIENTS, busy=BUSY) as found:
        yield found


@pytest.fixture
def before(serving: Serving) -> World:
    """The node as it is when nothing was ever done to it."""
    seen = serving.world()
    assert seen.state_sizes == (3, *[5] * CLIENTS)
    assert (seen.suspended, seen.agent_modules, seen.in_relup) == (0, 0, set())
    assert (seen.marker, seen.trees, seen.leftovers) == (None, (), ())
    return seen


def require_told(serving: Serving, *, name: str, step: str) -> None:
    """The journal has the failed step, the automatic rollback and both ends."""
    events = serving.last_events()
    failed = [event for event in events if isinstance(event, StepFailed)]
    assert [(event.name, event.failure.name, event.direction) for event in failed] == [(step, name, "do")]
    started = next(event for event in events if isinstance(event, RollbackStarted))
    assert started.automatic
    assert started.cause is not None
    assert started.cause.name == name
    *_, finished, ended = events
    assert isinstance(finished, RollbackFinished)
    assert isinstance(ended, UpgradeFailed)
    assert (ended.ended_as, ended.failure.name) == ("rolled_back", name)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("variant", "name", "step"),
    [
        ("beam-garbled", "load_failed", "LoadModules"),
        ("on-load-fails", "load_failed", "LoadModules"),
        ("metrics-code-change-refuses", "code_change_failed", "ChangeCode"),
        ("code-change-crashes", "code_change_failed", "ChangeCode"),
        ("code-change-refuses", "code_change_failed", "ChangeCode"),
        ("app-does-not-start", "failed_to_start_app", "RestartApplication"),
    ],
)
def test_a_release_that_fails_in_the_vm_is_undone_under_its_clients(
    serving: Serving, before: World, releases: Built, variant: str, name: str, step: str
) -> None:
    """Code, states, path, marker and files are as before; the error has the name of what failed."""
    broken = build_broken(releases, variant)
    told = serving.upgrade(broken.tarball, catalog=broken.catalog)
    assert (told.code, told.error["name"]) == (ROLLED_BACK, name)
    assert told.answer["node"] == {"base": "5.10.4", "live": "5.10.4", "next_boot": "5.10.4"}
    require_told(serving, name=name, step=step)
    serving.require(before)


@pytest.mark.timeout(300)
def test_a_process_that_does_not_stop_in_time_undoes_the_upgrade(
    serving: Serving, before: World, releases: Built
) -> None:
    """One connection of 200 answers nobody: nobody stays suspended, and what was done before is undone."""
    with serving.held(AN_IDLE_CONNECTION):
        told = serving.upgrade(releases.tarball("5.10.5"))
    assert (told.code, told.error["name"]) == (ROLLED_BACK, "suspend_timeout")
    require_told(serving, name="suspend_timeout", step="ChangeCode")
    serving.require(before)
