"""What every command needs before it can begin: which RootDir, which node, whose rights, which journal.

Options become places and connections here, and nothing is decided. Heavy rooms are imported where they are
first needed: `relup status` has a quarter of a second for everything.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from cli.output import NodeVersions, Output
from engine.errors import UNTOUCHED, BadRequest, NodeUnreachable, Refusal, RelupError
from engine.place import Place

if TYPE_CHECKING:
    from engine.node.discovery import KnownNode
    from engine.node.door import Node
    from engine.release.hashing import Hashing
    from engine.run import House
    from engine.truth import Versions
    from journal.door import History, Journal
    from journal.errors import JournalError


class ExportIsOnlyRead(BadRequest):
    """A command that is about the node itself was given an exported journal."""

    name = "export_is_only_read"


class NotAnInstallRoot(BadRequest):
    """The folder is no EMQX install root."""

    name = "not_an_install_root"


class RootOutOfReach(BadRequest):
    """This user cannot look into the install root."""

    name = "root_out_of_reach"


def place_of(root: Path) -> Place:
    """The place of an install root, or of a tree under its relup/.

    Raises:
        NotAnInstallRoot: It is neither.
        RootOutOfReach: This user cannot look into it.
    """
    try:
        place = Place.of_tree(root)
        found = (place.root / "releases" / "emqx_vars").is_file()
    except OSError as fault:
        raise RootOutOfReach(
            f"{root} cannot be looked into: {fault.strerror}.",
            next="Run relup as the user of the node or as root; with --root or RELUP_ROOT check the path too.",
        ) from fault
    if not found:
        raise NotAnInstallRoot(
            f"{root} is no install root of EMQX: it has no releases/emqx_vars.",
            next="Give the folder that has bin, lib and releases, with --root or RELUP_ROOT.",
        )
    return place


@dataclass
class Context:
    """The global options of one call, and what follows from them."""

    root: Path | None
    node: str | None
    cookie_file: Path | None
    catalog: Path | None
    journal: Path | None
    """An exported journal to read instead of the node's own."""
    output: Output
    verbose: bool
    tool_version: str

    @cached_property
    def place(self) -> Place:
        """RootDir: --root or RELUP_ROOT, else that of the one running node.

        Raises:
            ExportIsOnlyRead: --journal names an exported journal, which has no RootDir.
            NotAnInstallRoot, RootOutOfReach: The folder is none, or this user cannot look into it.
            NodeUnreachable, BadRequest: None was given, and not exactly one node runs.
        """
        if self.journal is not None:
            raise ExportIsOnlyRead(
                f"This command is about a node and its own journal, not about the exported one in {self.journal}.",
                next="Leave --journal out; 'relup --journal FILE logs' with its options reads an exported journal.",
            )
        if self.root is None:
            from engine.node.discovery import running_node

            return place_of(running_node(name=self.node).base_root)
        return place_of(self.root)

    @cached_property
    def known_node(self) -> "KnownNode":
        """The node of this RootDir: from its process while it runs, else from its configuration.

        The cookie is read here, with the rights the command was started with.

        Raises:
            SeveralNodes: More than one process runs on this RootDir.
            NodeNotFound: None runs, and the configuration does not name it either.
        """
        from msgspec.structs import replace

        from engine.node.cookie import cookie_from_file
        from engine.node.discovery import configured_node, running_node
        from engine.node.errors import NodeNotFound
        from engine.release.folders import folders_of

        try:
            known = running_node(self.place.root, name=self.node)
        except NodeNotFound:
            folders = folders_of(self.place.root)
            known = configured_node(self.place.root, etc=folders.etc, data=folders.data)
        if self.node is not None:
            known = replace(known, name=self.node)
        if self.cookie_file is not None:
            known = replace(known, cookie=cookie_from_file(self.cookie_file))
        return known

    @property
    def data_dir(self) -> Path:
        """The node's data folder: its own word while it runs, else its configuration's."""
        return self.known_node.data_dir or self.place.root / "data"

    def connect(self) -> "Node":
        """A connection to the node; opened at its first use.

        Raises:
            NodeUnreachable: It is down, refuses the cookie, or does not answer.
        """
        from engine.node import dial
        from engine.node.vm import Vm

        known = self.known_node
        return Vm(lambda: dial.connect(known))

    # ------------------------------------------------------------ reading

    def history(self, *, salvage: bool = False) -> "History":
        """The journal, read only; the exported one that --journal names, if any."""
        if self.journal is not None:
            from journal.portable import open_export

            return open_export(self.journal)
        return self.own_history(salvage=salvage)

    def own_history(self, *, salvage: bool = False) -> "History":
        """The node's own journal, read only."""
        from journal.reader import read

        return read(self.place.journal, salvage=salvage)

    def lock_is_held(self) -> bool:
        """A living relup works on this RootDir; nobody works on an exported journal."""
        if self.journal is not None:
            return False
        from engine.lock import holder

        return holder(self.place.lock) is not None

    # ------------------------------------------------------------ changing

    def become_owner(self) -> None:
        """Be the node's user from here on, when root started this command."""
        import os

        from cli.user import become, owner_of

        process = self.known_node.process
        owner = owner_of(self.place.root, os_pid=process.pid if process else None)
        if os.geteuid() != owner.uid:
            from cli.ahead import load_everything

            load_everything()
        become(owner)

    @contextmanager
    def house(self, *, command: str, rehearsal: bool = False) -> "Iterator[House]":
        """The opened house for a command that changes something (or, as a rehearsal, only walks the plan)."""
        import sys

        from cli.progress import shown
        from cli.signals import counted_signals
        from engine.clock import SystemClock
        from engine.house import open_house, rehearsal_house, requester
        from engine.run import House

        by = requester(self.tool_version)
        known = self.known_node
        self.become_owner()
        clock = SystemClock()
        with shown(sys.stderr) as progress, counted_signals(progress.note) as interrupts:

            def furnish(journal: "Journal") -> House:
                return House(
                    place=self.place,
                    data_dir=self.data_dir,
                    catalog=self.catalog,
                    journal=journal,
                    connect=self.connect,
                    clock=clock,
                    progress=progress,
                    interrupts=interrupts,
                    by=by,
                )

            opened = (
                rehearsal_house(self.place, furnish, clock=clock)
                if rehearsal
                else open_house(
                    self.place, furnish, clock=clock, node_name=known.name, command=f"relup {command}"
                )
            )
            with opened as house:
                try:
                    yield house
                finally:
                    _refresh_snapshots(house.journal)

    # ------------------------------------------------------------ versions

    def versions(self) -> "Versions":
        """Base, live and next boot, as far as they can be known now."""
        return self.asked_versions()[0]

    def asked_versions(self, *, ahead: "Hashing | None" = None) -> "tuple[Versions, NodeUnreachable | None]":
        """The same, and why the node could not be asked, if so: reading commands work either way.

        Args:
            ahead: A tree that is being hashed already.
        """
        from engine.truth import versions

        try:
            with closing(self.connect()) as node:
                return versions(self.place, node, ahead=ahead), None
        except NodeUnreachable as error:
            return versions(self.place, None), error

    def fail(
        self, error: "RelupError | JournalError", *, fields: dict[str, object] | None = None
    ) -> NoReturn:
        """Tell an error of a command that touches the node, with what the node is now; leave with its code."""
        import typer

        from cli.exit_codes import exit_code

        if error.runs_now is None and isinstance(error, Refusal):
            error.runs_now = UNTOUCHED
        if self.verbose:
            import traceback

            traceback.print_exception(error)
        self.output.fail(error, node=self._versions_or_none(), fields=fields)
        raise typer.Exit(exit_code(error)) from error

    def _versions_or_none(self) -> NodeVersions | None:
        """For the object of a failed command: what can be known without failing again."""
        if not self.output.json:
            return None
        try:
            return shown_versions(self.versions())
        except RelupError:
            return None


def _refresh_snapshots(journal: "Journal") -> None:
    """Keep the projections' folds, so that the next `status` need not replay what this command wrote.

    A snapshot is a cache: that none can be written now is no reason to fail.
    """
    from journal.errors import JournalError
    from journal.store import Store
    from projections.replay import refresh_snapshots

    if isinstance(journal, Store):
        with suppress(JournalError):
            refresh_snapshots(journal)


def shown_versions(facts: "Versions") -> NodeVersions:
    """The three facts as every JSON answer has them."""
    return NodeVersions(
        base=facts.base,
        live=facts.live.version if facts.live else None,
        next_boot=facts.next_boot,
    )
