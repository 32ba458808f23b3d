"""One hop of the catalog: what leads a running node from one version to another. Values, and their reading
from a term; no file is opened here.

Source: the `.relup` maps of the EMQX hot-upgrade packages, both dialects: with `apply` and without, callbacks
as `F` or `{F, Args}`.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from engine.release.errors import InvalidInstruction, MalformedHop, ScriptTerm, TermError
from engine.release.terms import ParsedTerm, Position, decoded, parse_term, script_at
from engine.release.version import is_version
from engine.term import Atom, Call, ImproperList, Term, TermMap, format_term, text_of

NEVER_RESTARTED = frozenset({"kernel", "stdlib", "compiler"})
"""A restart of these would stop the VM; the official tool passes over them, and so do we."""

_KNOWN = "load_module, update, restart_application and apply"


class Instruction(msgspec.Struct, frozen=True, kw_only=True, tag_field="instruction", tag=str):
    """One code change, in the order of the hop.

    Attributes:
        line: Its line in the file, from 1.
    """

    line: int = 1


class LoadModule(Instruction, frozen=True, tag="load_module"):
    """`{load_module, M}`: replace the code of M."""

    module: str


class Update(Instruction, frozen=True, tag="update"):
    """`{update, M, {advanced, Extra}}`: replace M and change the states of its processes."""

    module: str
    extra: Any  # a Term, which msgspec need not look into


class RestartApplication(Instruction, frozen=True, tag="restart_application"):
    """`{restart_application, App}`."""

    application: str


class Apply(Instruction, frozen=True, tag="apply"):
    """`{apply, M, F, Args}`; `node()` in Args is a `Call`."""

    module: str
    function: str
    arguments: tuple[Any, ...]


AnyInstruction = LoadModule | Update | RestartApplication | Apply


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """One post-upgrade callback: `Mod:function(FromVsn, *arguments)`."""

    function: str
    arguments: tuple[Any, ...] = ()
    line: int = 1

    @property
    def arity(self) -> int:
        return 1 + len(self.arguments)


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """One `{from, target}` pair and what to do for it.

    Attributes:
        file: Where it was read from.
        sha256: Digest of the file's bytes, lower-case hex.
        text: The file's text.
        ebins: Folders with the beams that its package brings along; the first one that has a module wins.
    """

    from_version: str
    target_version: str
    instructions: tuple[AnyInstruction, ...]
    callbacks: tuple[Callback, ...]
    file: Path
    sha256: str
    text: str
    ebins: tuple[Path, ...] = ()

    @property
    def callback_modules(self) -> tuple[str, str]:
        """The modules asked for the callbacks; the first one loaded by then is called."""
        return (f"emqx_post_upgrade_{self.target_version}", "emqx_post_upgrade")

    def modules(self) -> Iterator[str]:
        """The modules that its instructions name, restarts of applications aside, in order."""
        for instruction in self.instructions:
            if isinstance(instruction, LoadModule | Update):
                yield instruction.module

    def restarted(self) -> tuple[str, ...]:
        """The applications it restarts; those that are never restarted are left out."""
        return tuple(
            instruction.application
            for instruction in self.instructions
            if isinstance(instruction, RestartApplication) and instruction.application not in NEVER_RESTARTED
        )


def read_hop(file: Path, *, ebins: tuple[Path, ...] = ()) -> Hop:
    """The hop that a `.relup` file holds.

    Raises:
        OSError: The file cannot be read.
        MalformedTerm, ScriptTerm, MalformedHop, InvalidInstruction: With file, line and column.
    """
    content = file.read_bytes()
    parsed = parse_term(decoded(content), calls=True, source=str(file))
    return hop_of(parsed, file=file, content=content, ebins=ebins)


def hop_of(parsed: ParsedTerm, *, file: Path, content: bytes, ebins: tuple[Path, ...] = ()) -> Hop:
    """The hop that a term describes; also for a term that a trusted script was evaluated to.

    Args:
        content: The bytes that the digest is taken of.

    Raises:
        ScriptTerm, MalformedHop, InvalidInstruction: With file, line and column.
    """
    reader = _Reader(parsed)
    fields = reader.fields()
    return Hop(
        from_version=reader.version(fields, "from_version"),
        target_version=reader.version(fields, "target_version"),
        instructions=tuple(map(reader.instruction, reader.listed(fields, "code_changes"))),
        callbacks=tuple(map(reader.callback, reader.listed(fields, "post_upgrade_callbacks"))),
        file=file,
        sha256=hashlib.sha256(content).hexdigest(),
        text=decoded(content),
        ebins=ebins,
    )


class _Reader:
    """Reads the parts of one hop term; every refusal names the place of the part."""

    def __init__(self, parsed: ParsedTerm) -> None:
        self._parsed = parsed
        self._shapes: dict[tuple[str, int], Callable[[Any, int], AnyInstruction]] = {
            ("load_module", 2): self._load_module,
            ("update", 3): self._update,
            ("restart_application", 2): self._restart_application,
            ("apply", 4): self._apply,
        }

    def fields(self) -> dict[str, Term]:
        """The map's fields; callbacks may be absent, unknown fields are let be as the official reader does."""
        match self._parsed.term:
            case dict() | TermMap() as term:
                pairs = {str(key): value for key, value in term.items() if isinstance(key, Atom)}
            case _:
                raise self._malformed(None, "a hop is a map: #{from_version => …, target_version => …, …}")
        fields: dict[str, Term] = {"post_upgrade_callbacks": [], **pairs}
        for name in ("from_version", "target_version", "code_changes"):
            if name not in fields:
                raise self._malformed(None, f"the hop has no {name}")
        return fields

    def version(self, fields: dict[str, Term], name: str) -> str:
        try:
            text = text_of(fields[name])
        except ValueError:
            raise self._malformed(None, f"{name} is no string") from None
        if not is_version(text):
            raise self._malformed(None, f"{name} {text[:64]!r} is no version")
        return text

    def listed(self, fields: dict[str, Term], name: str) -> list[Term]:
        value = fields[name]
        if not isinstance(value, list):
            raise self._malformed(value, f"{name} is no list")
        return value

    def instruction(self, term: Term) -> AnyInstruction:
        line, _ = self._place(term)
        if isinstance(term, tuple) and term and isinstance(term[0], Atom):
            shape = self._shapes.get((term[0], len(term)))
            if shape is not None:
                return shape(term, line)
        raise self._invalid(term, f"unknown instruction; relup knows {_KNOWN}")

    def callback(self, term: Term) -> Callback:
        match term:
            case Atom():
                return Callback(function=str(term), line=self._place(term)[0])
            case (Atom() as function, list() as arguments):
                self._check_calls(term, arguments)
                return Callback(function=str(function), arguments=tuple(arguments), line=self._place(term)[0])
        raise self._malformed(term, f"a callback is F or {{F, Args}}, not {_short(term)}")

    def _load_module(self, term: Any, line: int) -> AnyInstruction:
        return LoadModule(module=self._atom(term, term[1]), line=line)

    def _update(self, term: Any, line: int) -> AnyInstruction:
        match term[2]:
            case ("advanced", extra):
                self._refuse_calls(term, extra)
                return Update(module=self._atom(term, term[1]), extra=extra, line=line)
        raise self._invalid(term, "an update is {update, Module, {advanced, Extra}}")

    def _restart_application(self, term: Any, line: int) -> AnyInstruction:
        return RestartApplication(application=self._atom(term, term[1]), line=line)

    def _apply(self, term: Any, line: int) -> AnyInstruction:
        if not isinstance(term[3], list):
            raise self._invalid(term, "the arguments of an apply are a list")
        self._check_calls(term, term[3])
        return Apply(
            module=self._atom(term, term[1]),
            function=self._atom(term, term[2]),
            arguments=tuple(term[3]),
            line=line,
        )

    def _atom(self, term: Term, part: Term) -> str:
        if not isinstance(part, Atom):
            raise self._invalid(term, f"{_short(part)} stands where an atom has to")
        return str(part)

    def _check_calls(self, term: Term, arguments: Iterable[Term]) -> None:
        """Only `node()` may be called: it is what shipped hops have, and we answer it without evaluating."""
        for call in _calls_in(list(arguments)):
            if (call.module not in (None, "erlang")) or call.function != "node" or call.arguments:
                raise self._script(call)

    def _refuse_calls(self, term: Term, extra: Term) -> None:
        for call in _calls_in([extra]):
            raise self._script(call)

    def _place(self, part: object) -> Position:
        return self._parsed.position_of(part)

    def _script(self, call: Call) -> ScriptTerm:
        return script_at(
            self._parsed.source, *self._place(call), f"the call {format_term(call)} makes this a script"
        )

    def _invalid(self, part: Term, problem: str) -> TermError:
        return self._refusal(InvalidInstruction, part, f"{problem}: {_short(part)}")

    def _malformed(self, part: Term | None, problem: str) -> TermError:
        return self._refusal(MalformedHop, part, problem)

    def _refusal(self, kind: type[TermError], part: Term | None, problem: str) -> TermError:
        line, column = self._place(part)
        return kind(
            self._parsed.source,
            line,
            column,
            problem,
            next="Correct the hop file, or get it again from its author.",
        )


def _calls_in(waiting: list[Any]) -> Iterator[Call]:
    while waiting:
        match waiting.pop():
            case Call() as call:
                yield call
            case tuple() | list() as parts:
                waiting.extend(parts)
            case dict() | TermMap() as pairs:
                waiting.extend(part for pair in pairs.items() for part in pair)
            case ImproperList() as parts:
                waiting.extend([*parts.elements, parts.tail])


def _short(term: Term) -> str:
    text = format_term(term)
    return text if len(text) <= 120 else f"{text[:119]}…"
