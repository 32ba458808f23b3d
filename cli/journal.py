"""`relup journal verify|head|export|fresh`: proof that the history is what was written, and its copies."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.asking import agreed, somebody_is_there
from cli.context import Context
from engine.errors import RelupError

if TYPE_CHECKING:
    from engine.place import Place
    from journal.events import Head

commands = typer.Typer(help="Prove, export or begin anew the node's journal.", no_args_is_help=True)


@commands.command("verify", short_help="Prove that the records are what was written.")
def verify(
    context: typer.Context,
    anchor: Annotated[
        str | None,
        typer.Option(
            metavar="SEQ:HASH", help="A head that was kept elsewhere, as 'relup journal head' printed it."
        ),
    ] = None,
) -> None:
    """Walk the whole chain and name the first record that is not what was written.

    Without an anchor that was kept elsewhere, a journal replaced by an older copy of itself, or written anew
    by somebody who can write the file, looks sound; with one, both are seen.
    """
    from engine.steps import counted
    from journal.errors import JournalDamaged
    from journal.verify import verify as verdict_on

    shown: Context = context.obj
    verdict = verdict_on(shown.place.journal, anchor=_anchor(anchor))
    fields: dict[str, object] = {
        "records": verdict.records,
        "first": verdict.first,
        "head": verdict.head,
        "anchor_checked": verdict.anchor_checked,
        "damaged_at": verdict.damage.seq if verdict.damage else None,
    }
    if verdict.damage is not None:
        if isinstance(verdict.damage, JournalDamaged):
            shown.output.line(f"{counted(verdict.records, 'sound record')}, then there is damage")
            verdict.damage.runs_now = "what it ran; only the record of it is in doubt"
        shown.fail(verdict.damage, fields=fields)
    if verdict.head is None:
        shown.output.line("there is no journal yet")
    else:
        shown.output.line(
            f"{counted(verdict.records, 'sound record')}, from {verdict.first} to {verdict.head.seq}; "
            f"head {verdict.head.seq}:{verdict.head.hash}"
        )
    shown.output.line(_said_of_anchor(verdict.anchor_checked))
    shown.output.answer(fields, node=None)


def _anchor(text: str | None) -> "Head | None":
    from journal.verify import read_anchor

    if text is None:
        return None
    try:
        return read_anchor(text)
    except ValueError as fault:
        raise typer.BadParameter(str(fault)) from None


def _said_of_anchor(checked: bool | None) -> str:
    match checked:
        case None:
            return "no anchor was given: a missing tail or an older copy would not be seen"
        case True:
            return "the anchor is in the chain: nothing before it was changed, nothing up to it is missing"
        case False:
            return "the anchor's record was cleared since it was kept: nothing can be said about it"


@commands.command("head", short_help="Print SEQ:HASH of the last record.")
def head(context: typer.Context) -> None:
    """Print SEQ:HASH of the last record. Keep it elsewhere; 'relup journal verify --anchor' checks against it."""
    from journal.verify import anchor_text

    shown: Context = context.obj
    found = shown.history().head()
    shown.output.line(anchor_text(found) if found else "there is no journal yet")
    shown.output.answer({"head": found}, node=None)


@commands.command("export", short_help="Write the journal to one portable file.")
def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file to write; must not exist.")],
) -> None:
    """Write the whole journal to one portable file, for keeping and for reading on another machine.

    There 'relup --journal FILE logs' with its options and 'relup --journal FILE journal head' read it and
    check it on the way; nothing can be written to it.
    """
    from journal.portable import export as exported
    from journal.verify import anchor_text

    shown: Context = context.obj
    try:
        found = exported(shown.place.journal, file)
    except FileExistsError:
        raise typer.BadParameter(f"{file} is there already") from None
    except OSError as fault:
        raise typer.BadParameter(f"{file} cannot be written: {fault.strerror}") from None
    shown.output.line(f"wrote {file}; its anchor is {anchor_text(found)}")
    shown.output.answer({"file": str(file), "head": found}, node=None)


@commands.command("fresh", short_help="Begin a new journal beside a damaged one.")
def fresh(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Begin anew without asking; a script has to.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Also while a sound journal knows an unfinished upgrade.")
    ] = False,
) -> None:
    """Begin a new journal beside a damaged one. The old one is kept aside, and the new one names its head.

    A sound journal with an unfinished upgrade is not put aside: without it nobody can recover that upgrade.
    """
    if not (yes or somebody_is_there()):
        raise typer.BadParameter("there is no terminal to ask at; --yes begins anew without asking")
    try:
        _begin_anew(context.obj, yes=yes, forget=forget)
    except RelupError as error:
        context.obj.fail(error)


def _begin_anew(shown: Context, *, yes: bool, forget: bool) -> None:
    from cli.user import become, owner_of
    from engine.clock import SystemClock
    from engine.lock import held
    from journal.opening import start_fresh

    place = shown.place
    forgotten = _forgotten(place, forget=forget)
    if forgotten is not None:
        shown.output.line(forgotten)
    if not yes and not agreed("Begin a new journal and put the present one aside?"):
        shown.output.line("nothing was changed")
        shown.output.answer({"aside": None}, node=None)
        return
    become(owner_of(place.root))
    with held(place.lock, command="relup journal fresh"):
        _forgotten(place, forget=forget)
        store, aside = start_fresh(place.journal, clock=SystemClock().now_ns, node=None, root=str(place.root))
        store.close()
    shown.output.line(f"a new journal begins; the old one lies in {aside}")
    shown.output.answer({"aside": str(aside)}, node=None)


def _forgotten(place: "Place", *, forget: bool) -> str | None:
    """What a new journal would not know any more, as a sentence; None where the old one says nothing for sure.

    Raises:
        UpgradeOpen: The old one is sound and knows an unfinished upgrade, and that was not to be forgotten.
    """
    from engine.survey import UpgradeOpen
    from engine.upgrade import refuse_if_open
    from journal.errors import JournalError
    from journal.reader import read
    from projections.replay import current_facts

    history = read(place.journal)
    try:
        identity = history.identity()
        facts = current_facts(history, use_snapshot=False)
        if identity is None or identity.root != str(place.root):
            return None
        refuse_if_open(history)
    except JournalError:
        return None
    except UpgradeOpen as unfinished:
        if forget:
            return f"{unfinished.happened} The new journal does not know it: nobody can recover it any more."
        unfinished.next += " 'relup journal fresh --forget' gives it up."
        raise
    if not facts.standing:
        return None
    return (
        f"The hop to {facts.standing[-1].target_version} lives in the VM until its restart. The new journal does "
        "not know it: 'relup rollback' and 'relup verify' cannot speak of it any more."
    )
