"""`relup plan TARBALL`: what an upgrade would do, and whether it would be refused. Changes nothing."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import Context, shown_versions
from cli.upgrade import opened_package
from engine.errors import RelupError

if TYPE_CHECKING:
    from engine.truth import Versions
    from journal.events import PlanResolved


def command(
    context: typer.Context,
    tarball: Annotated[Path, typer.Argument(help="The target package; its .sha256 lies beside it.")],
    force: Annotated[bool, typer.Option("--force", help="Plan although data/patches holds beams.")] = False,
) -> None:
    """Show what an upgrade to the release in TARBALL would do, step by step, and change nothing.

    Everything that can be found out beforehand is: the package, the hop, every module it names, the boot of
    the new release on this machine. What is refused here would be refused by 'relup upgrade' too.
    The id it prints makes 'relup upgrade --plan ID' refuse when anything has changed since.
    """
    show_plan(context.obj, tarball, force=force)


def show_plan(context: Context, tarball: Path, *, force: bool) -> None:
    """Make the plan and print it."""
    from engine.options import Options
    from engine.upgrade import plan
    from journal.errors import JournalError

    package = opened_package(tarball)
    try:
        with context.house(command="plan", rehearsal=True) as house:
            state = plan(house, package, tarball=str(tarball.absolute()), options=Options(force=force))
    except (RelupError, JournalError) as error:
        context.fail(error)
    assert state.plan is not None, "a preparation without error ends in a plan"
    versions = context.versions()
    _print(context, state.plan, versions, connections=state.connections_before)
    context.output.answer(
        {"plan": state.plan, "connections": state.connections_before}, node=shown_versions(versions)
    )


def _print(context: Context, plan: "PlanResolved", versions: "Versions", *, connections: int | None) -> None:
    from engine.steps import PREPARATION, first_irreversible

    line = context.output.line
    shown = shown_versions(versions)
    line(f"plan {plan.plan_id}: {plan.from_version} -> {plan.target_version}")
    line(f"  node     base {shown.base}, live {shown.live}, next boot {shown.next_boot}")
    line(f"  clients  {'unknown' if connections is None else connections} connections")
    line(f"  package  sha256 {plan.package_sha256}")
    line(f"  hop      {plan.hop_file}")
    for trouble in versions.troubles:
        line(f"  trouble  {trouble}")
    line("steps (1 and 2, verifying and unpacking the package, were done for this plan and removed again)")
    point = first_irreversible(plan.steps)
    for step in plan.steps:
        if step.number == point:
            line("  ---- point of no return: a failure before it is rolled back, one after it is not ----")
        changed = sum(change.from_md5 != change.to_md5 for change in step.modules)
        counted = f" ({changed} of {len(step.modules)} modules change)" if step.modules else ""
        line(f"  {step.number:3} {step.name} {step.subject}{counted}")
    assert plan.steps[0].number == len(PREPARATION) + 1, "numbering goes on from the preparation"
    if point is None:
        line("every step can be undone")
    line(f"to do exactly this: relup upgrade --plan {plan.plan_id} TARBALL")
