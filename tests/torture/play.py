"""One run on the VM in memory: an upgrade, kills at random times, recoveries, and what must be so at its end."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.clock import SystemClock
from engine.errors import RelupError
from engine.history import last_upgrade
from engine.house import open_house, requester
from engine.options import Options
from engine.place import Place
from engine.progress import Silent
from engine.recovery import recover
from engine.release.package import open_package
from engine.run import House
from engine.state import Phase
from engine.upgrade import upgrade
from journal.door import Journal
from journal.errors import JournalError
from journal.events import Direction
from journal.reader import read
from tests.fake_node import FakeVm, VmDies
from tests.torture.far import FarNode, Tool
from tests.torture.oracle import Lost, Stuck, require_one_release
from tests.torture.small import Small, booted, fresh_root

LONGEST_STEP_S = 0.002
TOOL_TIMEOUT_S = 60
MOST_KILLS = 4


@dataclass
class Torture:
    """One RootDir and its VM, killed at the times that `dice` gives."""

    small: Small
    root: Path
    catalog: Path
    dice: random.Random

    def run(self) -> str:
        """Upgrade, kill, recover until nothing is open.

        Returns:
            How it ended: `target` or `base`, and how many were killed on the way: `base after 3 kills`.

        Raises:
            Stuck, Torn, Lost
        """
        fresh_root(self.small, self.root)
        self.vm = FakeVm(lambda: booted(self.root))
        self._vm_dies_at: float | None = None
        self._kills = 0
        self.vm.at_point = self._at_point
        self._work(self._upgrade, kills=True)
        for round_number in range(1, MOST_KILLS + 12):
            if not self.vm.is_running and self.dice.random() < 0.7:
                self.vm.start()
            if not self._is_open():
                break
            self._acknowledged = self._entries()
            self._work(self._recovery(), kills=round_number < MOST_KILLS)
        else:
            raise Stuck(f"open after {round_number} recoveries: {self._phase()}")
        if not self.vm.is_running:
            self.vm.start()
        return f"{self._judge()} after {self._kills} kills"

    # ------------------------------------------------------------ the tool

    def _work(self, work: Callable[[FarNode], None], *, kills: bool) -> None:
        begun = time.monotonic()
        victim = self.dice.choice(("tool", "vm", "both", "nobody")) if kills else "nobody"
        delay_s = self.dice.random() ** 2 * 0.9
        if victim in ("vm", "both"):
            self._vm_dies_at = begun + delay_s
        tool = Tool(self.vm, work)
        if victim in ("tool", "both"):
            time.sleep(delay_s)
            tool.kill()
        if not tool.join(TOOL_TIMEOUT_S):
            raise Stuck(f"a tool did not end within {TOOL_TIMEOUT_S} s")
        self._kills += tool.exit_code == -9
        if self._vm_dies_at is not None and time.monotonic() >= self._vm_dies_at:
            self.vm.die()
        self._kills += not self.vm.is_running
        self._vm_dies_at = None
        if tool.exit_code not in (0, -9):
            raise Stuck(f"a tool crashed with exit code {tool.exit_code}")

    def _at_point(self, _name: str) -> None:
        time.sleep(self.dice.random() * LONGEST_STEP_S)
        if self._vm_dies_at is not None and time.monotonic() >= self._vm_dies_at:
            self._vm_dies_at = None
            raise VmDies

    def _upgrade(self, node: FarNode) -> None:
        def work(house: House) -> None:
            upgrade(
                house,
                lambda: open_package(self.small.tarball),
                tarball=str(self.small.tarball),
                options=Options(full_speed=True, watch_ms=0),
            )

        self._in_house(node, work)

    def _recovery(self) -> Callable[[FarNode], None]:
        way: Direction = self.dice.choice(("do", "undo"))

        def work(house: House) -> None:
            recover(house, direction=way, reopen=lambda path: open_package(Path(path)))

        return lambda node: self._in_house(node, work)

    def _in_house(self, node: FarNode, work: Callable[[House], None]) -> None:
        clock = SystemClock()

        def furnish(journal: Journal) -> House:
            return House(
                place=Place(self.root),
                data_dir=self.root / "data",
                catalog=self.catalog,
                journal=journal,
                connect=lambda: node,
                clock=clock,
                progress=Silent(),
                interrupts=lambda: 0,
                by=requester("torture"),
            )

        try:
            with open_house(
                Place(self.root), furnish, clock=clock, node_name="emqx@127.0.0.1", command="torture"
            ) as house:
                work(house)
        except (RelupError, JournalError):
            return

    # ------------------------------------------------------------ judging

    def _entries(self) -> int:
        head = read(Place(self.root).journal).head()
        return head.seq if head else 0

    def _phase(self) -> Phase | None:
        state = last_upgrade(read(Place(self.root).journal))
        return state.phase if state else None

    def _is_open(self) -> bool:
        state = last_upgrade(read(Place(self.root).journal))
        return state is not None and state.is_open

    def _judge(self) -> str:
        """One release everywhere, and nobody gone; which release."""
        state = last_upgrade(read(Place(self.root).journal))
        succeeded = state is not None and state.phase == Phase.SUCCEEDED
        require_one_release(self.vm, self.root, at_target=succeeded)
        if self._entries() < getattr(self, "_acknowledged", 0):
            raise Lost("the journal lost entries")
        return "target" if succeeded else "base"
