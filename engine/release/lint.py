"""Checks of a hop file by itself: what is wrong with it whatever the releases are. Pure over one hop.

With the two trees at hand, `analysis` says much more; the command line asks both.
"""

from collections import Counter
from collections.abc import Iterator

from engine.release.findings import Finding
from engine.release.hop import NEVER_RESTARTED, Apply, Hop, LoadModule, RestartApplication, Update
from engine.release.moves import named_twice
from engine.release.version import is_newer_patch, parse_version


def lint(hop: Hop) -> tuple[Finding, ...]:
    """Every finding about the hop file itself."""
    return tuple(_all(hop))


def _all(hop: Hop) -> Iterator[Finding]:
    yield from _versions(hop)
    yield from named_twice(hop)
    yield from _restarted_twice(hop)
    yield from _never_restarted(hop)
    yield from _behind_no_return(hop)
    if not hop.instructions:
        yield Finding(
            code="hop_is_empty",
            severity="warning",
            subject=hop.file.name,
            happened="the hop changes no code",
            next="Draft one from the two releases with 'relup hop draft'.",
        )
    expected = f"{hop.from_version}-to-{hop.target_version}.relup"
    if hop.file.name != expected:
        yield Finding(
            code="hop_file_name",
            severity="note",
            subject=hop.file.name,
            happened=f"the file is not called {expected}; only its contents count",
            next="Nothing has to be done.",
        )


def _versions(hop: Hop) -> Iterator[Finding]:
    start, end = parse_version(hop.from_version), parse_version(hop.target_version)
    if not is_newer_patch(end, than=start):
        yield Finding(
            code="hop_not_a_patch",
            severity="error",
            subject=f"{start}->{end}",
            happened=f"{start} -> {end} does not lead to a newer patch of the same minor version",
            next="Correct the versions; other upgrades need a restart.",
        )


def _restarted_twice(hop: Hop) -> Iterator[Finding]:
    for application, times in Counter(hop.restarted()).items():
        if times > 1:
            yield Finding(
                code="application_named_twice",
                severity="warning",
                subject=application,
                happened=f"the hop restarts {application} {times} times",
                next="Keep one line.",
            )


def _never_restarted(hop: Hop) -> Iterator[Finding]:
    for instruction in hop.instructions:
        if isinstance(instruction, RestartApplication) and instruction.application in NEVER_RESTARTED:
            yield Finding(
                code="never_restarted",
                severity="note",
                subject=instruction.application,
                happened=f"line {instruction.line} restarts {instruction.application}, which is passed over:"
                " the VM would stop",
                next="Remove the line; this application changes with the restart of the node.",
            )


def _behind_no_return(hop: Hop) -> Iterator[Finding]:
    """Code changes behind an apply cannot be undone together with it."""
    applied: Apply | None = None
    for instruction in hop.instructions:
        match instruction:
            case Apply():
                applied = applied or instruction
            case LoadModule() | Update() | RestartApplication() if applied is not None:
                yield Finding(
                    code="apply_before_code_changes",
                    severity="warning",
                    subject=f"{applied.module}:{applied.function}",
                    happened=f"line {applied.line} calls {applied.module}:{applied.function}, and code changes follow"
                    f" in line {instruction.line}: if one of those fails, nothing can be undone any more",
                    next="Move the apply behind the code changes, or make it a callback.",
                )
                return
            case _:
                continue
