"""`releases/emqx_vars` and BUILD_INFO as data. They are shell and text files; no shell ever sees them here.

Source: EMQX's emqx_vars (assignments, one a line) and BUILD_INFO (lines `key: "value"`).
"""

import re
from collections.abc import Mapping
from pathlib import Path

from engine.release.errors import (
    CannotReadEmqxVars,
    CannotReadRelease,
    DuplicateRelVsn,
    InvalidRelVsn,
    RelVsnNotFound,
)
from engine.release.version import Version, is_version, parse_version

MAX_BYTES = 1024 * 1024
_ASSIGNMENT = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_LITERAL = re.compile(r"(?:\"([^\"$`\\]*)\"|'([^']*)'|([^\s\"'$`\\;&|<>()#]*))[ \t]*(?:[ \t]#.*)?")
_DEFAULTED = re.compile(r"\"?\$\{([A-Za-z_][A-Za-z0-9_]*):-(.*)\}\"?[ \t]*")
_BUILD_LINE = re.compile(r'\s*([A-Za-z_][\w-]*)\s*:\s*"?([^"]*?)"?\s*')
_WHOLE_PACKAGE = "Get the package again from the publisher; this one's releases/emqx_vars cannot be used."


def read_emqx_vars(file: Path) -> tuple[Version, Mapping[str, str]]:
    """The release's version, and every variable that is assigned a plain literal.

    Raises:
        CannotReadEmqxVars: Missing, unreadable, too large, or no text.
        RelVsnNotFound: REL_VSN is not assigned, or empty.
        DuplicateRelVsn: It is assigned twice.
        InvalidRelVsn: It is not a plain version.
    """
    assigned = _assigned(file)
    versions = [value for name, value in assigned if name == "REL_VSN"]
    plain = {name: literal for name, value in assigned if (literal := _literal(value)) is not None}
    return _rel_vsn(versions, file), plain


def settled_variables(file: Path, environment: Mapping[str, str]) -> Mapping[str, str]:
    """The variables as a shell with this environment assigns them; what it would have to expand is left out.

    Raises:
        CannotReadEmqxVars: Missing, unreadable, too large, or no text.
    """
    settled = {name: _settled(value, environment) for name, value in _assigned(file)}
    return {name: text for name, text in settled.items() if text is not None}


def _settled(value: str, environment: Mapping[str, str]) -> str | None:
    """A literal, or one that stands as default for a variable: `"${RUNNER_LOG_DIR:-/var/log/emqx}"`."""
    found = _DEFAULTED.fullmatch(value)
    if found is None:
        return _literal(value)
    return environment.get(found[1]) or _literal(found[2])


def _assigned(file: Path) -> list[tuple[str, str]]:
    lines = _text_of(file).splitlines()
    return [(found[1], found[2]) for line in lines if (found := _ASSIGNMENT.fullmatch(line))]


def _rel_vsn(versions: list[str], file: Path) -> Version:
    if not versions:
        raise RelVsnNotFound(f"{file} assigns no REL_VSN", next=_WHOLE_PACKAGE)
    if len(versions) > 1:
        raise DuplicateRelVsn(f"{file} assigns REL_VSN {len(versions)} times", next=_WHOLE_PACKAGE)
    text = _literal(versions[0])
    if text == "":
        raise RelVsnNotFound(f"{file} assigns an empty REL_VSN", next=_WHOLE_PACKAGE)
    if text is None or not is_version(text):
        raise InvalidRelVsn(
            f"{file} assigns REL_VSN {versions[0][:80]!r}, which is no version", next=_WHOLE_PACKAGE
        )
    return parse_version(text)


def _literal(value: str) -> str | None:
    """The text that a shell would assign without expanding anything; None when it would."""
    found = _LITERAL.fullmatch(value)
    if found is None:
        return None
    return next((group for group in found.groups() if group is not None), "")


def _text_of(file: Path) -> str:
    try:
        if not file.is_file():
            raise CannotReadEmqxVars(f"{file} is missing or no regular file", next=_WHOLE_PACKAGE)
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as fault:
        raise CannotReadEmqxVars(f"{file} cannot be read: {fault.strerror}", next=_WHOLE_PACKAGE) from None
    if len(content) > MAX_BYTES:
        raise CannotReadEmqxVars(f"{file} is larger than {MAX_BYTES} bytes", next=_WHOLE_PACKAGE)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise CannotReadEmqxVars(f"{file} is no UTF-8 text", next=_WHOLE_PACKAGE) from None
    if "\0" in text:
        raise CannotReadEmqxVars(f"{file} is no text", next=_WHOLE_PACKAGE)
    return text


def read_build_facts(file: Path) -> Mapping[str, str]:
    """The lines of BUILD_INFO: arch, wordsize, os, erlang, elixir, relform.

    Raises:
        CannotReadRelease: It is missing or unreadable.
    """
    try:
        text = file.read_bytes()[:MAX_BYTES].decode(errors="replace")
    except OSError as fault:
        raise CannotReadRelease(
            f"{file} cannot be read: {fault.strerror}", next="Check that the release tree is whole."
        ) from None
    return {found[1]: found[2] for line in text.splitlines() if (found := _BUILD_LINE.fullmatch(line))}
