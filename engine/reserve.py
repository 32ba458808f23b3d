"""How much of the disk is put aside for the record of the work ahead, so that a full one cannot stop it. Pure."""

import msgspec

from engine.state import UpgradeState
from engine.steps import from_record
from journal.events import EndedProcess, PlanResolved

ENTRY_BYTES = 16 * 1024
"""What one entry of a step may take, LMDB's pages included; the processes that the step ended not."""
ENDED_BYTES = 384
"""What one ended process takes in an entry at most, where its name and its client's are of usual length."""
REASON_CHARS = 200
"""Of why a process ended; the node's log has all of it."""


def journal_need_bytes(state: UpgradeState) -> int:
    """Room for two entries of every step, of each try of its undoing, and for what stands around them."""
    return journal_need_of(state.plan, ended_before=len(state.ended))


def journal_need_of(plan: PlanResolved | None, *, ended_before: int = 0) -> int:
    """The same for a plan that is not written yet.

    A process that ends is named by its step, and once more: by the end of the upgrade, or where its successor
    ends in the undoing. The modules are named by the plan, and twice where the hop ends between releases.

    Args:
        plan: None before there is one.
        ended_before: Processes that the upgrade has ended so far: its end names them too.
    """
    if plan is None:
        return 8 * ENTRY_BYTES
    ended = ended_before + 2 * plan.may_end
    tries = sum(1 + from_record(step).undo_tries for step in plan.steps)
    entries = (2 * tries + 8) * ENTRY_BYTES
    return entries + 3 * len(msgspec.msgpack.encode(plan)) + ended * ENDED_BYTES


def shortened(process: EndedProcess) -> EndedProcess:
    """The process with a reason that the room put aside for it holds."""
    if len(process.reason) <= REASON_CHARS:
        return process
    return msgspec.structs.replace(process, reason=process.reason[: REASON_CHARS - 1] + "…")
