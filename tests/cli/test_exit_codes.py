"""Every error has a name of its own, a sentence and exactly one number."""

import importlib
import pkgutil
from collections import Counter
from types import ModuleType
from typing import TypeVar

import pytest

import engine
import journal
from cli.exit_codes import BUG, CODES, INTERRUPTED, exit_code
from engine.errors import (
    AnswerLost,
    BetweenReleases,
    Busy,
    ConnectionsLost,
    Differs,
    Interrupted,
    NodeUnreachable,
    PastNoReturn,
    Refusal,
    RelupError,
    RolledBack,
    StepFailure,
)
from journal.errors import JournalError, JournalFull

FAMILIES: dict[type[Exception], range] = {
    Refusal: range(10, 20),
    RolledBack: range(20, 30),
    BetweenReleases: range(30, 40),
    Differs: range(30, 40),
    PastNoReturn: range(30, 40),
    ConnectionsLost: range(30, 40),
    StepFailure: range(30, 40),
    JournalError: range(40, 50),
    NodeUnreachable: range(50, 60),
    Busy: range(60, 61),
    Interrupted: range(INTERRUPTED, INTERRUPTED + 1),
    JournalFull: range(10, 20),
    AnswerLost: range(BUG, BUG + 1),
}
"""What the manual promises of each family; the most special one holds."""


Told = TypeVar("Told", bound=Exception)


def every_module(package: ModuleType) -> list[ModuleType]:
    """The package's modules, all imported, so that every class exists."""
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [importlib.import_module(one.name) for one in found]


def subclasses(root: type[Told]) -> list[type[Told]]:
    return [root, *(deeper for child in root.__subclasses__() for deeper in subclasses(child))]


def error_classes() -> list[type[RelupError | JournalError]]:
    """All that can reach the door of the house, each class once; those of tests are not ours."""
    every_module(engine)
    every_module(journal)
    found: list[type[RelupError | JournalError]] = [*subclasses(RelupError), *subclasses(JournalError)]
    return [
        one
        for one in dict.fromkeys(found)
        if one.__module__.partition(".")[0] in ("engine", "journal", "cli")
    ]


CLASSES = error_classes()


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__qualname__)
def test_every_error_class_has_a_sentence_and_a_name(error: type[RelupError]) -> None:
    """What an operator meets can be looked up: the class says what it stands for, in words of its own."""
    assert error.__dict__.get("__doc__") or error.__dict__.get("reason"), (
        "an inherited sentence is not its own"
    )
    assert error.name
    assert error.name == error.name.lower()
    assert " " not in error.name


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__qualname__)
def test_every_error_class_has_one_number_of_its_family(error: type[Exception]) -> None:
    """The number says what the node runs now, so no class may fall out of its family's range."""
    nearest = [kind for kind in error.__mro__ if kind in FAMILIES]
    code = exit_code(error.__new__(error))
    if not nearest:
        assert error is RelupError
        assert code == BUG
        return
    assert code in FAMILIES[nearest[0]]
    unrelated = [kind for kind in nearest if not issubclass(nearest[0], kind)]
    assert unrelated == [], "a class of two families has two numbers"


def test_no_two_classes_set_the_same_name() -> None:
    """A script that matches on the name meets one kind of error."""
    names = Counter(error.__dict__["name"] for error in CLASSES if "name" in error.__dict__)
    assert [name for name, times in names.items() if times > 1] == []


def test_every_number_belongs_to_a_class_that_exists() -> None:
    """The table has no row for an error that nobody can raise."""
    assert set(CODES) - {KeyboardInterrupt} <= set(CLASSES)


def test_a_stranger_among_the_errors_is_our_bug() -> None:
    """What is no error of ours was not foreseen."""
    assert exit_code(ValueError("x")) == BUG
    assert exit_code(AssertionError()) == BUG


def test_ctrl_c_at_the_shell_is_130() -> None:
    """The shell's own number for an interrupt, also where no upgrade was in hand."""
    assert exit_code(KeyboardInterrupt()) == INTERRUPTED


def test_rollback_past_the_point_of_no_return_and_verify_have_their_own_numbers() -> None:
    """31 and 30 are promised by name."""
    assert exit_code(PastNoReturn("x", next="y")) == 31
    assert exit_code(Differs("x", next="y")) == 30
