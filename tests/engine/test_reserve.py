"""The room that is put aside: what the entries of a plan's work take at worst, and not much more."""

import msgspec
import pytest

from engine.errors import StepFailure
from engine.hands import judged
from engine.node import door
from engine.reserve import (
    ENDED_BYTES,
    ENTRY_BYTES,
    REASON_CHARS,
    journal_need_bytes,
    journal_need_of,
    shortened,
)
from engine.survival import KILLED
from journal.events import EndedProcess, Evidence
from tests.engine.stories import LOAD, REVERSIBLE, UPDATE, change, plan_of, state_after, succeeded

LONGEST = EndedProcess(
    pid="<0.1234567.89>",
    name="emqx_gateway_connection:init/1",
    reason=KILLED + 900 * "x",
    client_id="0f0e0d0c-0b0a-0908-0706-050403020100/sensor",
)


def test_an_ended_process_with_a_long_reason_fits_into_its_room() -> None:
    """Only the end of the reason is cut: who was killed is still told from who died."""
    told = shortened(LONGEST)
    assert len(msgspec.msgpack.encode(told)) <= ENDED_BYTES
    assert len(told.reason) == REASON_CHARS
    assert told.reason.startswith(KILLED)
    assert (told.pid, told.name, told.client_id) == (LONGEST.pid, LONGEST.name, LONGEST.client_id)


def test_a_reason_of_usual_length_is_kept_as_it_is() -> None:
    """To the last character that fits."""
    process = msgspec.structs.replace(LONGEST, reason=REASON_CHARS * "x")
    assert shortened(process) is process


def test_the_room_counts_each_process_that_may_end_twice() -> None:
    """Once by its step, and once by the end of the upgrade."""
    plan = plan_of(REVERSIBLE)
    crowd = msgspec.structs.replace(plan, may_end=1_000)
    more = journal_need_of(crowd) - journal_need_of(plan)
    assert 0 <= more - 2 * 1_000 * ENDED_BYTES < ENTRY_BYTES


def test_the_room_counts_each_try_of_an_undoing() -> None:
    """An update may be tried three times on the way back; a load is undone once."""
    updating, loading = (journal_need_of(plan_of((*REVERSIBLE, step))) for step in (UPDATE, LOAD))
    assert round((updating - loading) / ENTRY_BYTES) == 4


def test_the_room_counts_processes_that_have_ended_already() -> None:
    """The end of a resumed upgrade names those of its earlier half too."""
    before = state_after(succeeded(4))
    after = state_after(succeeded(4, evidence=Evidence(ended=100 * (LONGEST,))))
    assert journal_need_bytes(after) - journal_need_bytes(before) == 100 * ENDED_BYTES


def test_the_room_counts_the_plan_itself_and_its_modules_on_either_side() -> None:
    """A plan of thousands of modules is larger than the entries of its few steps."""
    modules = tuple(change(f"emqx_module_with_a_usual_name_{number}") for number in range(2_500))
    plan = plan_of([msgspec.structs.replace(LOAD, modules=modules)])
    names = len(msgspec.msgpack.encode([module.module for module in modules]))
    written = len(msgspec.msgpack.encode(plan)) + 2 * names
    assert written > 12 * ENTRY_BYTES
    assert journal_need_of(plan) >= written + 12 * ENTRY_BYTES


def test_before_there_is_a_plan_only_the_end_is_to_be_written() -> None:
    """Nothing was touched by then."""
    assert journal_need_of(None) == 8 * ENTRY_BYTES


def test_what_a_step_reports_of_its_ended_is_cut_before_it_is_written() -> None:
    """Of one that was done as of one that was not."""
    ended = (
        door.Ended(pid=LONGEST.pid, name=LONGEST.name, reason=LONGEST.reason, client_id=LONGEST.client_id),
    )
    state = state_after()
    assert judged(door.StepDone(ended=ended), state).ended == (shortened(LONGEST),)
    with pytest.raises(StepFailure) as raised:
        judged(door.StepNotDone(name="code_change_failed", detail="", reverted=False, ended=ended), state)
    assert raised.value.evidence.ended == (shortened(LONGEST),)
