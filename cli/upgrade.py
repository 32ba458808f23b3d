"""`relup upgrade TARBALL`: one hop, from the package to the marker."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import Context, shown_versions
from engine.errors import RelupError

if TYPE_CHECKING:
    from engine.options import Options
    from engine.release.package import Package
    from engine.state import UpgradeState

HOUR_MS = 3_600_000
DAY_S = 86_400
MANY = 1_000_000_000
"""More than any node has; a record of the journal and a timer of the VM hold no number of any size."""

PLAN_OF_ONE = "Refuse when anything differs from this plan, by the id that 'relup plan' printed."


def a_number(value: float) -> float:
    """What an option of seconds is, when it is a number at all: a range does not refuse `nan`."""
    if math.isnan(value):
        raise typer.BadParameter("nan is no number of seconds.")
    return value


def command(
    context: typer.Context,
    tarball: Annotated[
        Path, typer.Argument(readable=False, help="The target package; its .sha256 lies beside it.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Upgrade although data/patches holds beams.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make the plan and stop; nothing is changed.")
    ] = False,
    plan: Annotated[str | None, typer.Option("--plan", metavar="ID", help=PLAN_OF_ONE)] = None,
    full_speed: Annotated[
        bool, typer.Option("--full-speed", help="Unpack at normal CPU and I/O priority.")
    ] = False,
    suspend_timeout_ms: Annotated[
        int, typer.Option(min=1, max=HOUR_MS, help="How long all processes of an update may take to stop.")
    ] = 2_000,
    max_stall_ms: Annotated[
        int, typer.Option(min=1, max=HOUR_MS, help="Budget of one switch of modules; batches adapt to it.")
    ] = 50,
    blocker_timeout: Annotated[
        float,
        typer.Option(
            min=0,
            max=DAY_S,
            callback=a_number,
            help="Seconds to wait for processes that run old code, before refusing.",
        ),
    ] = 10.0,
    kill_blockers: Annotated[
        bool, typer.Option("--kill-blockers", help="Kill such processes instead of refusing.")
    ] = False,
    max_lost: Annotated[
        int,
        typer.Option(min=0, max=MANY, help="Client connections the hop may end before it is rolled back."),
    ] = 0,
    watch_ms: Annotated[
        int,
        typer.Option(
            min=0,
            max=HOUR_MS,
            help="How long the new code serves clients before what cannot be undone; those it ends are counted.",
        ),
    ] = 1_000,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse for warnings as for errors.")] = False,
    trust_script: Annotated[
        bool, typer.Option("--trust-script", help="Have the node evaluate hop files that are scripts.")
    ] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow", metavar="CODE:SUBJECT", help="Accept one finding of the plan; kept in the journal."
        ),
    ] = None,
) -> None:
    """Upgrade the running node to the release in TARBALL, without stopping it.

    The tarball is verified, unpacked beside the running release, checked against the node, and applied.
    A failure is rolled back by itself, as long as no function of the release has run that cannot be undone.
    The node boots the new release at its next restart.
    """
    from engine.options import Options

    options = Options(
        force=force,
        full_speed=full_speed,
        suspend_timeout_ms=suspend_timeout_ms,
        max_stall_ms=max_stall_ms,
        blocker_timeout_ms=int(blocker_timeout * 1000),
        kill_blockers=kill_blockers,
        max_lost=max_lost,
        watch_ms=watch_ms,
        plan_id=plan,
        strict=strict,
        trust_script=trust_script,
        waivers=tuple(allow or ()),
    )
    if dry_run:
        from cli.plan import show_plan

        show_plan(context.obj, tarball, options=options)
    else:
        _upgrade(context.obj, tarball, options)


def _upgrade(context: Context, tarball: Path, options: "Options") -> None:
    from engine.upgrade import upgrade
    from journal.errors import JournalError

    path = full_path(tarball)
    package = opened_package(path)
    try:
        with context.house(command="upgrade") as house:
            state = upgrade(house, package, tarball=str(path), options=options)
    except (RelupError, JournalError) as error:
        context.output.line(f"upgrade failed, reason: {error.name}")
        context.fail(error)
    show_success(context, state)


def absolute(path: Path) -> Path:
    """The path as it can be given in any folder.

    Raises:
        typer.BadParameter: It is relative to a folder that is gone.
    """
    try:
        return path.absolute()
    except FileNotFoundError:
        raise typer.BadParameter(f"{path} is relative, and the folder you are in is gone.") from None


def full_path(path: Path) -> Path:
    """The path as it can be found again from anywhere and at any time: the journal names the tarball by it.

    Raises:
        typer.BadParameter: Its name is no text, or it is relative to a folder that is gone.
    """
    found = absolute(path)
    try:
        str(found).encode()
    except UnicodeEncodeError:
        raise typer.BadParameter(
            f"the name of {path} is not UTF-8, and the journal keeps text only."
        ) from None
    return found


def opened_package(tarball: Path) -> "Opened":
    """Open the package now, with the rights the command was started with; what fails is told when it is used."""
    from engine.release.package import open_package

    try:
        return Opened(open_package(tarball))
    except RelupError as error:
        return Opened(error)


class Opened:
    """A package that was opened early, or the error that this met."""

    def __init__(self, outcome: "Package | RelupError") -> None:
        self._outcome = outcome

    def __call__(self) -> "Package":
        if isinstance(self._outcome, RelupError):
            raise self._outcome
        return self._outcome


def show_success(context: Context, state: "UpgradeState") -> None:
    """What a finished upgrade did, in EMQX's words first."""
    from engine.survival import ended_by_hop

    assert state.plan is not None, "a finished upgrade had a plan"
    summary = state.summary
    took_s = (summary.took_us if summary else 0) / 1e6
    output = context.output
    output.line("upgrade complete")
    output.line(f"  {state.plan.from_version} -> {state.plan.target_version} in {took_s:.1f} s")
    output.line(
        f"  connections: {_count(state.connections_before)} before, "
        f"{_count(summary.connections_after if summary else None)} after; "
        f"processes ended by the hop: {len(ended_by_hop(state.ended))}"
    )
    output.line(
        f"  longest pause of a process: {state.worst_suspend_us / 1000:.1f} ms; "
        f"longest switch of modules: {state.worst_stall_us / 1000:.1f} ms"
    )
    for each in state.notes:
        output.line(f"  note: step {each.step}, {each.name} {each.subject}: {each.note}")
    output.line(f"  the next restart boots {state.plan.target_version}; 'relup verify' reads everything back")
    output.answer(
        {
            "upgrade_id": state.upgrade_id,
            "from_version": state.plan.from_version,
            "target_version": state.plan.target_version,
            "took_us": summary.took_us if summary else None,
            "connections_before": state.connections_before,
            "connections_after": summary.connections_after if summary else None,
            "worst_suspend_us": state.worst_suspend_us,
            "worst_stall_us": state.worst_stall_us,
            "ended": state.ended,
            "notes": state.notes,
        },
        node=shown_versions(context.versions()),
    )


def _count(number: int | None) -> str:
    return "unknown" if number is None else str(number)
