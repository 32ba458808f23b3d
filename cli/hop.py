"""`relup hop draft|lint|add`: writing a hop, checking one, putting one into the catalog."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import Context
from engine.errors import BadRelease

if TYPE_CHECKING:
    from engine.release.findings import Finding
    from engine.release.tree import ReleaseTree

commands = typer.Typer(
    help="Write a hop from two releases, check one, put one into the catalog.", no_args_is_help=True
)

RELEASE = "A release: an install root, a deployed tree, or a package (.tar.gz with its .sha256)."


class HopHasErrors(BadRelease):
    """The hop file has findings that would refuse it."""

    name = "hop_has_errors"


@commands.command("draft", short_help="Write the hop from one release to the other.")
def draft(
    context: typer.Context,
    old: Annotated[Path, typer.Argument(metavar="FROM", help=RELEASE)],
    new: Annotated[Path, typer.Argument(metavar="TO", help=RELEASE)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write it there instead of to stdout; must not exist."),
    ] = None,
) -> None:
    """Write the hop from one release to the other, each line with the reason for it.

    Modules in the order of their dependencies; an update where the state of live processes changes its
    shape; a restart of the application where nothing less will do. Read it before you use it: what only its
    author can know (what a callback has to do, what Extra means) stands in it as a remark.
    """
    from engine.release.comparison import compare_trees
    from engine.release.draft import draft_hop

    with _tree(old) as from_tree, _tree(new) as to_tree:
        text = draft_hop(compare_trees(from_tree, to_tree))
    shown: Context = context.obj
    if output is None:
        shown.output.line(text.rstrip("\n"))
    else:
        _write_new(output, text)
        shown.output.line(
            f"wrote {output}; 'relup hop lint {output}' checks it, 'relup hop add {output}' uses it"
        )
    shown.output.answer({"text": text, "file": str(output) if output else None}, node=None)


@commands.command("lint", short_help="Check a hop file, alone or against its releases.")
def lint(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A .relup file.")],
    old: Annotated[
        Path | None, typer.Option("--from", help=f"Check it against its releases too. {RELEASE}")
    ] = None,
    new: Annotated[Path | None, typer.Option("--to", help=RELEASE)] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail for warnings as for errors.")] = False,
) -> None:
    """Check a hop file by itself, and with --from and --to against the two releases."""
    from engine.release.findings import judge
    from engine.steps import counted

    if (old is None) != (new is None):
        raise typer.BadParameter("--from and --to go together")
    found = _lint_findings(file, old, new)
    shown: Context = context.obj
    for finding in found:
        shown.output.line(f"{finding.severity:7} {finding.key}: {finding.happened}")
    refusing = judge(found, strict=strict).refusing
    fields: dict[str, object] = {"findings": found}
    if refusing:
        shown.fail(
            HopHasErrors(
                f"{file} has {counted(len(refusing), 'finding')} that would refuse it.",
                next=f"'relup explain {refusing[0].code}' says what the first one means.",
            ),
            fields=fields,
        )
    shown.output.line(f"{file}: no error")
    shown.output.answer(fields, node=None)


@commands.command("add", short_help="Put hops into the catalog.")
def add(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="A .relup file, or an emqx_relup-<vsn>.tar.gz package.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace what the catalog has for the same versions.")
    ] = False,
) -> None:
    """Put hop files, or an official hot-upgrade package with the modules it brings, into the catalog."""
    from engine.release.adding import add_to_catalog

    shown: Context = context.obj
    shown.become_owner()
    hops = add_to_catalog(source, shown.place.own_catalog, replace=replace)
    for hop in hops:
        shown.output.line(f"added {hop.from_version} -> {hop.target_version}: {hop.file}")
    shown.output.answer({"added": [str(hop.file) for hop in hops]}, node=None)


def _lint_findings(file: Path, old: Path | None, new: Path | None) -> "list[Finding]":
    from engine.release.analysis import case_of, findings_of
    from engine.release.hop import read_hop
    from engine.release.lint import lint as findings_of_file

    try:
        hop = read_hop(file)
    except OSError as fault:
        raise typer.BadParameter(f"{file} cannot be read: {fault.strerror}") from None
    found = list(findings_of_file(hop))
    if old is not None and new is not None:
        with _tree(old) as from_tree, _tree(new) as to_tree:
            found += findings_of(case_of(hop, live_tree=from_tree, target=to_tree))
    return list(dict.fromkeys(found))


@contextmanager
def _tree(release: Path) -> "Iterator[ReleaseTree]":
    """The tree of a release; a package is verified and unpacked for the length of the block."""
    import tempfile

    from engine.release.package import open_package
    from engine.release.tree import ReleaseTree

    if not _is_package(release):
        yield ReleaseTree.read(release)
        return
    with tempfile.TemporaryDirectory(prefix="relup-hop-") as scratch, open_package(release) as package:
        package.verify()
        package.unpack(Path(scratch) / "tree", low_priority=False)
        yield ReleaseTree.read(Path(scratch) / "tree")


def _is_package(release: Path) -> bool:
    """Whether it is a package, or else a tree; what is neither was mistyped, and no package is to blame."""
    try:
        if release.is_file():
            return True
        if (release / "releases" / "emqx_vars").exists():
            return False
    except OSError as fault:
        raise typer.BadParameter(f"{release} cannot be looked into: {fault.strerror}") from None
    raise typer.BadParameter(
        f"{release} is no release: neither a package, nor a folder with releases/emqx_vars"
    )


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x") as file:
            file.write(text)
    except OSError as fault:
        raise typer.BadParameter(f"{path} cannot be written: {fault.strerror}") from None
