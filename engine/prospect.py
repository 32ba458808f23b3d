"""What a plan saw on its way: checks with their evidence, findings, blockers, counts. Values for the reader.

Nothing here decides: what refuses has refused before.
"""

from collections.abc import Mapping

import msgspec

from engine.node.door import HeldFuns, ProcessSeen
from engine.release.findings import Judgement
from journal.events import RecordedStep

PAUSE_PER_PROCESS_US = 7
"""Measured: 10,000 idle processes are suspended, changed and resumed in 50 to 65 ms."""
PAUSE_BASE_US = 2_000


class Prospect(msgspec.Struct, frozen=True, kw_only=True):
    """What the survey saw.

    Attributes:
        checks: Name and evidence of each check that holds.
        judgement: The findings, sorted by what they do.
        blockers: Processes that run old code of a module of the hop: they are nudged, then waited for.
        held_funs: Funs of modules that the hop switches, from a search that is never complete.
        processes: Live processes by callback module, of the hop's modules.
        disk_bytes: What the deployed tree takes.
    """

    checks: tuple[tuple[str, str], ...]
    judgement: Judgement
    blockers: tuple[ProcessSeen, ...]
    held_funs: HeldFuns
    processes: Mapping[str, int]
    disk_bytes: int

    @property
    def blocked_clients(self) -> int:
        """How many blockers serve a client: what --kill-blockers costs at most."""
        return sum(process.client_id is not None for process in self.blockers)

    def processes_of(self, step: RecordedStep) -> int | None:
        """How many processes a step suspends; None for a step that suspends none."""
        if step.name != "ChangeCode":
            return None
        return sum(self.processes.get(change.module, 0) for change in step.modules)

    def may_end(self, steps: tuple[RecordedStep, ...], *, kill_blockers: bool) -> int:
        """How many processes the steps may end at worst: those whose state no code fits, and allowed kills."""
        updated = sum(self.processes_of(step) or 0 for step in steps)
        return updated + (len(self.blockers) if kill_blockers else 0)

    def expected_pause_us(self, steps: tuple[RecordedStep, ...]) -> int:
        """How long the longest update may stop its processes: an estimate, not a promise."""
        counts = [count for step in steps if (count := self.processes_of(step)) is not None]
        return PAUSE_BASE_US + PAUSE_PER_PROCESS_US * max(counts) if counts else 0
