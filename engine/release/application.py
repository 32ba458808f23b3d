"""One application of a release tree: its folder, its modules, what its `.app` says. Read when asked for."""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from engine.release.errors import CannotReadRelease
from engine.release.terms import read_term_file
from engine.term import Term, text_of

_WHOLE_TREE = "Check that the release tree is whole."


class ReleaseApplication(msgspec.Struct, frozen=True, dict=True):
    """`lib/<name>-<version>/`.

    Attributes:
        ebin: Its folder of beams, absolute.
    """

    name: str
    version: str
    ebin: Path

    @property
    def app_file(self) -> Path:
        return self.ebin / f"{self.name}.app"

    @cached_property
    def modules(self) -> Mapping[str, Path]:
        """Module to beam file, by name, as the folder has them.

        Raises:
            CannotReadRelease: The folder cannot be read.
        """
        try:
            with os.scandir(self.ebin) as entries:
                names = sorted(entry.name for entry in entries if entry.name.endswith(".beam"))
        except OSError as fault:
            raise CannotReadRelease(
                f"{self.ebin} cannot be read: {fault.strerror}", next=_WHOLE_TREE
            ) from None
        return {name[:-5]: self.ebin / name for name in names}

    @cached_property
    def properties(self) -> Mapping[str, Term]:
        """The properties of `{application, Name, Properties}`: vsn, modules, env, mod, applications …

        Raises:
            CannotReadRelease: The `.app` is missing or not of that shape.
            MalformedTerm, ScriptTerm: It is no term.
        """
        match read_term_file(self.app_file):
            case ("application", name, list() as properties) if name == self.name:
                return _proplist(properties)
        raise CannotReadRelease(f"{self.app_file} does not describe {self.name}", next=_WHOLE_TREE)

    @property
    def env(self) -> Mapping[str, Term]:
        """The application's environment as the `.app` sets it."""
        env = self.properties.get("env", [])
        return _proplist(env) if isinstance(env, list) else {}

    @property
    def requires(self) -> tuple[str, ...]:
        """The applications that must run before it."""
        return tuple(
            str(name)
            for key in ("applications", "included_applications")
            for name in _listed(self.properties.get(key, []))
        )


def _proplist(properties: list[Any]) -> dict[str, Term]:
    found: dict[str, Term] = {}
    for item in properties:
        match item:
            case (key, value) if isinstance(key, str):
                found.setdefault(str(key), value)
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def applications_of(term: Term) -> tuple[str, str, list[tuple[str, str]]]:
    """Release version, ERTS version and the applications with theirs, of a `.rel` term.

    Raises:
        ValueError: It is no `{release, {Name, Vsn}, {erts, Vsn}, [App]}`.
    """
    match term:
        case ("release", (_, version), ("erts", erts), list() as applications):
            pairs = [(str(app[0]), text_of(app[1])) for app in applications if isinstance(app, tuple)]
            return text_of(version), text_of(erts), pairs
    raise ValueError("not a release term")
