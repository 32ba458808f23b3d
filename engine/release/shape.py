"""The shapes of values that outlive a call: records, the maps and tuples of state types, the map init/1 makes.

Old and new of one module are compared by what a process that holds an old value would trip over: names and
order of a record's fields, keys of a map. A field's own type may change without a finding. Forms in,
values out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.release.forms import Form, Forms, decoded

STATE_TYPES = ("state", "data", "loop_data", "st")
"""Names that a module gives to the type of its process's state."""


@dataclass(frozen=True)
class ShapeChange:
    """One shape that differs between the two releases of a module.

    Attributes:
        kind: `record`, `type` (a map type that names a state) or `map` (made by init/1).
        name: The record's or type's name; `init/1` for a map.
        old, new: Field names in order, or map keys sorted.
    """

    kind: str
    name: str
    old: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def lost(self) -> tuple[str, ...]:
        return tuple(field for field in self.old if field not in self.new)

    @property
    def gained(self) -> tuple[str, ...]:
        return tuple(field for field in self.new if field not in self.old)

    def in_words(self) -> str:
        """`#state{} lost resets and gained window_s`."""
        name = f"#{self.name}{{}}" if self.kind == "record" else f"the {self.kind} {self.name}"
        parts = [
            f"{word} {', '.join(fields)}"
            for word, fields in (("lost", self.lost), ("gained", self.gained))
            if fields
        ]
        return f"{name} {' and '.join(parts) if parts else 'has its fields in another order'}"


def shape_changes(old: Forms, new: Forms) -> tuple[ShapeChange, ...]:
    """Every shape that both releases of a module have and that differs."""
    return (*_record_changes(old, new), *_type_changes(old, new), *_init_changes(old, new))


def record_fields(piece: bytes) -> tuple[str, ...]:
    """The field names of a record's declaration, in order."""
    match decoded(piece):
        case (_, _, _, (_, list() as fields)):
            return tuple(_field_name(field) for field in fields)
    return ()


def _field_name(field: Any) -> str:
    """`{record_field, A, {atom, A, Name}, …}`, perhaps inside `{typed_record_field, Field, Type}`."""
    if field[0] == "typed_record_field":
        field = field[1]
    return str(field[2][2])


def _record_changes(old: Forms, new: Forms) -> Iterator[ShapeChange]:
    for name, piece in old.records.items():
        other = new.records.get(name)
        if other is None or other == piece:
            continue
        before, after = record_fields(piece), record_fields(other)
        if before != after and old.functions_using(name):
            yield ShapeChange("record", name, before, after)


def _type_changes(old: Forms, new: Forms) -> Iterator[ShapeChange]:
    for name in STATE_TYPES:
        piece, other = old.types.get(name), new.types.get(name)
        if piece is None or other is None:
            continue
        before, after = _map_type_keys(decoded(piece)), _map_type_keys(decoded(other))
        if before is not None and after is not None and before != after:
            yield ShapeChange("type", f"{name}()", before, after)


def _map_type_keys(form: Form) -> tuple[str, ...] | None:
    """The atom keys of `-type name() :: #{…}`; None for another kind of type."""
    match form:
        case (_, _, _, (_, ("type", _, "map", list() as fields), _)):
            keys = [field[3][0] for field in fields if len(field) == 4]
            return tuple(sorted(str(key[2]) for key in keys if key[0] == "atom"))
    return None


def _init_changes(old: Forms, new: Forms) -> Iterator[ShapeChange]:
    if old.functions.get(("init", 1)) == new.functions.get(("init", 1)):
        return
    before, after = _init_keys(old), _init_keys(new)
    if before is not None and after is not None and before != after:
        yield ShapeChange("map", "init/1", before, after)


def _init_keys(forms: Forms) -> tuple[str, ...] | None:
    """The atom keys of the one map that init/1 returns as `{ok, #{…}}`; None when it is not that plain."""
    form = forms.function("init", 1)
    if form is None:
        return None
    maps = [term[2][1][2] for term in parts_of(form) if _is_ok_with_map(term)]
    if len(maps) != 1:
        return None
    keys = [field[2] for field in maps[0]]
    return tuple(sorted(str(key[2]) for key in keys)) if all(key[0] == "atom" for key in keys) else None


def _is_ok_with_map(term: Any) -> bool:
    match term:
        case ("tuple", _, [("atom", _, "ok"), ("map", _, list()), *_]):
            return True
    return False


def parts_of(form: Any) -> Iterator[tuple[Any, ...]]:
    """Every tuple inside a form, outermost first."""
    waiting: list[Any] = [form]
    while waiting:
        part = waiting.pop()
        if isinstance(part, tuple):
            yield part
            waiting.extend(reversed(part))
        elif isinstance(part, list):
            waiting.extend(reversed(part))
