"""`relup recover`: bring an unfinished upgrade to an end, forwards or back, or only explain it."""

from pathlib import Path
from typing import Annotated

import typer

from cli.context import Context, shown_versions
from cli.upgrade import show_success
from engine.errors import RelupError
from engine.state import Phase


def command(
    context: typer.Context,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Undo the unfinished upgrade instead of finishing it.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Show the evidence and what recover would do; change nothing.")
    ] = False,
) -> None:
    """Take up an upgrade that was interrupted: by a crash, a kill, a lost connection, a failed callback.

    The journal says which steps were begun and done; the node, its code and its files say what is so. Steps
    that are done are not done again; callbacks without an outcome are, as EMQX requires them to bear.
    """
    if report:
        _report(context.obj)
    else:
        _recover(context.obj, rollback=rollback)


def _recover(context: Context, *, rollback: bool) -> None:
    from engine.recovery import recover
    from engine.release.package import open_package
    from journal.errors import JournalError

    try:
        with context.house(command="recover") as house:
            state = recover(
                house,
                direction="undo" if rollback else "do",
                reopen=lambda tarball: open_package(Path(tarball)),
            )
    except (RelupError, JournalError) as error:
        context.fail(error)
    if state.phase == Phase.SUCCEEDED:
        show_success(context, state)
        return
    versions = context.versions()
    shown = shown_versions(versions)
    context.output.line("rolled back" if state.rollback_begun else "cleaned up: the upgrade is over")
    context.output.line(
        f"  runs now: {shown.live or 'nothing, the node is down'}; next boot {shown.next_boot}"
    )
    context.output.answer({"upgrade_id": state.upgrade_id, "rolled_back": state.rollback_begun}, node=shown)


def _report(context: Context) -> None:
    from engine.recovery import evidence
    from journal.errors import JournalError

    try:
        with context.house(command="recover --report", rehearsal=True) as house:
            found = evidence(house, context.own_history())
    except (RelupError, JournalError) as error:
        context.fail(error)
    line = context.output.line
    line(f"upgrade {found.upgrade_id}: {found.phase}")
    line(f"  the VM:    {found.vm.value}")
    line(f"  in hand:   {found.step or 'no step'}")
    line(f"  live code: {len(found.on_old)} modules on the old side, {len(found.on_new)} on the new")
    line(f"  suspended: {', '.join(found.suspended) or 'nobody'}")
    line(
        f"  on disk:   staging {_yes(found.staged)}, target tree {_yes(found.deployed)}, "
        f"marker {found.marker or 'absent'}"
    )
    line(f"  point of no return: {'passed' if found.past_no_return else 'not reached'}")
    line(f"relup recover would {found.will}")
    context.output.answer({"evidence": found}, node=None)


def _yes(there: bool) -> str:
    return "there" if there else "absent"
