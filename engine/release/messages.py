"""Messages between modules that the hop switches apart: requests that the other side knows no more.

The simple, sound form: literal requests (`tag` or `{tag, …}`) of `gen_server:call` and `cast` to a process that
is named after its module, against the clause heads of that module's handle_call and handle_cast. Not seen:
requests that are computed, that go to a pid, or that travel as plain messages.
"""

from collections.abc import Iterator
from typing import Any

from engine.release.case import Case
from engine.release.findings import Finding
from engine.release.forms import Forms, decoded
from engine.release.shape import parts_of

Request = tuple[str, str, int]
"""`call` or `cast`, the request's tag, and the tuple's size (0 for a bare atom)."""

_HANDLERS = {"call": ("handle_call", 3), "cast": ("handle_cast", 2)}


def message_findings(case: Case, server: str) -> Iterator[Finding]:
    """Requests to a switched module that one side sends and the other, of the other release, does not take."""
    old, new = case.old_forms(server), case.new_forms(server)
    if old is None or new is None or server in case.restarted or _handlers(old) == _handlers(new):
        return
    lost = _taken(old) - _taken(new)
    if lost:
        yield from _still_sent(case, server, lost)


def _still_sent(case: Case, server: str, lost: frozenset[Request]) -> Iterator[Finding]:
    for client in sorted(case.comparison.importers.get("gen_server", ())):
        if client == server or not case.is_loaded(client):
            continue
        if case.phases.get(client) == case.phases.get(server):
            continue
        forms = case.old_forms(client) if _names(case, client, server) else None
        sent = sorted(_sent(forms, server) & lost) if forms is not None else []
        for kind, tag, size in sent:
            yield _finding(case, client, server, kind, f"{{{tag}, …}}" if size else tag, size)


def _finding(case: Case, client: str, server: str, kind: str, request: str, size: int) -> Finding:
    stays = case.stays(client)
    words = f"{request} of {size} elements" if size else request
    return Finding(
        code="message_changed",
        severity="error" if stays else "warning",
        subject=f"{client}->{server}:{request.strip('{}').partition(',')[0]}",
        happened=f"{client} sends {server} the {kind} {words}, which the target's {server} does not take any more; "
        + ("the hop leaves that sender as it is" if stays else "the two are switched in different steps"),
        next=f"Switch {client} and {server} in neighbouring load_module lines, or keep the clause for one release.",
    )


def _names(case: Case, client: str, server: str) -> bool:
    beam = case.old_beam(client)
    return beam is not None and server in beam.atoms


def _handlers(forms: Forms) -> list[bytes | None]:
    """The handlers as they are encoded: most switched modules have none."""
    return [forms.functions.get(handler) for handler in _HANDLERS.values()]


def _taken(forms: Forms) -> frozenset[Request]:
    """The literal requests that the handlers' clause heads match."""
    found: set[Request] = set()
    for kind, (name, arity) in _HANDLERS.items():
        form = forms.function(name, arity)
        for clause in form[4] if form is not None else ():
            tag = _tag(clause[2][0])
            if tag is not None:
                found.add((kind, *tag))
    return frozenset(found)


def _sent(forms: Forms, server: str) -> frozenset[Request]:
    """The literal requests that a module sends to the process named after `server`."""
    found: set[Request] = set()
    for piece in forms.functions.values():
        if b"gen_server" not in piece or server.encode() not in piece:
            continue
        for part in parts_of(decoded(piece)):
            request = _request(part, server)
            if request is not None:
                found.add(request)
    return frozenset(found)


def _request(part: tuple[Any, ...], server: str) -> Request | None:
    match part:
        case (
            "call",
            _,
            ("remote", _, ("atom", _, "gen_server"), ("atom", _, ("call" | "cast") as kind)),
            [("atom", _, name), request, *_],
        ) if name == server:
            tag = _tag(request)
            return (str(kind), *tag) if tag is not None else None
    return None


def _tag(pattern: Any) -> tuple[str, int] | None:
    match pattern:
        case ("atom", _, name):
            return str(name), 0
        case ("tuple", _, [("atom", _, name), *rest]):
            return str(name), 1 + len(rest)
        case ("match", _, left, right):
            return _tag(left) or _tag(right)
    return None
