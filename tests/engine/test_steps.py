"""Steps as values, and their way into the journal and back."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.steps import (
    ApplyFunction,
    ChangeCode,
    DeployTarget,
    LoadModules,
    MakePermanent,
    PathMove,
    RestartApplication,
    RunCallback,
    SetCodePath,
    Step,
    UnpackTarget,
    VerifyNode,
    VerifyPackage,
    first_irreversible,
    from_record,
    has_way_back,
    module_changes,
    name_of,
    recorded,
    subject_of,
)
from journal import codec
from journal.events import Entry, ModuleChange, RecordedStep, Sequence, UpgradeId
from tests.engine.stories import plan_of

KINDS = get_args(Step)
CHANGES_THE_VM = {SetCodePath, LoadModules, ChangeCode, RestartApplication, ApplyFunction, RunCallback}
CANNOT_BE_UNDONE = {ApplyFunction, RunCallback}

NAMES = st.text(st.characters(categories=["L", "N"], include_characters="_@ '\"\\"), min_size=1, max_size=20)
TEXTS = st.text(max_size=60)
MD5S = st.none() | st.text("0123456789abcdef", min_size=32, max_size=32)
CHANGES = st.builds(
    ModuleChange,
    module=NAMES,
    from_md5=MD5S,
    to_md5=MD5S,
    from_file=st.none() | TEXTS,
    to_file=st.none() | TEXTS,
)
MODULES = st.lists(CHANGES, min_size=1, max_size=4).map(tuple)
MOVES = st.builds(PathMove, application=NAMES, old=st.none() | TEXTS, new=st.none() | TEXTS)
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(VerifyPackage),
    st.builds(UnpackTarget),
    st.builds(VerifyNode),
    st.builds(DeployTarget, version=NAMES),
    st.builds(SetCodePath, moves=st.lists(MOVES, max_size=4).map(tuple)),
    st.builds(LoadModules, modules=MODULES),
    st.builds(ChangeCode, module=CHANGES, from_version=NAMES, extra=TEXTS),
    st.builds(
        RestartApplication,
        application=NAMES,
        version=NAMES,
        modules=MODULES | st.just(()),
        old_app_file=TEXTS,
        new_app_file=TEXTS,
    ),
    st.builds(ApplyFunction, module=NAMES, function=NAMES, arguments=TEXTS),
    st.builds(
        RunCallback,
        modules=st.lists(NAMES, min_size=1, max_size=2).map(tuple),
        function=NAMES,
        arguments=TEXTS,
    ),
    st.builds(MakePermanent, version=NAMES),
)


@given(step=STEPS, number=st.integers(1, 500))
def test_a_step_comes_back_from_the_journal_as_it_was(step: Step, number: int) -> None:
    """Through the very bytes of an entry; recovery walks what was planned and nothing else."""
    plan = msgspec.structs.replace(plan_of(()), steps=(recorded(step, number=number),))
    entry = Entry(seq=Sequence(1), at=0, upgrade_id=UpgradeId("u"), event=plan)
    (_, stored) = codec.record(entry, previous=codec.GENESIS)
    event = codec.decode(stored[codec.HASH_SIZE :]).event
    assert isinstance(event, type(plan))
    (record,) = event.steps
    assert from_record(record) == step
    assert (record.number, record.name, record.subject) == (number, name_of(step), subject_of(step))


@given(step=STEPS)
def test_what_a_step_moves_stands_in_the_record_where_anyone_finds_it(step: Step) -> None:
    """A reader that does not know the step sees its modules, and once."""
    record = recorded(step, number=3)
    assert record.modules == module_changes(step)
    if record.modules:
        assert not {"module", "modules"} & record.arguments.keys()


def test_every_kind_is_known_by_what_it_changes() -> None:
    """The loop counts survivors after live steps, and rolls back only before what cannot be undone."""
    assert {kind for kind in KINDS if kind.is_live} == CHANGES_THE_VM
    assert {kind for kind in KINDS if not kind.undoable} == CANNOT_BE_UNDONE


def test_a_step_of_a_newer_relup_is_not_guessed_at() -> None:
    """Recovery by an older tool stops instead of passing it over."""
    unknown = RecordedStep(number=3, name="MigrateTables", subject="x", undoable=True)
    with pytest.raises(msgspec.ValidationError):
        from_record(unknown)


# ---------------------------------------------------------------- the way back


def moved(*, from_md5: str | None, from_file: str | None) -> ModuleChange:
    return ModuleChange(module="m", from_md5=from_md5, to_md5="b", from_file=from_file, to_file="/b")


HOME = moved(from_md5="a", from_file="/a")
NEW = moved(from_md5=None, from_file=None)
HOMELESS = moved(from_md5="a", from_file=None)
"""What runs is in no file: patched by hand, or its tree is gone."""


def restart(*modules: ModuleChange, old_app_file: str = "/old.app") -> RestartApplication:
    return RestartApplication(
        application="a", version="2", modules=modules, old_app_file=old_app_file, new_app_file="/new.app"
    )


def update(module: ModuleChange) -> ChangeCode:
    return ChangeCode(module=module, from_version="1", extra="[]")


WAYS: dict[str, tuple[Step, bool]] = {
    "files only": (DeployTarget(version="2"), True),
    "old file at hand": (LoadModules(modules=(HOME,)), True),
    "a new module": (LoadModules(modules=(NEW, HOME)), True),
    "what runs is in no file": (LoadModules(modules=(HOME, HOMELESS)), False),
    "update from a file": (update(HOME), True),
    "update of what is in no file": (update(HOMELESS), False),
    "restart": (restart(HOME, NEW), True),
    "restart without the old modules": (restart(HOMELESS), False),
    "a new application": (restart(NEW, old_app_file=""), False),
}


@pytest.mark.parametrize(("step", "expected"), WAYS.values(), ids=WAYS)
def test_a_step_has_a_way_back_when_the_old_code_is_at_hand(step: Step, expected: bool) -> None:
    """Else the plan says beforehand that it cannot be undone."""
    assert has_way_back(step) is expected
    assert recorded(step, number=1).undoable is expected


def test_the_point_of_no_return_is_the_first_step_without_a_way_back() -> None:
    """None when all can be undone."""
    callback = RunCallback(modules=("m",), function="f", arguments="[]")
    planned: list[Step] = [update(HOME), callback, callback]
    steps = [recorded(step, number=n) for n, step in enumerate(planned, start=3)]
    assert first_irreversible(steps) == 4
    assert first_irreversible(steps[:1]) is None
    assert first_irreversible([]) is None


def test_a_subject_counts_in_words() -> None:
    """One line for people."""
    assert subject_of(LoadModules(modules=(HOME,))) == "m"
    assert subject_of(LoadModules(modules=(HOME, NEW))) == "2 modules"
    assert subject_of(restart(HOME)) == "a, 1 module"
    assert subject_of(SetCodePath(moves=())) == "0 applications"
