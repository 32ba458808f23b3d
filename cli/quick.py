"""Recognises a plain `relup status` without the command-line library.

A second, narrow reading of the global options that cli/app.py declares: what is not as plain as
`[--root R] [--json] … status` is left to typer, so that help and errors have one source.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from cli.context import Context
from cli.output import Output
from cli.version import VERSION

_WITH_VALUE = ("--root", "--node", "--cookie-file", "--catalog", "--journal")
_SWITCHES = {"--json": "--json", "--verbose": "--verbose", "-v": "--verbose"}


def context_of_status(arguments: list[str], environ: Mapping[str, str] = os.environ) -> Context | None:
    """The global options of a plain `status`; None for everything else.

    Args:
        arguments: The words after the program's name.
        environ: For RELUP_ROOT.
    """
    if not arguments or arguments[-1] != "status":
        return None
    values: dict[str, str] = {"--root": environ.get("RELUP_ROOT", "")}
    switches: set[str] = set()
    words = iter(arguments[:-1])
    for word in words:
        option, equals, value = word.partition("=")
        if word in _SWITCHES:
            switches.add(_SWITCHES[word])
        elif option in _WITH_VALUE:
            value = value if equals else next(words, "")
            if not value or value.startswith("-"):
                return None
            values[option] = value
        else:
            return None
    return Context(
        root=_path(values.get("--root")),
        node=values.get("--node"),
        cookie_file=_path(values.get("--cookie-file")),
        catalog=_path(values.get("--catalog")),
        journal=_path(values.get("--journal")),
        output=Output(json="--json" in switches),
        verbose="--verbose" in switches,
        tool_version=VERSION,
    )


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None
