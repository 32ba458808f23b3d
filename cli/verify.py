"""`relup verify`: read a finished hop back: live code, deployed tree, marker, suspended processes."""

import typer

from cli.context import Context, shown_versions
from engine.errors import Differs, RelupError


def command(context: typer.Context) -> None:
    """Compare the last finished hop with the world, and name every difference.

    The live md5 of each module it changed, every file of the deployed tree against its manifest, the
    marker, and whether a process is suspended. Exits 30 when something differs. Changes nothing.
    """
    _verify(context.obj)


def _verify(context: Context) -> None:
    from engine.finished import read_back
    from engine.steps import counted
    from journal.errors import JournalError

    try:
        reading = read_back(context.own_history(), context.place, context.connect())
    except (RelupError, JournalError) as error:
        context.fail(error)
    output = context.output
    for difference in reading.differences:
        output.line(f"differs: {difference}")
    fields: dict[str, object] = {"reading": reading}
    if reading.differences:
        differs = Differs(
            f"{counted(len(reading.differences), 'thing')} not as the hop to {reading.target_version} left it; "
            f"the first: {reading.differences[0]}.",
            next="'relup status' says what to do."
            if reading.differences == reading.marker
            else "Find out who changed them; 'relup logs --steps' shows what the hop did.",
        )
        now = shown_versions(context.versions())
        differs.runs_now = f"{now.live or 'code of no known release'}; the next start boots {now.next_boot}"
        context.fail(differs, fields=fields)
    output.line(
        f"verified {reading.target_version}: {reading.modules} modules live, {reading.files} files, "
        "the marker; nobody is suspended"
    )
    output.answer(fields, node=shown_versions(context.versions()))
