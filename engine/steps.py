"""The steps of an upgrade: imperatives, as values. Pure: what a step is, never how it is done.

A step is one phase, a batch of modules or one update of all a module's processes, and never one process.
The steps are recorded in `PlanResolved` and read back from there by recovery; `recorded` and `from_record`
are that round trip. Erlang terms travel in their text form, as the hop wrote them, so that a person can
read the journal.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, assert_never

import msgspec

from journal.events import ModuleChange, RecordedStep


class _Step(msgspec.Struct, frozen=True, kw_only=True, tag_field="step", tag=str):
    is_live: ClassVar[bool] = False
    """Changes the running VM."""
    undoable: ClassVar[bool] = True
    undo_tries: ClassVar[int] = 1
    """How often its undoing is tried, where a process that did not stop in time was all that failed."""


class VerifyPackage(_Step, frozen=True, tag="VerifyPackage"):
    """The digest of the open tarball equals the sidecar's."""


class UnpackTarget(_Step, frozen=True, tag="UnpackTarget"):
    """The runtime folders lie in the staging folder."""


class DeployTarget(_Step, frozen=True, tag="DeployTarget"):
    """The staged tree becomes `relup/<version>/`."""

    version: str


class PathMove(msgspec.Struct, frozen=True, kw_only=True):
    """One application's ebin folder in the code path: `old` gives its place to `new`."""

    application: str
    old: str | None
    new: str | None


class SetCodePath(_Step, frozen=True, tag="SetCodePath"):
    """The changed applications are looked for in the new tree."""

    is_live = True
    moves: tuple[PathMove, ...]


class LoadModules(_Step, frozen=True, tag="LoadModules"):
    """Neighbouring `load_module`s of the hop, switched together."""

    is_live = True
    modules: tuple[ModuleChange, ...]


class ChangeCode(_Step, frozen=True, tag="ChangeCode"):
    """`{update, M, {advanced, Extra}}`: the module and the states of its processes.

    On the way up a process that does not stop in time costs an attempt. On the way back it would cost a whole
    release, and it may stop a moment later.
    """

    is_live = True
    undo_tries = 3
    module: ModuleChange
    from_version: str
    extra: str
    """Erlang text."""


class RestartApplication(_Step, frozen=True, tag="RestartApplication"):
    """Stop, load, start again, right there."""

    is_live = True
    application: str
    version: str
    """Of the application in the target."""
    modules: tuple[ModuleChange, ...]
    old_app_file: str
    new_app_file: str


class VerifyNode(_Step, frozen=True, tag="VerifyNode"):
    """Read back what the steps before are said to have done."""


class ApplyFunction(_Step, frozen=True, tag="ApplyFunction"):
    """`{apply, M, F, Args}` of a hop."""

    is_live = True
    undoable = False
    module: str
    function: str
    arguments: str
    """Erlang text of the argument list."""


class RunCallback(_Step, frozen=True, tag="RunCallback"):
    """A post-upgrade callback: the first of `modules` that is loaded by then is called."""

    is_live = True
    undoable = False
    modules: tuple[str, ...]
    function: str
    arguments: str
    """Erlang text of the argument list, the from-version first."""


class MakePermanent(_Step, frozen=True, tag="MakePermanent"):
    """`relup/current` names the target."""

    version: str


Step = (
    VerifyPackage
    | UnpackTarget
    | DeployTarget
    | SetCodePath
    | LoadModules
    | ChangeCode
    | RestartApplication
    | VerifyNode
    | ApplyFunction
    | RunCallback
    | MakePermanent
)

PREPARATION: tuple[Step, ...] = (VerifyPackage(), UnpackTarget())
"""Walked before there is a plan; the plan's own steps are numbered after them."""


def name_of(step: Step) -> str:
    """The step's name in the journal and in messages: `LoadModules`."""
    return type(step).__name__


def subject_of(step: Step) -> str:
    """One line for people: what the step is about."""
    match step:
        case VerifyPackage():
            return "digest against the sidecar"
        case UnpackTarget():
            return "into the staging folder"
        case DeployTarget(version=version):
            return f"relup/{version}/"
        case SetCodePath(moves=moves):
            return counted(len(moves), "application")
        case LoadModules(modules=modules):
            return modules[0].module if len(modules) == 1 else f"{len(modules)} modules"
        case ChangeCode(module=module):
            return module.module
        case RestartApplication(application=application, modules=modules):
            return f"{application}, {counted(len(modules), 'module')}"
        case VerifyNode():
            return "live code, applications, suspended processes"
        case ApplyFunction(module=module, function=function):
            return f"{module}:{function}"
        case RunCallback(modules=modules, function=function):
            return f"{modules[0]}:{function}"
        case MakePermanent(version=version):
            return f"relup/current says {version}"
    assert_never(step)


def module_changes(step: Step) -> tuple[ModuleChange, ...]:
    """The modules a step moves, in the order it moves them."""
    match step:
        case LoadModules(modules=modules) | RestartApplication(modules=modules):
            return modules
        case ChangeCode(module=module):
            return (module,)
        case _:
            return ()


def has_way_back(step: Step) -> bool:
    """The old code of every module it moves is at hand, in a file that holds exactly what runs."""
    if isinstance(step, RestartApplication) and not step.old_app_file:
        return False
    return all(change.from_md5 is None or change.from_file is not None for change in module_changes(step))


def first_irreversible(steps: Sequence[RecordedStep]) -> int | None:
    """Number of the first step that cannot be undone, the point of no return; None when there is none."""
    return next((step.number for step in steps if not step.undoable), None)


_MODULES_FIELD = {"LoadModules": "modules", "RestartApplication": "modules", "ChangeCode": "module"}
"""The field that stands in the record as `modules`, readable without knowing the step."""


def recorded(step: Step, *, number: int) -> RecordedStep:
    """The step as `PlanResolved` keeps it."""
    arguments: dict[str, Any] = msgspec.to_builtins(step)
    name = arguments.pop("step")
    arguments.pop(_MODULES_FIELD.get(name, ""), None)
    return RecordedStep(
        number=number,
        name=name,
        subject=subject_of(step),
        undoable=step.undoable and has_way_back(step),
        modules=module_changes(step),
        arguments=arguments,
    )


def from_record(record: RecordedStep) -> Step:
    """The step that a record was made from.

    Raises:
        msgspec.ValidationError: The record is of a newer relup with steps unknown here.
    """
    fields: dict[str, Any] = {"step": record.name, **record.arguments}
    changes = msgspec.to_builtins(record.modules)
    match _MODULES_FIELD.get(record.name):
        case "modules":
            fields["modules"] = changes
        case "module":
            fields["module"] = changes[0]
    step: Step = msgspec.convert(fields, Step)
    return step


def counted(number: int, noun: str) -> str:
    """`1 module`, `3 modules`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
