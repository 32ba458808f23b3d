"""The short set of `make boundaries`: one death of each kind, where it hurts most."""

from pathlib import Path

import pytest

from fixtures.build import Built
from tests.boundaries.__main__ import plays
from tests.boundaries.runs import Run, carry_out, runs_of
from tests.boundaries.stage import Play, Stage

CHOSEN = (
    ("good: tool dies after", "StepStarted ChangeCode do", "recover do"),
    ("good: tool dies before", "StepSucceeded ChangeCode do", "recover undo"),
    ("good: tool dies after", "StepStarted RunCallback do", "recover undo"),
    ("good: vm dies after", "StepStarted ChangeCode do", "recover do"),
    ("good: vm dies after", "StepSucceeded VerifyNode do", "recover do"),
    ("good: both dies before", "StepSucceeded MakePermanent do", "recover do"),
    ("good: both dies before", "(NodeObserved)", "recover do"),
    ("failing: tool dies before", "StepStarted SetCodePath undo", "recover do"),
)
"""Forward and back from the middle of an update, past the point of no return, and dead VMs."""


@pytest.fixture(scope="module")
def learnt(releases: Built, tmp_path_factory: pytest.TempPathFactory) -> list[Play]:
    """Both plays with the entries they write undisturbed."""
    return plays(releases, tmp_path_factory.mktemp("plays"))


def chosen(all_plays: list[Play]) -> list[Run]:
    """The first run that fits each choice."""
    runs = [run for play in all_plays for run in runs_of(play)]
    return [next(run for run in runs if all(part in str(run) for part in parts)) for parts in CHOSEN]


@pytest.mark.timeout(600)
def test_after_a_death_at_a_boundary_the_node_ends_on_one_release(
    learnt: list[Play], releases: Built, tmp_path: Path
) -> None:
    """Each chosen death is recovered from: code, states, clients, path, marker, tree and journal agree."""
    stage = Stage(releases, tmp_path)
    try:
        for run in chosen(learnt):
            carry_out(run, stage)
    finally:
        stage.close()
