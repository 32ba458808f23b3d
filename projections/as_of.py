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

Certainty = Literal["sure", "changing", "unsure"]


class ModuleState(msgspec.Struct, kw_only=True):
    """One module of the VM as far as the journal knows it.

    Attributes:
        md5: Of the code that is live; None when it is not loaded.
        known: `changing` while a step works on it, `unsure` when that step's end was never seen.
        seq: The record that says so.
    """

    md5: str | None
    known: Certainty = "sure"
    upgrade_id: str
    step: int
    seq: int


class AsOf(msgspec.Struct, kw_only=True):
    """The node as the journal knew it after record `facts.seq`."""

    facts: Facts
    modules: dict[str, ModuleState]


_Outcome = StepSucceeded | StepFailed | StepOutcomeUnknown


class _ModuleFold:
    """Folds entries into `modules`; `finish` it before reading them."""

    def __init__(self, modules: dict[str, ModuleState]) -> None:
        self._modules = modules
        self._planned: dict[tuple[str | None, int], tuple[ModuleChange, ...]] = {}
        self._begun: tuple[Entry, StepStarted] | None = None

    def add(self, entry: Entry, before: Facts) -> None:
        """Fold one entry on top of the facts before it."""
        match entry.event:
            case StepStarted() as event:
                self.finish()
                self._begun = entry, event
            case StepSucceeded() | StepFailed() | StepOutcomeUnknown() as event:
                if self._begun is not None and self._begun[1].step != event.step:
                    self.finish()
                self._begun = None
                for change in self._planned.get((entry.upgrade_id, event.step), ()):
                    self._end(change, entry, event)
            case PlanResolved() as event:
                for step in event.steps:
                    if step.modules:
                        self._planned[entry.upgrade_id, step.number] = step.modules
            case NodeRestarted(node=node) | NodeObserved(node=node):
                if before.observed is not None and is_other_incarnation(before.observed, node):
                    self._forget(before.open.upgrade_id if before.open is not None else None)
            case _:
                pass

    def finish(self) -> None:
        """Tell of the step that was begun last and has no outcome yet."""
        if self._begun is None:
            return
        entry, event = self._begun
        self._begun = None
        for change in self._planned.get((entry.upgrade_id, event.step), ()):
            source = change.from_md5 if event.direction == "do" else change.to_md5
            self._set(change.module, self._known(change.module, source), entry, event.step, known="changing")

    def _end(self, change: ModuleChange, entry: Entry, event: _Outcome) -> None:
        source, target = change.from_md5, change.to_md5
        if event.direction == "undo":
            source, target = target, source
        match event:
            case StepSucceeded():
                self._set(change.module, target, entry, event.step)
            case StepFailed(reverted=True):
                self._set(change.module, source, entry, event.step)
            case StepFailed() | StepOutcomeUnknown():
                md5 = self._known(change.module, source)
                self._set(change.module, md5, entry, event.step, known="unsure")

    def _known(self, module: str, otherwise: str | None) -> str | None:
        state = self._modules.get(module)
        return state.md5 if state is not None else otherwise

    def _set(
        self, module: str, md5: str | None, entry: Entry, step: int, *, known: Certainty = "sure"
    ) -> None:
        upgrade_id = entry.upgrade_id or ""
        self._modules[module] = ModuleState(
            md5=md5, known=known, upgrade_id=upgrade_id, step=step, seq=entry.seq
        )

    def _forget(self, still_open: str | None) -> None:
        """Another VM: nothing is known of its code, and no plan but the open one will be walked in it."""
        self._modules.clear()
        self._planned = {walk: changes for walk, changes in self._planned.items() if walk[0] == still_open}


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
    fold.finish()
    return found


def _last_before(history: History, at_ns: int) -> int:
    found = 0
    for entry in history.replay()[1]:
        if entry.at <= at_ns:
            found = entry.seq
    return found


def _modules_of_cleared(state: dict[str, Any]) -> dict[str, ModuleState]:
    return msgspec.convert(state.get(MODULES_IN_CLEARED, {}), dict[str, ModuleState])
