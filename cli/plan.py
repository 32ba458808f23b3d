"""`relup plan TARBALL`: what an upgrade would do, and whether it would be refused. Changes nothing."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import Context, shown_versions
from cli.upgrade import absolute, full_path, opened_package
from engine.errors import RelupError

if TYPE_CHECKING:
    from engine.options import Options
    from engine.prospect import Prospect
    from engine.state import UpgradeState
    from engine.truth import Versions
    from journal.events import PlanResolved, RecordedStep

STRICT = "Refuse for warnings as for errors."
ALLOW = "Accept one finding, CODE:SUBJECT as it is printed; may be given several times."
MIB = 1024 * 1024


def command(
    context: typer.Context,
    tarball: Annotated[
        Path, typer.Argument(readable=False, help="The target package; its .sha256 lies beside it.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Plan although data/patches holds beams.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help=STRICT)] = False,
    trust_script: Annotated[
        bool, typer.Option("--trust-script", help="Have the node evaluate hop files that are scripts.")
    ] = False,
    allow: Annotated[list[str] | None, typer.Option("--allow", metavar="CODE:SUBJECT", help=ALLOW)] = None,
) -> None:
    """Show what an upgrade to the release in TARBALL would do, step by step, and change nothing.

    Everything that can be found out beforehand is: the package, the hop, every module it names, modules it
    forgets, states whose shape changes, the boot of the new release on this machine. What is refused here
    would be refused by 'relup upgrade' too; 'relup explain CODE' says what a finding means.
    The id it prints makes 'relup upgrade --plan ID' refuse when anything has changed since.
    """
    from engine.options import Options

    show_plan(
        context.obj,
        tarball,
        options=Options(force=force, strict=strict, trust_script=trust_script, waivers=tuple(allow or ())),
    )


def show_plan(context: Context, tarball: Path, *, options: "Options") -> None:
    """Make the plan and print it."""
    from engine.upgrade import plan
    from journal.errors import JournalError

    path = full_path(tarball)
    package = opened_package(path)
    try:
        with context.house(command="plan", rehearsal=True) as house:
            state, prospect = plan(
                house,
                package,
                history=context.own_history(),
                tarball=str(path),
                options=options,
            )
    except (RelupError, JournalError) as error:
        context.fail(error)
    assert state.plan is not None, "a preparation without error ends in a plan"
    versions = context.versions()
    words = upgrade_words(context, path, plan_id=state.plan.plan_id, options=options)
    for line in _lines(state, state.plan, prospect, versions):
        context.output.line(line)
    context.output.line(f"to do exactly this: {shlex.join(words)}")
    context.output.answer(
        {**_fields(state, state.plan, prospect), "upgrade_words": words}, node=shown_versions(versions)
    )


def upgrade_words(context: Context, tarball: Path, *, plan_id: str, options: "Options") -> list[str]:
    """The command that does what was planned, in any folder, with the options that led to this plan.

    Args:
        tarball: Its full path.
    """
    own = ["upgrade", "--plan", plan_id, *_option_words(options), str(tarball)]
    return ["relup", *_global_words(context), *own]


def _global_words(context: Context) -> Iterator[str]:
    for name, given in (
        ("--root", context.root),
        ("--node", context.node),
        ("--cookie-file", context.cookie_file),
        ("--catalog", context.catalog),
    ):
        if given is not None:
            yield from (name, str(absolute(given)) if isinstance(given, Path) else given)


def _option_words(options: "Options") -> Iterator[str]:
    """The options of `upgrade` that differ from what it does by itself; each is called as its field is."""
    for name, value in options.recorded().items():
        flag = f"--{name.replace('_', '-')}"
        match name:
            case "plan_id":
                continue
            case "waivers":
                yield from (word for waiver in value for word in ("--allow", waiver))
            case "blocker_timeout_ms":
                yield from ("--blocker-timeout", str(value / 1000))
            case _:
                yield from [flag] if value is True else [flag, str(value)]


def _fields(state: "UpgradeState", plan: "PlanResolved", prospect: "Prospect") -> dict[str, object]:
    from engine.steps import first_irreversible

    return {
        "plan": plan,
        "connections": state.connections_before,
        "checks": prospect.checks,
        "findings": prospect.judgement.others,
        "waived": prospect.judgement.waived,
        "unused_waivers": prospect.judgement.unused,
        "is_safe": prospect.judgement.is_safe,
        "blockers": prospect.blockers,
        "held_funs": {
            "found": prospect.held_funs.found,
            "time_ran_out": prospect.held_funs.time_ran_out,
            "is_complete": False,
        },
        "processes": prospect.processes,
        "expected_pause_us": prospect.expected_pause_us(plan.steps),
        "disk_bytes": prospect.disk_bytes,
        "point_of_no_return": first_irreversible(plan.steps),
    }


def _lines(
    state: "UpgradeState", plan: "PlanResolved", prospect: "Prospect", versions: "Versions"
) -> Iterator[str]:
    shown = shown_versions(versions)
    clients = "unknown" if state.connections_before is None else str(state.connections_before)
    yield f"plan {plan.plan_id}: {plan.from_version} -> {plan.target_version}"
    yield f"  node     base {shown.base}, live {shown.live}, next boot {shown.next_boot}; {clients} connections"
    yield f"  package  sha256 {plan.package_sha256}"
    yield f"  hop      {plan.hop_file}"
    yield f"  disk     {prospect.disk_bytes / MIB:.1f} MiB under relup/{plan.target_version}/"
    yield f"  pause    about {prospect.expected_pause_us(plan.steps) / 1000:.0f} ms for the processes of an update"
    yield from (f"  trouble  {trouble}" for trouble in versions.troubles)
    yield "checks that hold"
    yield from (f"  {name}: {evidence}" for name, evidence in prospect.checks)
    yield "  every module, application and callback of the hop is there; the target boots on this machine"
    yield from _findings(prospect)
    yield search_for_funs(prospect)
    yield from blockers(prospect)
    yield from _steps(plan, prospect)


def _findings(prospect: "Prospect") -> Iterator[str]:
    judgement = prospect.judgement
    if not (judgement.others or judgement.waived):
        yield "findings: none"
        return
    yield "findings ('relup explain CODE' says what one means)"
    for finding in judgement.others:
        yield f"  {finding.severity:7} {finding.key}: {finding.happened}"
    for finding in judgement.waived:
        yield f"  waived  {finding.key}: {finding.happened}"
    for waiver in judgement.unused:
        yield f"  unused  {waiver}: no finding is called this"


def search_for_funs(prospect: "Prospect") -> str:
    """How far the search for funs went; those it found are findings."""
    held = prospect.held_funs
    found = sum(each.count for each in held.found)
    late = "; its time ran out before every place was looked at" if held.time_ran_out else ""
    return (
        f"funs of the hop's modules that lie somewhere: {found} found, by a search of a sample that is never "
        f"complete{late}"
    )


def blockers(prospect: "Prospect") -> Iterator[str]:
    """The processes that stand in the hop's way, and what it would cost at most to kill them."""
    if not prospect.blockers:
        return
    yield (
        f"{len(prospect.blockers)} processes run old code of a module of the hop, {prospect.blocked_clients} of "
        "them for a client; they are asked to come out of it and waited for (--blocker-timeout); "
        "--kill-blockers ends those that stay"
    )
    for process in prospect.blockers[:20]:
        yield f"  {process.told}"


def _steps(plan: "PlanResolved", prospect: "Prospect") -> Iterator[str]:
    from engine.steps import first_irreversible

    yield "steps (1 and 2, verifying and unpacking the package, were done for this plan and removed again)"
    point = first_irreversible(plan.steps)
    for step in plan.steps:
        if step.number == point:
            yield "  ---- point of no return: a failure before it is rolled back, one after it is not ----"
        yield f"  {step.number:3} {step.name} {step.subject}{_counted(step, prospect)}"
    if point is None:
        yield "every step can be undone"


def _counted(step: "RecordedStep", prospect: "Prospect") -> str:
    parts = []
    if len(step.modules) > 1:
        changed = sum(change.from_md5 != change.to_md5 for change in step.modules)
        parts.append(f"{changed} differ from the live ones")
    processes = prospect.processes_of(step)
    if processes is not None:
        parts.append("1 process" if processes == 1 else f"{processes} processes")
    if step.modules and not step.undoable:
        parts.append("cannot be undone: no file holds the code that runs")
    return f" ({', '.join(parts)})" if parts else ""
