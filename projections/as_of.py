"""`relup logs --at SEQ|TIME`: what was so after that record: status, versions, and each module's code.

The order is the sequence. A time means the last record written at or before it, whatever the clock of the
machine did in between.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from journal.door import History
from journal.events import (
    Entry,
    ModuleChange,
    NodeObserved,
    NodeRestarted,
    PlanResolved,
    StepFailed,
    StepOutcomeUnknown,
    StepStarted,
    StepSucceeded,
)
from projections.facts import Facts, is_other_incarnation, step_forward
from projections.replay import facts_of_cleared

MODULES_IN_CLEARED = "modules"


class ModuleState(msgspec.Struct, kw_only=True):
    """One module of the VM as far as the journal knows it.

    Attributes:
        md5: Of the code that is live; None when it is not loaded.
        known: `changing` while a step works on it, `unsure` when that step's end was never seen.
        seq: The record that says so.
    """

    md5: str | None
    known: Literal["sure", "changing", "unsure"] = "sure"
    upgrade_id: str
    step: int
    seq: int


class AsOf(msgspec.Struct, kw_only=True):
    """The node as the journal knew it after record `facts.seq`."""

    facts: Facts
    modules: dict[str, ModuleState]


class _ModuleFold:
    def __init__(self, modules: dict[str, ModuleState]) -> None:
        self.modules = modules
        self._planned: dict[tuple[str | None, int], tuple[ModuleChange, ...]] = {}

    def add(self, entry: Entry, before: Facts) -> None:
        """Fold one entry on top of the facts before it."""
        event = entry.event
        match event:
            case PlanResolved():
                for step in event.steps:
                    self._planned[entry.upgrade_id, step.number] = step.modules
            case StepStarted() | StepSucceeded() | StepFailed() | StepOutcomeUnknown():
                for change in self._planned.get((entry.upgrade_id, event.step), ()):
                    self._move(change, entry, event)
            case NodeRestarted(node=node) | NodeObserved(node=node):
                if before.observed is not None and is_other_incarnation(before.observed, node):
                    self.modules.clear()
            case _:
                pass

    def _move(
        self,
        change: ModuleChange,
        entry: Entry,
        event: StepStarted | StepSucceeded | StepFailed | StepOutcomeUnknown,
    ) -> None:
        source, target = change.from_md5, change.to_md5
        if event.direction == "undo":
            source, target = target, source
        known = self.modules.get(change.module)
        live = known.md5 if known is not None else source
        state = ModuleState(md5=live, upgrade_id=entry.upgrade_id or "", step=event.step, seq=entry.seq)
        match event:
            case StepStarted():
                state.known = "changing"
            case StepSucceeded():
                state.md5 = target
            case StepFailed(reverted=True):
                state.md5 = source
            case StepFailed() | StepOutcomeUnknown():
                state.known = "unsure"
        self.modules[change.module] = state


def as_of(
    history: History,
    *,
    seq: int | None = None,
    at_ns: int | None = None,
    watch: Callable[[Entry], None] | None = None,
) -> AsOf:
    """Replay up to a record or a time; to the head when neither is given.

    Args:
        history: The journal.
        seq: The last record to fold.
        at_ns: Or the time that it was written at, at the latest.
        watch: Called with each entry that is folded.

    Raises:
        JournalError: The journal cannot be read that far.
    """
    if at_ns is not None:
        seq = _last_before(history, at_ns)
    beginning, entries = history.replay()
    cleared = beginning.cleared.state if beginning.cleared is not None else {}
    found = AsOf(facts=facts_of_cleared(cleared), modules=_modules_of_cleared(cleared))
    fold = _ModuleFold(found.modules)
    for entry in entries:
        if seq is not None and entry.seq > seq:
            break
        fold.add(entry, found.facts)
        step_forward(found.facts, entry)
        if watch is not None:
            watch(entry)
    return found


def _last_before(history: History, at_ns: int) -> int:
    found = 0
    for entry in history.replay()[1]:
        if entry.at <= at_ns:
            found = entry.seq
    return found


def _modules_of_cleared(state: dict[str, Any]) -> dict[str, ModuleState]:
    return msgspec.convert(state.get(MODULES_IN_CLEARED, {}), dict[str, ModuleState])
