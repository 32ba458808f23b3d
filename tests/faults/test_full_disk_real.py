"""The disk runs full under an upgrade of a real node that serves clients: before, in and after its live steps."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from cli.exit_codes import exit_code
from engine.errors import RelupError
from engine.progress import Silent
from engine.run import House
from fixtures.build import Built
from journal.door import Journal
from journal.errors import JournalError
from journal.events import PlanResolved, StepStarted
from tests.engine.scene import Scene
from tests.faults.disk import FullDisk
from tests.faults.memory import ENDLESS, Disk, FillingJournal
from tests.faults.serving import Serving

CLIENTS, BUSY = 60, 10
REFUSED, UNDONE = 13, 20
"""Exit codes."""


class Cue(Silent):
    """Does something when a step begins whose title begins so."""

    def __init__(self, title: str, act: Callable[[], None]) -> None:
        self.came = False
        self._title = title
        self._act = act

    def step(self, title: str, *, total: int | None = None, unit: str = "") -> None:
        if title.startswith(self._title):
            self.came = True
            self._act()


@dataclass(kw_only=True)
class CuedScene(Scene):
    """A scene whose journal has only so much room, and whose steps somebody listens to."""

    cue: Cue
    room: Disk

    def _furnished(self, journal: Journal) -> House:
        house = super()._furnished(FillingJournal(journal, self.room))
        return dataclasses.replace(house, progress=self.cue)


@pytest.fixture(scope="module")
def serving(releases: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One node for all: what a full disk left behind would show in the next."""
    root = tmp_path_factory.mktemp("serving") / "root"
    with Serving.opened(releases, root, clients=CLIENTS, busy=BUSY) as found:
        yield found


def told_by_upgrade(serving: Serving, cue: Cue, room: Disk) -> RelupError | JournalError:
    """The error that an upgrade to 5.10.5 is left with."""
    scene = CuedScene(node=serving.node, catalog=serving.built.reversible_catalog, cue=cue, room=room)
    with pytest.raises((RelupError, JournalError)) as raised:
        scene.upgrade(serving.built.tarball("5.10.5"))
    assert cue.came
    error = raised.value
    assert isinstance(error, RelupError | JournalError)
    return error


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("title", "operation", "code"),
    [
        ("unpack target", 300, REFUSED),
        ("deploy target", 100, UNDONE),
        ("make permanent", 3, UNDONE),
    ],
)
def test_a_disk_full_for_the_files_of_a_step_refuses_or_undoes_the_upgrade(
    serving: Serving, title: str, operation: int, code: int
) -> None:
    """The node, its files and its clients are as before, and the journal tells what happened."""
    before = serving.world()
    with pytest.MonkeyPatch.context() as patched:
        disk = FullDisk(patched, serving.scene.place.relup, full_from=ENDLESS, stays_full=True)
        error = told_by_upgrade(serving, Cue(title, lambda: disk.fill_up(after=operation)), Disk())
    assert disk.failed
    assert (error.name, exit_code(error)) == (
        "cannot_write_marker" if title == "make permanent" else "not_enough_disk_space",
        code,
    )
    serving.require(before)
    planned = [event for event in serving.last_events() if isinstance(event, PlanResolved)]
    assert bool(planned) == (code == UNDONE)
    assert serving.relup("status").answer["status"] == "idle"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("title", ["update emqx_connection", "restart emqx_retainer"])
def test_a_disk_full_for_the_journal_in_the_live_steps_undoes_them_without_it(
    serving: Serving, title: str
) -> None:
    """The step that cannot be written down is undone with all before it; with room again, recover ends it."""
    before, room = serving.world(), Disk()

    def fill_up() -> None:
        room.entries_left = 1

    error = told_by_upgrade(serving, Cue(title, fill_up), room)
    assert (error.name, exit_code(error)) == ("journal_full", UNDONE)
    serving.require(before)
    assert isinstance(serving.last_events()[-1], StepStarted)
    assert serving.relup("recover").code == 0
    serving.require(before)
    assert serving.relup("status").answer["status"] == "idle"
