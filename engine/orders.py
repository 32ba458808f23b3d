"""From a step of the plan to an order for the VM, both ways. Pure.

`do` and `undo` of a step differ only in which side of each `ModuleChange` is made live and in the order:
what came last goes first.
"""

from collections.abc import Iterable
from typing import assert_never

from engine.node import door
from engine.options import Options
from engine.release.terms import read_term
from engine.steps import ChangeCode, LoadModules, PathMove, RestartApplication, SetCodePath
from engine.term import Atom, Call, Term
from journal.events import Direction, ModuleChange

LiveStep = SetCodePath | LoadModules | ChangeCode | RestartApplication


def order_for(step: LiveStep, *, direction: Direction, options: Options) -> door.StepOrder:
    """The order that walks `step` in `direction`."""
    match step:
        case SetCodePath(moves=moves):
            return door.SetCodePath(moves=_path_moves(moves, direction))
        case LoadModules(modules=modules):
            return door.LoadModules(
                modules=target_files(modules, direction),
                remove=removed(modules, direction),
                max_stall_ms=options.max_stall_ms,
                blocker_timeout_ms=options.blocker_timeout_ms,
                kill_blockers=_may_kill(options, direction),
            )
        case ChangeCode():
            return _change_code(step, direction, options)
        case RestartApplication():
            return door.RestartApplication(
                application=step.application,
                modules=target_files(step.modules, direction),
                remove=removed(step.modules, direction),
                app_file=step.new_app_file if direction == "do" else step.old_app_file,
                max_stall_ms=options.max_stall_ms,
                blocker_timeout_ms=options.blocker_timeout_ms,
                kill_blockers=_may_kill(options, direction),
            )
    assert_never(step)


def _may_kill(options: Options, direction: Direction) -> bool:
    """The operator allowed it for the hop; a rollback kills nobody."""
    return options.kill_blockers and direction == "do"


def _change_code(step: ChangeCode, direction: Direction, options: Options) -> door.ChangeCode:
    new = _file(step.module.module, step.module.to_file, step.module.to_md5)
    old = _file(step.module.module, step.module.from_file, step.module.from_md5)
    target, other = (new, old) if direction == "do" else (old, new)
    assert target is not None, "a plan updates only modules that both releases have"
    return door.ChangeCode(
        module=target,
        old=other,
        direction="up" if direction == "do" else "down",
        from_version=step.from_version,
        extra=read_term(step.extra),
        suspend_timeout_ms=options.suspend_timeout_ms,
        blocker_timeout_ms=options.blocker_timeout_ms,
        kill_blockers=_may_kill(options, direction),
    )


def _path_moves(moves: tuple[PathMove, ...], direction: Direction) -> tuple[door.CodePathMove, ...]:
    if direction == "do":
        return tuple(
            door.CodePathMove(application=move.application, old=move.old, new=move.new) for move in moves
        )
    return tuple(
        door.CodePathMove(application=move.application, old=move.new, new=move.old)
        for move in reversed(moves)
    )


def target_files(changes: Iterable[ModuleChange], direction: Direction) -> tuple[door.ModuleFile, ...]:
    """The files to make live, in the direction's order."""
    files = [
        _file(change.module, change.to_file, change.to_md5)
        if direction == "do"
        else _file(change.module, change.from_file, change.from_md5)
        for change in changes
    ]
    present = [file for file in files if file is not None]
    return tuple(present if direction == "do" else reversed(present))


def removed(changes: Iterable[ModuleChange], direction: Direction) -> tuple[str, ...]:
    """The modules that the direction's end does not have."""
    return tuple(
        change.module
        for change in changes
        if (change.to_md5 if direction == "do" else change.from_md5) is None
    )


def _file(module: str, file: str | None, md5: str | None) -> door.ModuleFile | None:
    if file is None or md5 is None:
        return None
    return door.ModuleFile(module=module, file=file, md5=md5)


def arguments_for(text: str, *, node_name: str) -> tuple[Term, ...]:
    """The argument list of an apply or a callback, with `node()` answered."""
    term = read_term(text, calls=True)
    assert isinstance(term, list), "a plan writes argument lists"
    return tuple(_answered(argument, node_name) for argument in term)


def _answered(term: Term, node_name: str) -> Term:
    """`term` with each call of `node/0` replaced by the node's name; the catalog admits no other call."""
    match term:
        case Call():
            return Atom(node_name)
        case tuple():
            return tuple(_answered(part, node_name) for part in term)
        case list():
            return [_answered(part, node_name) for part in term]
        case dict():
            return {_answered(key, node_name): _answered(value, node_name) for key, value in term.items()}
        case _:
            return term
