"""Plan making: from a hop and what its names were found to mean, to the list of steps. Pure.

Neighbouring `load_module`s become one step, so that the VM can switch them in batches; a module is moved by one
step. Everything the hop names was resolved before; nothing can be missing here.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import assert_never

import msgspec

from engine.release.hop import (
    NEVER_RESTARTED,
    AnyInstruction,
    Apply,
    Callback,
    Hop,
    LoadModule,
    Update,
)
from engine.release.hop import RestartApplication as RestartInstruction
from engine.release.moves import moving_instructions
from engine.steps import (
    PREPARATION,
    ApplyFunction,
    ChangeCode,
    DeployTarget,
    LoadModules,
    MakePermanent,
    PathMove,
    RestartApplication,
    RunCallback,
    SetCodePath,
    Step,
    VerifyNode,
    recorded,
)
from engine.term import Term, charlist, format_term
from journal.events import ModuleChange, RecordedStep


class ApplicationChange(msgspec.Struct, frozen=True, kw_only=True):
    """An application that the hop restarts, in both releases."""

    application: str
    version: str
    """In the target."""
    old_app_file: str
    new_app_file: str
    modules: tuple[ModuleChange, ...]
    """Those of either release."""


class ResolvedHop(msgspec.Struct, frozen=True, kw_only=True):
    """A hop whose every name has been found."""

    hop: Hop
    modules: Mapping[str, ModuleChange]
    """Those that instructions name one by one, and those that its package brings for its functions."""
    applications: Mapping[str, ApplicationChange]
    path_moves: tuple[PathMove, ...]


def planned_steps(resolved: ResolvedHop) -> tuple[Step, ...]:
    """What is to be done after the preparation, in order."""
    hop = resolved.hop
    live = _live_steps(resolved)
    callbacks: list[Step] = [_callback(hop, callback) for callback in hop.callbacks]
    return (
        DeployTarget(version=hop.target_version),
        *([SetCodePath(moves=resolved.path_moves)] if resolved.path_moves else []),
        *live,
        VerifyNode(),
        *callbacks,
        *([VerifyNode()] if callbacks else []),
        MakePermanent(version=hop.target_version),
    )


def recorded_steps(steps: Sequence[Step]) -> tuple[RecordedStep, ...]:
    """The steps with their numbers, the preparation's before them."""
    first = len(PREPARATION) + 1
    return tuple(recorded(step, number=number) for number, step in enumerate(steps, start=first))


PARTS: Mapping[str, str] = {
    "package": "the package",
    "hop": "the hop file",
    "node": "the node, which is another one or was restarted",
    "marker": "relup/current",
    "live": "the modules that are loaded",
    "patches": "data/patches",
    "steps": "the steps",
}
"""All that a plan rests on, in the words of the error that says what has changed. The steps follow from the
rest: they are named where nothing else differs."""

_MARK_DIGITS = 4


def plan_id(parts: Mapping[str, object]) -> str:
    """A digest over everything the plan rests on, and behind it four digits of each part.

    Equal plans have equal ids; by the digits behind it two ids tell in what their plans differ.

    Args:
        parts: A plain value for each of PARTS.
    """
    assert parts.keys() == PARTS.keys(), "a part without a word could not be told"
    marks = "".join(_digest(parts[part])[:_MARK_DIGITS] for part in PARTS)
    return f"{_digest(parts)}-{marks}"


def differing_parts(planned: str, now: str) -> tuple[str, ...]:
    """The words of the parts in which two plans differ; none when `planned` is no id of this relup."""
    before, after = _marks(planned), _marks(now)
    if before is None or after is None:
        return ()
    found = [part for part, one, other in zip(PARTS, before, after, strict=True) if one != other]
    causes = [part for part in found if part != "steps"]
    return tuple(PARTS[part] for part in causes or found)


def _marks(identity: str) -> list[str] | None:
    marks = identity.partition("-")[2]
    if len(marks) != _MARK_DIGITS * len(PARTS):
        return None
    return [marks[at : at + _MARK_DIGITS] for at in range(0, len(marks), _MARK_DIGITS)]


def _digest(value: object) -> str:
    return hashlib.blake2b(msgspec.json.encode(value, order="deterministic"), digest_size=16).hexdigest()


def _live_steps(resolved: ResolvedHop) -> list[Step]:
    steps = _brought(resolved)
    for instruction in moving_instructions(resolved.hop):
        step = _step_of(resolved, instruction)
        if step is None:
            continue
        if isinstance(step, LoadModules) and steps and isinstance(before := steps[-1], LoadModules):
            step = LoadModules(modules=before.modules + step.modules)
            steps.pop()
        steps.append(step)
    return _with_check_before_functions(steps)


def _brought(resolved: ResolvedHop) -> list[Step]:
    """The modules that no instruction names: functions of the hop are in them, so they come first."""
    named = set(resolved.hop.modules())
    brought = tuple(change for module, change in resolved.modules.items() if module not in named)
    return [LoadModules(modules=brought)] if brought else []


def _with_check_before_functions(steps: list[Step]) -> list[Step]:
    """Read back once more before the first function that cannot be undone."""
    first = next((i for i, step in enumerate(steps) if isinstance(step, ApplyFunction)), None)
    return steps if first is None else [*steps[:first], VerifyNode(), *steps[first:]]


def _step_of(resolved: ResolvedHop, instruction: AnyInstruction) -> Step | None:
    """The step of one instruction; None for a restart that never happens."""
    match instruction:
        case LoadModule(module=module):
            return LoadModules(modules=(resolved.modules[module],))
        case Update(module=module, extra=extra):
            return ChangeCode(
                module=resolved.modules[module],
                from_version=resolved.hop.from_version,
                extra=format_term(extra),
            )
        case RestartInstruction(application=application):
            if application in NEVER_RESTARTED:
                return None
            return _restart(resolved.applications[application])
        case Apply(module=module, function=function, arguments=arguments):
            return ApplyFunction(module=module, function=function, arguments=format_term(list(arguments)))
    assert_never(instruction)


def _restart(change: ApplicationChange) -> Step:
    return RestartApplication(
        application=change.application,
        version=change.version,
        modules=change.modules,
        old_app_file=change.old_app_file,
        new_app_file=change.new_app_file,
    )


def _callback(hop: Hop, callback: Callback) -> Step:
    arguments: list[Term] = [charlist(hop.from_version), *callback.arguments]
    return RunCallback(
        modules=hop.callback_modules, function=callback.function, arguments=format_term(arguments)
    )
