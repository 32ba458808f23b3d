"""The agent's language, both ways, without a node."""

import pytest

from engine.node.agent import keyed, order_term, progress_of, report_of
from engine.node.door import (
    CallFunction,
    ChangeCode,
    ClearOldCode,
    CodePathMove,
    Ended,
    LoadModules,
    ModuleFile,
    RestartApplication,
    SetCodePath,
    StepDone,
    StepKey,
    StepNotDone,
    StepOrder,
    StepProgress,
    SuspendedFor,
)
from engine.term import Atom, format_term

FILE = ModuleFile(module="m", file="/t/m.beam", md5="00" * 15 + "ff")
WRITTEN = '{m,"/t/m.beam",<<0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,255>>}'

ORDERS: list[tuple[StepOrder, str]] = [
    (
        SetCodePath(
            moves=(
                CodePathMove(application="a", old="/o", new="/n"),
                CodePathMove(application="b", old=None, new="/b"),
            )
        ),
        '{set_code_path,[{"/o","/n"},{none,"/b"}]}',
    ),
    (
        LoadModules(modules=(FILE,), remove=("gone",), max_stall_ms=20, kill_blockers=True),
        f"{{load_modules,[{WRITTEN}],[gone],"
        "#{max_stall_us => 20000,blocker_timeout_ms => 10000,kill_blockers => true,on_load_timeout_ms => 30000}}",
    ),
    (
        ClearOldCode(modules=("m",), blocker_timeout_ms=300),
        "{clear_old_code,[m],#{blocker_timeout_ms => 300,kill_blockers => false}}",
    ),
    (
        ChangeCode(module=FILE, old=None, direction="down", from_version="5.10.4", extra=[Atom("x")]),
        f'{{change_code,#{{module => {WRITTEN},old => none,direction => down,vsn => "5.10.4",extra => [x],'
        "suspend_timeout_ms => 2000,change_timeout_ms => 30000,blocker_timeout_ms => 10000,kill_blockers => false}}",
    ),
    (
        RestartApplication(application="a", modules=(FILE,), remove=(), app_file="/t/a.app"),
        f"{{restart_application,a,[{WRITTEN}],[],#{{max_stall_us => 50000,blocker_timeout_ms => 10000,"
        'kill_blockers => false,on_load_timeout_ms => 30000,app_file => "/t/a.app",timeout_ms => 60000}}',
    ),
    (
        RestartApplication(
            application="a",
            modules=(),
            remove=("gone",),
            app_file="/t/a.app",
            timeout_ms=9,
            max_stall_ms=20,
            blocker_timeout_ms=300,
            kill_blockers=True,
        ),
        "{restart_application,a,[],[gone],#{max_stall_us => 20000,blocker_timeout_ms => 300,"
        'kill_blockers => true,on_load_timeout_ms => 30000,app_file => "/t/a.app",timeout_ms => 9}}',
    ),
    (
        CallFunction(module="m", function="f", arguments=(1, Atom("a")), timeout_ms=5),
        "{call_function,m,f,[1,a],5}",
    ),
]


@pytest.mark.parametrize(("order", "written"), ORDERS)
def test_each_order_is_written_as_the_agent_reads_it(order: StepOrder, written: str) -> None:
    """The words of engine/agent/relup_agent_order.erl."""
    assert format_term(order_term(order)) == written


def test_a_key_names_upgrade_step_direction_and_attempt() -> None:
    """All four are in it, so that an undo is never taken for its do."""
    key = StepKey(upgrade_id="u1", step=4, attempt=2, direction="undo")
    assert keyed(key, Atom("outcome")) == (1, b"u1", (4, "undo"), 2, "outcome")


def test_reports_become_values_of_the_door() -> None:
    """Every field, and defaults for those a report leaves out."""
    ended = (b"<0.9.0>", b"emqx_connection", b"killed", b"thermostat")
    nobody = (b"<0.8.0>", b"m", b"noproc", Atom("undefined"))
    done = (
        Atom("done"),
        {
            Atom("modules"): 3,
            Atom("processes"): 2,
            Atom("slowest"): [(b"<0.9.0>", b"x", 17)],
            Atom("ended"): [ended, nobody],
            Atom("notes"): [b"n"],
            Atom("returned"): b"ok",
        },
    )
    assert report_of(done) == StepDone(
        modules=3,
        processes=2,
        slowest=(SuspendedFor(pid="<0.9.0>", name="x", us=17),),
        ended=(
            Ended(pid="<0.9.0>", name="emqx_connection", reason="killed", client_id="thermostat"),
            Ended(pid="<0.8.0>", name="m", reason="noproc"),
        ),
        notes=("n",),
        returned="ok",
    )
    not_done = (
        Atom("not_done"),
        {
            Atom("name"): Atom("load_failed"),
            Atom("detail"): "töricht".encode(),
            Atom("reverted"): Atom("true"),
            Atom("live"): [(Atom("m"), b"\xff" * 16), (Atom("n"), Atom("undefined"))],
        },
    )
    assert report_of(not_done) == StepNotDone(
        name="load_failed", detail="töricht", reverted=True, live={"m": "ff" * 16, "n": None}
    )
    assert report_of((Atom("done"), {})) == StepDone()


def test_what_is_no_report_is_refused() -> None:
    """A term of another language is an error, not an empty success."""
    with pytest.raises(ValueError, match="no report"):
        report_of((Atom("maybe"), {}))


def test_every_ended_process_is_carried() -> None:
    """They are counted against what the operator accepts, so none may be left out, however many there are."""
    many = [(b"<0.1.0>", b"m", b"r", Atom("undefined"))] * 150
    report = report_of((Atom("done"), {Atom("ended"): many}))
    assert isinstance(report, StepDone)
    assert len(report.ended) == 150


def test_only_progress_is_progress() -> None:
    """Other messages to the client are somebody else's."""
    assert progress_of((Atom("relup_progress"), 1, 2, Atom("modules"))) == StepProgress(
        done=1, total=2, unit="modules"
    )
    assert progress_of(Atom("hello")) is None
