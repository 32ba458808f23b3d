"""The tool as a process of its own: the real engine over the real journal, with a death at one append.

The journal's door is the only thing that is wrapped: everything behind and before it is what users run.
Reads an `Order` from its argument, prints an `End`.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine.clock import SystemClock
from engine.errors import RelupError
from engine.house import open_house, requester
from engine.node import dial
from engine.node.discovery import configured_node, running_node
from engine.node.errors import NodeNotFound
from engine.node.vm import Vm
from engine.options import Options
from engine.place import Place
from engine.progress import Silent
from engine.recovery import recover
from engine.release.package import open_package
from engine.run import House
from engine.state import UpgradeState
from engine.upgrade import upgrade
from fixtures.node import is_gone
from journal.door import Journal
from journal.errors import JournalError
from journal.events import AnyEvent, Entry, Head, UpgradeId
from tests.boundaries.point import End, Kill, Order


class DeadlyJournal:
    """The journal, at one of whose appends somebody dies."""

    def __init__(self, journal: Journal, kill: Kill, vm_pid: int | None) -> None:
        self._journal = journal
        self._kill = kill
        self._vm_pid = vm_pid

    def append(self, event: AnyEvent, *, upgrade_id: UpgradeId | None) -> Entry:
        head = self._journal.head()
        is_here = (head.seq if head else 0) + 1 == self._kill.entry
        if is_here and self._kill.side == "before":
            self._strike()
        entry = self._journal.append(event, upgrade_id=upgrade_id)
        if is_here and self._kill.side == "after":
            self._strike()
        return entry

    def _strike(self) -> None:
        if self._kill.victim in ("vm", "both") and self._vm_pid is not None:
            kill_vm(self._vm_pid)
        if self._kill.victim in ("tool", "both"):
            os.kill(os.getpid(), signal.SIGKILL)

    def entries(self, start: int = 1) -> Iterator[Entry]:
        return self._journal.entries(start)

    def head(self) -> Head | None:
        return self._journal.head()

    def reserve(self, size_bytes: int) -> None:
        self._journal.reserve(size_bytes)

    def release(self) -> None:
        self._journal.release()


def kill_vm(pid: int) -> None:
    """SIGKILL the VM and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    while not is_gone(pid):
        time.sleep(0.01)


def carried_out(order: Order) -> UpgradeState:
    """Do what is ordered."""
    root = Path(order.root)
    try:
        known = running_node(root)
    except NodeNotFound:
        known = configured_node(root)
    clock = SystemClock()

    def furnish(journal: Journal) -> House:
        return House(
            place=Place(root),
            data_dir=root / "data",
            catalog=Path(order.catalog),
            journal=DeadlyJournal(journal, order.kill, order.vm_pid) if order.kill else journal,
            connect=lambda: Vm(lambda: dial.connect(known)),
            clock=clock,
            progress=Silent(),
            interrupts=lambda: 0,
            by=requester("boundaries"),
        )

    with open_house(Place(root), furnish, clock=clock, node_name=known.name, command=order.command) as house:
        if order.command == "recover":
            return recover(house, direction=order.way, reopen=lambda path: open_package(Path(path)))
        tarball = Path(order.tarball)
        return upgrade(
            house, lambda: open_package(tarball), tarball=str(tarball), options=Options(watch_ms=0)
        )


def main() -> None:
    order = msgspec.json.decode(sys.argv[1], type=Order)
    try:
        end = End(phase=carried_out(order).phase.name)
    except (RelupError, JournalError) as error:
        end = End(error=error.name, happened=error.happened)
    print(msgspec.json.encode(end).decode())


if __name__ == "__main__":
    main()
