"""Words out: answers on stdout, errors on stderr, for people or as one JSON object.

Every line that reaches a terminal or a script passes here. No decision about an upgrade is taken here,
and rich is not imported: `relup status` has a quarter of a second for everything.
"""

import json
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import msgspec

from engine.errors import RelupError
from journal.errors import JournalError

SCHEMA_VERSION = 1
"""Raised when a field of the JSON answers changes its meaning or goes; new fields do not raise it."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_BOLD_RED = "\x1b[1;31m"
_DIM = "\x1b[2m"
_RESET = "\x1b[0m"


ToldError = RelupError | JournalError
"""The errors that have three parts and a name."""


class NodeVersions(msgspec.Struct, frozen=True, kw_only=True):
    """The three facts about versions; None for one that could not be asked or is not there."""

    base: str | None
    """The root's own release."""
    live: str | None
    """What the VM runs."""
    next_boot: str | None
    """What the next start boots."""


def is_plain(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `stream` gets no colours and no moving bars: NO_COLOR, a dumb terminal or no terminal."""
    return bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb" or not stream.isatty()


def printable(text: str) -> str:
    """`text` without the power to steer a terminal: names in a foreign package can hold control characters.

    Newline and tab stay; what is not text (a surrogate from a file name) is written as its escape.
    """
    shown = _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


def encoded(fields: Mapping[str, Any]) -> str:
    """One line of JSON, `schema_version` first; paths and other foreign values as their text.

    All but ASCII is escaped: a file name that is no text stays valid JSON, and steers no terminal.
    """
    answer = {"schema_version": SCHEMA_VERSION, **fields}
    return json.dumps(msgspec.to_builtins(answer, enc_hook=str))


def error_fields(error: ToldError) -> dict[str, str | None]:
    """The `error` part of a JSON answer."""
    return {
        "name": error.name,
        "happened": error.happened,
        "runs_now": error.runs_now,
        "next": error.next,
    }


class Output:
    """Where a command's words go.

    Args:
        json: Answer with JSON instead of text.
        out: Answers. Looked up when used, so that a redirected stdout is honoured.
        err: Errors and warnings.
        environ: For NO_COLOR and TERM.
    """

    def __init__(
        self,
        *,
        json: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.json = json
        self._out = out
        self._err = err
        self._environ = environ

    @property
    def out(self) -> TextIO:
        return self._out or sys.stdout

    @property
    def err(self) -> TextIO:
        return self._err or sys.stderr

    def line(self, text: str = "") -> None:
        """One line of the answer for people; nothing under --json, where the object says it."""
        if not self.json:
            print(printable(text), file=self.out)

    def answer(self, fields: Mapping[str, Any], *, node: NodeVersions | None) -> None:
        """The one object of a command under --json; nothing otherwise."""
        if self.json:
            print(encoded({"node": node, **fields}), file=self.out)

    def record(self, fields: Mapping[str, Any]) -> None:
        """One of many: a JSON line of `logs` or `--follow`; nothing without --json."""
        if self.json:
            print(encoded(fields), file=self.out, flush=True)

    def flush(self) -> bool:
        """Let a reader of a pipe see what was said so far; whether anybody still reads."""
        self.out.flush()
        return getattr(self.out, "fault", None) is None

    def warn(self, text: str) -> None:
        """One line for people beside the answer, also under --json: it goes to stderr."""
        print(self._marked("warning:", _DIM), printable(text), file=self.err)

    def fail(
        self, error: ToldError, *, node: NodeVersions | None = None, fields: Mapping[str, Any] | None = None
    ) -> None:
        """The three parts of an error on stderr, and under --json the one object with `error` on stdout.

        Args:
            error: What is told.
            node: The versions, where they are known.
            fields: What else the object of this command says.
        """
        self.answer({**(fields or {}), "error": error_fields(error)}, node=node)
        print(self._marked("error:", _BOLD_RED), f"{printable(error.happened)} ({error.name})", file=self.err)
        if error.runs_now:
            print("  runs now:", printable(error.runs_now), file=self.err)
        print("  next:", printable(error.next), file=self.err)

    def _marked(self, word: str, style: str) -> str:
        return word if is_plain(self.err, self._environ) else f"{style}{word}{_RESET}"
