"""`make bench`: every room's measurements in one table, and in build/bench.json for keeping.

    python -m bench.run [ROOM…]

A room that crashes is told, the others go on, and the exit code is then 1. A goal that was not met is told
and does not change the exit code: a busy machine is no defect.
"""

import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench.rows import Row

ROOMS = ("cli", "node", "journal", "deploy", "pause", "plan")
KEPT = Path(__file__).resolve().parent.parent / "build" / "bench.json"

Measure = Callable[[], list[Row]]


def measured(rooms: Sequence[str], *, say: Callable[[str], None]) -> tuple[list[Row], list[str]]:
    """All rows, and the rooms that crashed."""
    found: list[Row] = []
    crashed = []
    for room in rooms:
        say(f"measuring {room} …")
        try:
            rows: Measure = import_module(f"bench.{room}").rows
            found += rows()
        except Exception:
            say(traceback.format_exc())
            crashed.append(room)
    return found, crashed


def table(rows: Sequence[Row]) -> Table:
    """The rows for people: measured, held against, wanted."""
    shown = Table("what", "measured", "beside", "ratio", "goal", "met")
    for column in shown.columns[1:4]:
        column.justify = "right"
    for row in rows:
        shown.add_row(
            row.name,
            f"{number(row.value)} {row.unit}",
            "" if row.baseline is None else f"{number(row.baseline)} {row.unit}",
            "" if row.ratio is None else number(row.ratio),
            row.goal or "",
            {True: "yes", False: "[bold red]no[/]", None: ""}[row.met],
        )
    return shown


def number(value: float) -> str:
    """Three digits that matter, thousands apart: `0.183`, `12.4`, `412,345`."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def main(rooms: Sequence[str]) -> int:
    """Measure, print, keep; the exit code."""
    console = Console()
    unknown = [room for room in rooms if room not in ROOMS]
    if unknown:
        console.print(f"no such room: {', '.join(unknown)}. Rooms: {', '.join(ROOMS)}")
        return 2
    progress = Console(stderr=True, highlight=False)
    rows, crashed = measured(rooms or ROOMS, say=lambda text: progress.print(text, markup=False))
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=2))
    console.print(table(rows))
    missed = [row.name for row in rows if row.met is False]
    console.print(
        f"bench: {len(rows)} rows, {len(missed)} goals missed, {len(crashed)} rooms crashed; {KEPT}"
    )
    for room in crashed:
        console.print(f"bench: {room} crashed, see above")
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
