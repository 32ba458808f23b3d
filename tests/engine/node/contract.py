"""What every implementation of the node's door must do; run on the real node and on the one in memory.

A subject has the application `probe` with COUNTERS processes of module `counter`, which exists in the
versions v1 (live) and v2, and the application `store` with the one module `store`, running in v1.
"""

from itertools import count
from typing import Literal, Protocol

import pytest

from engine.node.door import (
    CallFunction,
    ChangeCode,
    ClearOldCode,
    CodePathMove,
    LoadModules,
    ModuleFile,
    Node,
    RestartApplication,
    SetCodePath,
    StepDone,
    StepKey,
    StepNotDone,
    StepOrder,
    StepReport,
)
from engine.term import Atom, charlist

COUNTERS = 12
NOTHING = CallFunction(module="erlang", function="node", arguments=())
"""A step that changes nothing."""


class Subject(Protocol):
    """One implementation with its world, made ready by its own test module."""

    node: Node
    other_folder: str
    """A folder that is not on the code path."""

    def file(self, module: str, version: str) -> ModuleFile:
        """The beam of one version: v1, v2, or bad."""
        ...

    def app_file(self, version: str) -> str:
        """The .app of `store`."""
        ...

    def plant(self, place: Literal["suspend", "up", "down"]) -> None:
        """Let one counter hold out against its suspend, until `give_in`, or crash in its code_change."""
        ...

    def give_in(self) -> None:
        """Let who holds out against its suspend go on."""
        ...

    def spawn_lingering(self, number: int) -> None:
        """Start processes of `looper` that will stay in old code and cannot be nudged."""
        ...

    def connect(self, client_id: str) -> None:
        """One counter more is the connection of this client."""
        ...

    def end(self, client_id: str, reason: str) -> None:
        """The client's connection ends with this reason, an atom."""
        ...

    def versions(self) -> set[str]:
        """Of which version the answers of all counters are."""
        ...


class NodeContract:
    """Each test takes a fresh `subject`."""

    @pytest.fixture(autouse=True)
    def _begin(self, subject: Subject) -> None:
        self._subject = subject
        self._numbers = count(1)

    def _perform(self, order: StepOrder, *, direction: Literal["do", "undo"] = "do") -> StepReport:
        return self._subject.node.perform(self._key(direction), order)

    def _key(self, direction: Literal["do", "undo"] = "do") -> StepKey:
        return StepKey(upgrade_id="contract", step=next(self._numbers), attempt=1, direction=direction)

    def _update(self, direction: Literal["up", "down"], *, suspend_timeout_ms: int = 20_000) -> ChangeCode:
        target, other = ("v2", "v1") if direction == "up" else ("v1", "v2")
        return ChangeCode(
            module=self._subject.file("counter", target),
            old=self._subject.file("counter", other),
            direction=direction,
            from_version="1",
            extra=Atom("grown"),
            suspend_timeout_ms=suspend_timeout_ms,
        )

    def _live(self, module: str) -> str | None:
        return self._subject.node.module_md5s([module]).get(module)

    def test_it_says_who_it_is_twice_the_same(self, subject: Subject) -> None:
        """The incarnation is what stays as long as the node lives."""
        facts = subject.node.observe()
        assert facts == subject.node.observe()
        assert facts.os_pid > 0
        assert facts.os_start_time > 0
        assert facts.creation > 0

    def test_md5s_and_files_are_those_of_the_loaded_modules(self, subject: Subject) -> None:
        """Unknown names are left out; all modules are those and more."""
        file = subject.file("counter", "v1")
        assert subject.node.module_md5s(["counter", "no_such_module"]) == {"counter": file.md5}
        assert subject.node.module_files(["counter", "no_such_module"]) == {"counter": file.file}
        assert subject.node.module_md5s().items() >= {"counter": file.md5}.items()

    def test_a_script_that_is_a_plain_term_is_its_own_value(self, subject: Subject) -> None:
        """What is evaluated is the text as it stands, comments and the last dot included."""
        value = subject.node.evaluate_script('%% a hop\n#{from_version => "5.10.4", steps => [one]}.\n')
        assert value == {Atom("from_version"): charlist("5.10.4"), Atom("steps"): [Atom("one")]}

    def test_users_are_counted(self, subject: Subject) -> None:
        """Every process whose callback module it is, and none for a module nobody runs."""
        users = subject.node.module_users(["counter", "no_such_module"])
        assert {module: found.supervised for module, found in users.items()} == {
            "counter": COUNTERS,
            "no_such_module": 0,
        }

    def test_an_update_goes_up_and_down(self, subject: Subject) -> None:
        """State and code move together, both ways, and nobody stays suspended."""
        report = self._perform(self._update("up"))
        assert isinstance(report, StepDone)
        assert report.processes == COUNTERS
        assert subject.versions() == {"v2"}
        assert isinstance(self._perform(self._update("down"), direction="undo"), StepDone)
        assert subject.versions() == {"v1"}
        assert subject.node.suspended() == ()
        assert self._live("counter") == subject.file("counter", "v1").md5

    @pytest.mark.parametrize(
        ("place", "name", "suspend_timeout_ms"),
        [("suspend", "suspend_timeout", 500), ("up", "code_change_failed", 20_000)],
    )
    def test_a_failed_update_leaves_everything_as_it_was(
        self, subject: Subject, place: Literal["suspend", "up"], name: str, suspend_timeout_ms: int
    ) -> None:
        """One process out of all fails: everybody runs the old code with the old state."""
        subject.plant(place)
        report = self._perform(self._update("up", suspend_timeout_ms=suspend_timeout_ms))
        subject.give_in()
        assert isinstance(report, StepNotDone)
        assert (report.name, report.reverted) == (name, True)
        assert report.live == {"counter": subject.file("counter", "v1").md5}
        assert subject.versions() == {"v1"}
        assert subject.node.suspended() == ()

    def test_an_update_that_is_live_changes_nothing(self, subject: Subject) -> None:
        """Skipped, not converted twice."""
        self._perform(self._update("up"))
        report = self._perform(self._update("up"))
        assert isinstance(report, StepDone)
        assert (report.skipped, report.processes) == (1, 0)

    def test_loading_switches_skips_and_removes(self, subject: Subject) -> None:
        """What is live is skipped, what the other release lacks is gone."""
        files = (subject.file("looper", "v2"), subject.file("store", "v1"))
        report = self._perform(LoadModules(modules=files))
        assert isinstance(report, StepDone)
        assert (report.modules, report.skipped) == (1, 1)
        assert self._live("looper") == subject.file("looper", "v2").md5
        assert isinstance(self._perform(LoadModules(modules=(), remove=("looper",))), StepDone)
        assert self._live("looper") is None

    def test_a_bad_file_is_refused_whole(self, subject: Subject) -> None:
        """Nothing of the order is switched."""
        bad = subject.file("store", "bad")
        report = self._perform(LoadModules(modules=(subject.file("looper", "v2"), bad)))
        assert isinstance(report, StepNotDone)
        assert (report.name, report.reverted) == ("load_failed", True)
        assert report.live == {
            "looper": subject.file("looper", "v1").md5,
            "store": subject.file("store", "v1").md5,
        }

    def test_lingering_processes_refuse_a_load_and_die_only_when_told(self, subject: Subject) -> None:
        """They are seen, they are named, and with the flag they are the ones that end."""
        subject.spawn_lingering(5)
        self._perform(LoadModules(modules=(subject.file("looper", "v2"),)))
        lingering = {process.pid for process in subject.node.lingering(["looper"])}
        assert len(lingering) == 5
        back = subject.file("looper", "v1")
        refused = self._perform(LoadModules(modules=(back,), blocker_timeout_ms=100))
        assert isinstance(refused, StepNotDone)
        assert (refused.name, refused.reverted) == ("lingering_processes", True)
        killed = self._perform(LoadModules(modules=(back,), blocker_timeout_ms=100, kill_blockers=True))
        assert isinstance(killed, StepDone)
        assert {ended.pid for ended in killed.ended} == lingering

    def test_who_would_refuse_a_load_is_found_without_one(self, subject: Subject) -> None:
        """Nothing is switched; once they have ended the old code is free."""
        subject.spawn_lingering(5)
        second = subject.file("looper", "v2")
        self._perform(LoadModules(modules=(second,)))
        asked = ClearOldCode(modules=("looper",), blocker_timeout_ms=100)
        refused = self._perform(asked)
        assert isinstance(refused, StepNotDone)
        assert (refused.name, refused.reverted) == ("lingering_processes", True)
        assert (self._live("looper"), len(subject.node.lingering(["looper"]))) == (second.md5, 5)
        back = subject.file("looper", "v1")
        self._perform(LoadModules(modules=(back,), blocker_timeout_ms=100, kill_blockers=True))
        assert isinstance(self._perform(asked), StepDone)

    def test_an_application_restarts_on_its_other_modules(self, subject: Subject) -> None:
        """It runs with the other version and module."""
        order = RestartApplication(
            application="store",
            modules=(subject.file("store", "v2"),),
            remove=(),
            app_file=subject.app_file("v2"),
        )
        assert isinstance(self._perform(order), StepDone)
        store = subject.node.applications()["store"]
        assert (store.version, store.running) == ("2", True)
        assert self._live("store") == subject.file("store", "v2").md5

    def test_a_folder_of_the_code_path_moves_in_place(self, subject: Subject) -> None:
        """There and back is where it was."""
        before = subject.node.code_path()
        there = CodePathMove(application="probe", old=before[0], new=subject.other_folder)
        back = CodePathMove(application="probe", old=subject.other_folder, new=before[0])
        assert isinstance(self._perform(SetCodePath(moves=(there,))), StepDone)
        assert subject.node.code_path()[0] == subject.other_folder
        assert isinstance(self._perform(SetCodePath(moves=(back,))), StepDone)
        assert subject.node.code_path() == before

    def test_a_key_is_done_once_and_its_outcome_kept(self, subject: Subject) -> None:
        """Asked again, whatever the order, the first outcome comes back; an unknown key has none."""
        key = self._key()
        assert subject.node.outcome(key) is None
        first = subject.node.perform(
            key, CallFunction(module="counter", function="module_info", arguments=())
        )
        assert isinstance(first, StepDone)
        assert first.returned is not None
        assert subject.node.perform(key, self._update("up")) == first
        assert subject.node.outcome(key) == first
        assert subject.versions() == {"v1"}
        subject.node.dismiss()
        assert subject.node.outcome(key) is None

    # ------------------------------------------------------------ clients

    def test_connections_that_end_between_two_steps_are_told_with_their_clients(
        self, subject: Subject
    ) -> None:
        """One that crashes, with its reason, once it is known; one that is closed is none of them."""
        for client_id in ("thermostat", "lamp"):
            subject.connect(client_id)
        self._perform(NOTHING)
        subject.end("thermostat", "crashed")
        subject.end("lamp", "normal")
        assert [(ended.client_id, ended.reason) for ended in subject.node.ended()] == [
            ("thermostat", "crashed")
        ]

    def test_an_ended_connection_stands_in_the_report_of_the_next_step_and_nowhere_else(
        self, subject: Subject
    ) -> None:
        """So nobody is counted twice, and a connection that came after the first step is watched too."""
        self._perform(NOTHING)
        assert subject.node.ended() == ()
        subject.connect("thermostat")
        self._perform(NOTHING)
        subject.end("thermostat", "crashed")
        report = self._perform(NOTHING)
        assert [ended.client_id for ended in report.ended] == ["thermostat"]
        assert subject.node.ended() == ()
        assert self._perform(NOTHING).ended == ()

    def test_clients_are_counted_by_the_application_they_belong_to(self, subject: Subject) -> None:
        """Without clients there is nothing to count."""
        assert subject.node.client_applications() == {}
        subject.connect("thermostat")
        subject.connect("lamp")
        assert subject.node.client_applications() == {"probe": 2}
