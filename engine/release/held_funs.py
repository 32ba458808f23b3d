"""Funs of switched modules that lie somewhere: a purge does not see them, and they fail at their next call. Pure.

Who looked for them, and where, is not known here: the search is a sample and never complete.
"""

from collections.abc import Iterator
from itertools import groupby

from engine.release.case import Case, HeldFun, some
from engine.release.findings import Finding

_ADVICE = (
    "Have whoever keeps them make them anew after the hop (a restart of its application, a callback), or keep"
    " 'fun module:function/arity' instead, which always calls the live code."
)


def held_fun_findings(case: Case) -> Iterator[Finding]:
    """One finding per module and age of its funs; the places in the order of their names."""
    for (module, is_old), group in groupby(sorted(case.live.held_funs, key=_age), key=_age):
        held = list(group)
        yield (_old(module, held) if is_old else _live(module, held))


def _old(module: str, held: list[HeldFun]) -> Finding:
    return Finding(
        code="old_fun_held",
        severity="warning",
        subject=module,
        happened=f"{_counted(held)} of a code of {module} before the live one, kept in {_places(held)}: where that"
        " code was not purged yet the hop does it, and their next call fails.",
        next=_ADVICE,
    )


def _live(module: str, held: list[HeldFun]) -> Finding:
    return Finding(
        code="fun_held",
        severity="warning",
        subject=module,
        happened=f"{_counted(held)} of the live code of {module}, which the hop replaces, kept in {_places(held)}:"
        " that code is purged after the hop, and their next call fails.",
        next=_ADVICE,
    )


def _age(held: HeldFun) -> tuple[str, bool]:
    return held.module, held.is_old


def _counted(held: list[HeldFun]) -> str:
    count = sum(each.count for each in held)
    return f"{count} fun" + ("" if count == 1 else "s")


def _places(held: list[HeldFun]) -> str:
    return some(f"{each.where} ({each.count})" for each in held)
