"""relup's own rooms around the VM in memory, with a journal that runs full and a disk that fails on order."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.cleaning import removable, remove
from engine.clock import SystemClock
from engine.finished import give_up_marker, roll_back_finished
from engine.history import last_upgrade
from engine.house import open_house, requester
from engine.node.door import (
    Node,
    NodeFacts,
    ProcessSeen,
    StepKey,
    StepOrder,
    StepProgress,
    StepReport,
    StillRunning,
)
from engine.node.errors import ConnectionLost, RemoteException
from engine.options import Options
from engine.place import Place
from engine.progress import Silent
from engine.recovery import recover
from engine.release.package import open_package
from engine.run import House, Run
from engine.state import Phase, UpgradeState
from engine.term import Atom
from engine.truth import versions
from engine.upgrade import upgrade
from journal.codec import GENESIS, record
from journal.door import Journal
from journal.errors import JournalFull
from journal.events import AnyEvent, Direction, Entry, Head, UpgradeId
from journal.reader import read
from tests.fake_node import FakeNode, FakeVm
from tests.torture.oracle import TARGET
from tests.torture.small import Small, booted, fresh_root

ENDLESS = 10**6


@dataclass
class Disk:
    """The room that a journal has: for so many entries, then for none until it is given more."""

    entries_left: int = ENDLESS
    written: int = 0
    reserve_lies: bool = False
    """What was put aside is of no use when it is needed."""
    reserved_bytes: int = 0
    used_bytes: int = 0
    """By the entries since something was put aside."""


class FillingJournal:
    """The real journal on a disk that runs full; `append` and `reserve` then say what the store would say."""

    def __init__(self, journal: Journal, disk: Disk) -> None:
        self._journal = journal
        self._disk = disk

    def append(self, event: AnyEvent, *, upgrade_id: UpgradeId | None) -> Entry:
        self._require_room()
        self._disk.entries_left -= 1
        self._disk.written += 1
        entry = self._journal.append(event, upgrade_id=upgrade_id)
        self._disk.used_bytes += len(record(entry, previous=GENESIS)[1])
        return entry

    def reserve(self, size_bytes: int) -> None:
        if self._disk.reserve_lies:
            return
        self._require_room()
        self._journal.reserve(size_bytes)
        self._disk.reserved_bytes, self._disk.used_bytes = size_bytes, 0

    def _require_room(self) -> None:
        if self._disk.entries_left <= 0:
            raise JournalFull("There is no room for another record.", next="Free some disk space.")

    def entries(self, start: int = 1) -> Iterator[Entry]:
        return self._journal.entries(start)

    def head(self) -> Head | None:
        return self._journal.head()

    def release(self) -> None:
        self._journal.release()


class Notes(Silent):
    """Keeps what the operator would read on the screen; `at_step` is called with the title of each step."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.at_step: Callable[[str], None] = lambda _: None

    def step(self, title: str, *, total: int | None = None, unit: str = "") -> None:
        self.at_step(title)

    def note(self, text: str) -> None:
        self.lines.append(text)


class Wire(FakeNode):
    """A connection that may be broken when an answer is due, and cannot be opened while it is."""

    def __init__(
        self, vm: FakeVm, is_broken: Callable[[], bool], raises_in: Callable[[], str | None]
    ) -> None:
        super().__init__(vm)
        self._is_broken = is_broken
        self._raises_in = raises_in

    def suspended(self) -> tuple[ProcessSeen, ...]:
        self._require_answer("suspended")
        return super().suspended()

    def connections(self) -> int | None:
        self._require_answer("connections")
        return super().connections()

    def _require_answer(self, question: str) -> None:
        if self._raises_in() == question:
            raise RemoteException("error", Atom("badarg"), [], called=question)

    def observe(self) -> NodeFacts:
        self._require_whole()
        return super().observe()

    def outcome(self, key: StepKey) -> StepReport | StillRunning | None:
        self._require_whole()
        return super().outcome(key)

    def perform(
        self, key: StepKey, order: StepOrder, *, on_progress: Callable[[StepProgress], None] | None = None
    ) -> StepReport:
        self._require_whole()
        report = super().perform(key, order, on_progress=on_progress)
        self._require_whole()
        return report

    def _require_whole(self) -> None:
        if self._is_broken():
            raise ConnectionLost("The connection to the node broke.", next="Run 'relup recover'.")


@dataclass
class MemoryNode:
    """One RootDir of small releases and the VM in memory that runs on it.

    Attributes:
        disk: How much the journal may still write.
        notes: What the operator was told beside the errors.
        stop_at: The operator asks to stop when so many entries are written; None for never.
        requests: How often that is asked.
        raises_in: A question that the VM answers with an exception: `suspended` or `connections`.
    """

    small: Small
    root: Path
    catalog: Path
    disk: Disk = field(default_factory=Disk)
    notes: Notes = field(default_factory=Notes)
    stop_at: int | None = None
    requests: int = 1
    raises_in: str | None = None

    def __post_init__(self) -> None:
        fresh_root(self.small, self.root)
        self._is_lost = False
        self.vm = FakeVm(lambda: booted(self.root))

    @property
    def place(self) -> Place:
        return Place(self.root)

    @property
    def state(self) -> UpgradeState | None:
        """What the journal's readers make of it."""
        return last_upgrade(read(self.place.journal))

    @property
    def is_open(self) -> bool:
        state = self.state
        return state is not None and state.is_open

    @property
    def phase(self) -> Phase | None:
        """Where the last upgrade stands; None before the first."""
        return self.state.phase if self.state else None

    @property
    def at_target(self) -> bool:
        """The target's tree is there: a whole upgrade leaves it, and nothing else does."""
        return self.place.tree(TARGET).exists()

    def entries(self) -> list[Entry]:
        """Every entry, its chain checked."""
        return list(read(self.place.journal).entries())

    def lose_the_node_at(self, point: str) -> None:
        """The connection breaks at a point of a step, which the VM goes on with; nobody can connect anew."""

        def at_point(name: str) -> None:
            if name == point:
                self._is_lost = True

        self.vm.at_point = at_point

    def find_the_node(self) -> None:
        """It can be reached again."""
        self._is_lost = False
        self.vm.at_point = lambda _: None

    def upgrade(self, *, watch_ms: int = 0, **options: Any) -> UpgradeState:
        """What `relup upgrade` does, at full speed."""
        tarball = self.small.tarball
        with self._house("upgrade") as house:
            return upgrade(
                house,
                lambda: open_package(tarball),
                tarball=str(tarball),
                options=Options(full_speed=True, watch_ms=watch_ms, **options),
            )

    def recover(self, direction: Direction = "do") -> UpgradeState:
        """What `relup recover` does."""
        with self._house("recover") as house:
            return recover(house, direction=direction, reopen=lambda path: open_package(Path(path)))

    def roll_back(self) -> UpgradeState:
        """What `relup rollback` does."""
        with self._house("rollback") as house:
            return roll_back_finished(house)

    @contextmanager
    def in_hand(self) -> Iterator[Run]:
        """The last upgrade, with what its steps are looked at through."""
        assert self.state is not None
        with self._house("look") as house:
            yield Run(house=house, options=Options(), state=self.state)

    def give_up_marker(self) -> str:
        """What `relup rollback --boot-only` does."""
        with self._house("rollback") as house:
            return give_up_marker(house)

    def clean(self) -> None:
        """What `relup clean --yes` does."""
        with self._house("clean") as house:
            found = removable(self.place, versions(self.place, self._connect()), house.journal)
            remove(house, found)

    def _house(self, command: str) -> AbstractContextManager[House]:
        clock = SystemClock()
        return open_house(self.place, self._furnish, clock=clock, node_name=self.vm.name, command=command)

    def _furnish(self, journal: Journal) -> House:
        return House(
            place=self.place,
            data_dir=self.root / "data",
            catalog=self.catalog,
            journal=FillingJournal(journal, self.disk),
            connect=self._connect,
            clock=SystemClock(),
            progress=self.notes,
            interrupts=self._interrupts,
            by=requester("faults"),
        )

    def _interrupts(self) -> int:
        asked = self.stop_at is not None and self.disk.written >= self.stop_at
        return self.requests if asked else 0

    def _connect(self) -> Node:
        return Wire(self.vm, lambda: self._is_lost, lambda: self.raises_in)


MakeMemoryNode = Callable[[Path], MemoryNode]
"""A fresh one on these hops."""
