"""Is it still the same VM? A name, and even a process id, can come back after a restart."""

import os

import msgspec
import pytest

from engine.errors import NodeUnreachable
from engine.incarnation import is_alive, is_same, observation, require_same
from engine.node import processes
from engine.node.door import NodeFacts

SEEN = NodeFacts(
    name="emqx@127.0.0.1",
    os_pid=4711,
    os_start_time=90_000,
    creation=7,
    otp_release="25",
    erts_version="13.1.5",
    running_version="5.10.4",
    boot_tree="/opt/emqx",
)


def test_the_very_vm_is_known_again_whatever_it_runs_by_now() -> None:
    """A hop changes what the VM runs, not which VM it is."""
    assert is_same(observation(SEEN), msgspec.structs.replace(SEEN, running_version="5.10.5"))


@pytest.mark.parametrize("changed", [{"os_pid": 4712}, {"os_start_time": 90_001}, {"creation": 8}])
def test_a_vm_that_was_started_anew_is_another_one(changed: dict[str, int]) -> None:
    """Under the same name, and with two of its three marks the same."""
    assert not is_same(observation(SEEN), msgspec.structs.replace(SEEN, **changed))


def test_another_vm_s_word_is_not_taken() -> None:
    """Only the one that was seen may say how a step ended; where none was seen, any may."""
    require_same(observation(SEEN), SEEN)
    require_same(None, SEEN)
    with pytest.raises(NodeUnreachable, match="has ended"):
        require_same(observation(SEEN), msgspec.structs.replace(SEEN, creation=8))


def test_a_process_is_alive_under_its_own_start_time_only() -> None:
    """The number of a dead process is given to another one sooner or later."""
    mine = next(process for process, _ in processes.command_lines() if process.pid == os.getpid())
    alive = msgspec.structs.replace(SEEN, os_pid=mine.pid, os_start_time=mine.start_time)
    assert is_alive(observation(alive))
    reused = msgspec.structs.replace(alive, os_start_time=mine.start_time - 1)
    assert not is_alive(observation(reused))
