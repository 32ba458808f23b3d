"""What is said to the agent and what it answers, as Erlang terms and as values of the door. Pure.

The other side of each word is engine/agent/*.erl. `PROTOCOL` changes when an older agent would
misunderstand; agents of one protocol can be asked after by any relup.
"""

from collections.abc import Iterable
from typing import Any, assert_never

from engine.node import door
from engine.term import Atom, Pid, Term, charlist, format_term, text_of

PROTOCOL = 1
NAME = "relup_agent"
OUTCOME = Atom("outcome")


def keyed(key: door.StepKey, request: Term) -> Term:
    """A request about one try of one step."""
    return (PROTOCOL, key.upgrade_id.encode(), (key.step, Atom(key.direction)), key.attempt, request)


def performing(order: door.StepOrder, client: Pid) -> Term:
    """The request to have `order` done; `client` hears of its progress."""
    return (Atom("perform"), order_term(order), client)


def plain(request: str) -> Term:
    """A request about the agent itself: hello, dismiss."""
    return (PROTOCOL, Atom(request))


# ---------------------------------------------------------------- orders


def order_term(order: door.StepOrder) -> Term:
    """The order as the agent reads it."""
    match order:
        case door.SetCodePath():
            moves = [(_folder(move.old), _folder(move.new)) for move in order.moves]
            return (Atom("set_code_path"), moves)
        case door.LoadModules():
            return (Atom("load_modules"), _files(order.modules), _atoms(order.remove), _load_options(order))
        case door.ClearOldCode():
            patience = {
                Atom("blocker_timeout_ms"): order.blocker_timeout_ms,
                Atom("kill_blockers"): _boolean(False),
            }
            return (Atom("clear_old_code"), _atoms(order.modules), patience)
        case door.ChangeCode():
            return (Atom("change_code"), _change_code(order))
        case door.RestartApplication():
            restart = _load_options(order) | {
                Atom("app_file"): charlist(order.app_file),
                Atom("timeout_ms"): order.timeout_ms,
            }
            name = Atom(order.application)
            files, gone = _files(order.modules), _atoms(order.remove)
            return (Atom("restart_application"), name, files, gone, restart)
        case door.CallFunction():
            module, function = Atom(order.module), Atom(order.function)
            return (Atom("call_function"), module, function, list(order.arguments), order.timeout_ms)
    assert_never(order)


def _change_code(order: door.ChangeCode) -> Term:
    return {
        Atom("module"): _file(order.module),
        Atom("old"): _file(order.old) if order.old else Atom("none"),
        Atom("direction"): Atom(order.direction),
        Atom("vsn"): charlist(order.from_version),
        Atom("extra"): order.extra,
        Atom("suspend_timeout_ms"): order.suspend_timeout_ms,
        Atom("change_timeout_ms"): order.change_timeout_ms,
        Atom("blocker_timeout_ms"): order.blocker_timeout_ms,
        Atom("kill_blockers"): _boolean(order.kill_blockers),
    }


def _load_options(order: door.LoadModules | door.RestartApplication) -> dict[Any, Any]:
    return {
        Atom("max_stall_us"): order.max_stall_ms * 1000,
        Atom("blocker_timeout_ms"): order.blocker_timeout_ms,
        Atom("kill_blockers"): _boolean(order.kill_blockers),
        Atom("on_load_timeout_ms"): order.on_load_timeout_ms,
    }


def _folder(folder: str | None) -> Term:
    return Atom("none") if folder is None else charlist(folder)


def _files(files: tuple[door.ModuleFile, ...]) -> Term:
    return [_file(file) for file in files]


def _file(file: door.ModuleFile) -> Term:
    return (Atom(file.module), charlist(file.file), bytes.fromhex(file.md5))


def _atoms(names: tuple[str, ...]) -> Term:
    return [Atom(name) for name in names]


def _boolean(flag: bool) -> Atom:
    return Atom("true") if flag else Atom("false")


# ---------------------------------------------------------------- reports


def report_of(term: Term) -> door.StepReport:
    """The report that a term of the agent is.

    Raises:
        ValueError: It is none.
    """
    match term:
        case ("done", dict() as told):
            return door.StepDone(
                modules=told.get("modules", 0),
                skipped=told.get("skipped", 0),
                batches=told.get("batches", 0),
                worst_stall_us=told.get("worst_stall_us", 0),
                processes=told.get("processes", 0),
                worst_suspend_us=told.get("worst_suspend_us", 0),
                slowest=tuple(
                    door.SuspendedFor(pid=text_of(pid), name=text_of(name), us=us)
                    for pid, name, us in told.get("slowest", [])
                ),
                ended=_ended(told),
                returned=text_of(told["returned"]) if "returned" in told else None,
                notes=tuple(_in_number(text_of(note)) for note in told.get("notes", [])),
            )
        case ("not_done", dict() as told):
            return door.StepNotDone(
                name=text_of(told["name"]),
                detail=text_of(told["detail"]),
                reverted=told["reverted"] == "true",
                live={
                    text_of(module): md5.hex() if isinstance(md5, bytes) else None
                    for module, md5 in told.get("live", [])
                },
                ended=_ended(told),
            )
        case _:
            raise ValueError(f"no report: {format_term(term)[:200]}")


def _in_number(note: str) -> str:
    """The note as people say it: the agent counts one process as it counts many."""
    if not note.startswith("1 processes "):
        return note
    return note.replace(" processes ", " process ").replace(" run ", " runs ").replace(" were ", " was ")


def _ended(told: dict[Any, Any]) -> tuple[door.Ended, ...]:
    """All of them: they are counted against what the operator accepts, and a cut list would count too few."""
    return ended_of(told.get("ended", []))


def ended_of(processes: Iterable[Any]) -> tuple[door.Ended, ...]:
    """Ended processes as the agent names them: pid, name, reason, client id."""
    return tuple(
        door.Ended(pid=text_of(pid), name=text_of(name), reason=text_of(reason), client_id=client_of(client))
        for pid, name, reason, client in processes
    )


def client_of(term: Term) -> str | None:
    """An MQTT client id, or None for `undefined`."""
    return None if term == "undefined" else text_of(term)


def progress_of(message: Term) -> door.StepProgress | None:
    """The progress that a message of the agent tells; None when it is another message."""
    match message:
        case ("relup_progress", int(done), int(total), Atom() as unit):
            return door.StepProgress(done=done, total=total, unit=str(unit))
        case _:
            return None
