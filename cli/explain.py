"""`relup explain CODE`: what an error or a finding means, what was seen or runs then, what to do."""

from typing import Annotated

import typer

from cli.context import Context
from engine.errors import BadRequest


class UnknownCode(BadRequest):
    """No error and no finding is called this."""

    name = "unknown_code"


def command(
    context: typer.Context,
    code: Annotated[
        str | None, typer.Argument(help="An error's name or a finding's code; without one, all are listed.")
    ] = None,
) -> None:
    """Explain an error or a finding: what it means, what relup looked at or the node runs, what to do."""
    _explain(context.obj, code)


def _explain(context: Context, code: str | None) -> None:
    from cli.ahead import load_rooms
    from engine.explain import codes, explanation_of

    load_rooms()  # the errors of every command
    if code is None:
        for each in codes():
            context.output.line(each)
        context.output.answer({"codes": codes()}, node=None)
        return
    explanation = explanation_of(code)
    if explanation is None:
        raise UnknownCode(
            f"Nothing is called '{code}'.", next="'relup explain' lists every code that there is."
        )
    context.output.line(code)
    context.output.line(f"  means: {explanation.means}")
    if explanation.seen:
        context.output.line(f"  seen:  {explanation.seen}")
    if explanation.runs:
        context.output.line(f"  runs:  {explanation.runs}")
    context.output.line(f"  next:  {explanation.next}")
    context.output.answer({"code": code, "explanation": explanation}, node=None)
