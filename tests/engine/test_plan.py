"""From a hop whose names were found to the steps of the plan."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.plan import (
    PARTS,
    ApplicationChange,
    ResolvedHop,
    differing_parts,
    plan_id,
    planned_steps,
    recorded_steps,
)
from engine.release.hop import AnyInstruction, Callback, Hop, hop_of
from engine.release.terms import parse_term
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
    VerifyNode,
    name_of,
)
from tests.engine.stories import change

MOVE = PathMove(application="emqx", old="/old/ebin", new="/new/ebin")
RETAINER = ApplicationChange(
    application="emqx_retainer",
    version="5.0.26",
    old_app_file="/old.app",
    new_app_file="/new.app",
    modules=(change("emqx_retainer"), change("emqx_gone", new=None)),
)


def hop(instructions: str, callbacks: str = "[]") -> Hop:
    """A hop as a catalog would have it."""
    text = f"""#{{from_version => "5.10.4", target_version => "5.10.5",
        code_changes => [{instructions}], post_upgrade_callbacks => {callbacks}}}."""
    return hop_of(parse_term(text, calls=True, source="hop"), file=Path("hop.relup"), content=text.encode())


def planned(instructions: str, callbacks: str = "[]", *, moves: tuple[PathMove, ...] = (MOVE,)) -> list[Step]:
    found = hop(instructions, callbacks)
    return [
        *planned_steps(
            ResolvedHop(
                hop=found,
                modules={name: change(name) for name in found.modules()},
                applications={"emqx_retainer": RETAINER},
                path_moves=moves,
            )
        )
    ]


def names(steps: list[Step]) -> list[str]:
    return [name_of(step) for step in steps]


def test_the_frame_is_always_the_same() -> None:
    """The tree is deployed first, the node read back after the code, and the marker written last."""
    assert planned("{load_module, a}") == [
        DeployTarget(version="5.10.5"),
        SetCodePath(moves=(MOVE,)),
        LoadModules(modules=(change("a"),)),
        VerifyNode(),
        MakePermanent(version="5.10.5"),
    ]


def test_without_a_changed_application_the_code_path_stays() -> None:
    """No step that does nothing."""
    assert SetCodePath not in map(type, planned("{load_module, a}", moves=()))


def test_neighbouring_loads_become_one_step_and_others_do_not() -> None:
    """They are switched together; what stands between them keeps its place."""
    steps = planned(
        "{load_module, a}, {load_module, b}, {update, c, {advanced, [x]}}, {load_module, d}, {load_module, e}"
    )
    assert steps[2:5] == [
        LoadModules(modules=(change("a"), change("b"))),
        ChangeCode(module=change("c"), from_version="5.10.4", extra="[x]"),
        LoadModules(modules=(change("d"), change("e"))),
    ]


@pytest.mark.parametrize(
    ("named", "alone"),
    [
        ("{load_module, m}, {load_module, a}, {update, m, x}", "{load_module, a}, {update, m, x}"),
        ("{update, m, x}, {load_module, a}, {load_module, m}", "{update, m, x}, {load_module, a}"),
        ("{load_module, m}, {load_module, m}, {load_module, a}", "{load_module, m}, {load_module, a}"),
        ("{load_module, m}, {update, a, x}, {load_module, m}", "{load_module, m}, {update, a, x}"),
        ("{update, m, x}, {update, m, y}", "{update, m, x}"),
    ],
)
def test_a_module_is_moved_by_one_step_whatever_else_names_it(named: str, alone: str) -> None:
    """Its update where there is one, else the first line; what stands between keeps its order."""
    wanted, other = (
        text.replace("x}", "{advanced, x}}").replace("y}", "{advanced, y}}") for text in (alone, named)
    )
    assert planned(other) == planned(wanted)


def test_what_only_the_package_brings_is_loaded_before_anything_that_calls_it() -> None:
    """No instruction names it; it joins the loads that come first, if any do."""
    found = hop("{load_module, a}, {apply, helper, f, []}")
    modules = {name: change(name, old=None) for name in ("helper", "a")}
    resolved = ResolvedHop(hop=found, modules=modules, applications={}, path_moves=())
    steps = planned_steps(resolved)
    assert steps[1] == LoadModules(modules=(modules["helper"], modules["a"]))
    assert steps[2:4] == (VerifyNode(), ApplyFunction(module="helper", function="f", arguments="[]"))


def test_an_application_is_restarted_right_there_with_all_its_modules() -> None:
    """Those that the target lacks among them."""
    assert planned("{restart_application, emqx_retainer}, {load_module, a}")[2:4] == [
        RestartApplication(
            application="emqx_retainer",
            version="5.0.26",
            modules=RETAINER.modules,
            old_app_file="/old.app",
            new_app_file="/new.app",
        ),
        LoadModules(modules=(change("a"),)),
    ]


def test_kernel_stdlib_and_compiler_are_passed_over() -> None:
    """As the official tool does: their restart would stop the VM."""
    restarts = ", ".join(f"{{restart_application, {app}}}" for app in ("kernel", "stdlib", "compiler"))
    assert names(planned(f"{restarts}, {{load_module, a}}")) == names(planned("{load_module, a}"))


def test_the_node_is_read_back_before_the_first_function_and_after_the_last_callback() -> None:
    """Before the point of no return everything can still be undone."""
    steps = planned(
        "{load_module, a}, {apply, m, f, [node(), 1]}, {apply, m, g, []}", "[done, {rename, [x, <<1>>]}]"
    )
    assert steps[3:] == [
        VerifyNode(),
        ApplyFunction(module="m", function="f", arguments="[node(),1]"),
        ApplyFunction(module="m", function="g", arguments="[]"),
        VerifyNode(),
        RunCallback(
            modules=("emqx_post_upgrade_5.10.5", "emqx_post_upgrade"), function="done", arguments='["5.10.4"]'
        ),
        RunCallback(
            modules=("emqx_post_upgrade_5.10.5", "emqx_post_upgrade"),
            function="rename",
            arguments='["5.10.4",x,<<1>>]',
        ),
        VerifyNode(),
        MakePermanent(version="5.10.5"),
    ]


def test_numbers_go_on_from_the_preparation() -> None:
    """Steps 1 and 2 verify and unpack the package, before there is a plan."""
    records = recorded_steps(planned("{load_module, a}"))
    assert [record.number for record in records] == [3, 4, 5, 6, 7]


KINDS = st.sampled_from(
    [
        "{load_module, a}",
        "{load_module, b}",
        "{update, c, {advanced, []}}",
        "{restart_application, emqx_retainer}",
        "{restart_application, kernel}",
        "{apply, m, f, []}",
    ]
)


@given(st.lists(KINDS, min_size=1, max_size=12))
def test_every_instruction_is_planned_once_and_in_the_order_of_the_hop(instructions: list[str]) -> None:
    """Whatever the hop looks like, the steps do what it says and nothing else, framed as always."""
    steps = planned(", ".join(instructions))
    moves = [text for text in instructions if text.startswith(("{load", "{update"))]
    wanted = [
        text
        for at, text in enumerate(instructions)
        if "kernel" not in text and not (text in moves and text in instructions[:at])
    ]
    assert [told for step in steps for told in retold(step)] == wanted
    assert names(steps[:2]) == ["DeployTarget", "SetCodePath"]
    assert names(steps[-2:]) == ["VerifyNode", "MakePermanent"]
    assert not any(isinstance(a, LoadModules) and isinstance(b, LoadModules) for a, b in pairwise(steps))


def retold(step: Step) -> list[str]:
    """The instructions that a step stands for."""
    match step:
        case LoadModules(modules=modules):
            return [f"{{load_module, {each.module}}}" for each in modules]
        case ChangeCode(module=module, extra=extra):
            return [f"{{update, {module.module}, {{advanced, {extra}}}}}"]
        case RestartApplication(application=application):
            return [f"{{restart_application, {application}}}"]
        case ApplyFunction(module=module, function=function, arguments=arguments):
            return [f"{{apply, {module}, {function}, {arguments}}}"]
        case _:
            return []


PARTS_NOW: dict[str, object] = {part: f"{part} now" for part in PARTS}


def test_equal_plans_have_equal_ids_whatever_order_the_parts_are_named_in() -> None:
    """Also within a part."""
    parts = PARTS_NOW | {"live": {"a": "1", "b": "2"}}
    same = dict(reversed((PARTS_NOW | {"live": {"b": "2", "a": "1"}}).items()))
    assert plan_id(parts) == plan_id(same)


@pytest.mark.parametrize("part", PARTS)
def test_a_plan_that_differs_in_one_part_has_another_id_and_names_the_part(part: str) -> None:
    """The id itself tells, nothing else has to be kept."""
    before, after = plan_id(PARTS_NOW), plan_id(PARTS_NOW | {part: "other"})
    assert before.partition("-")[0] != after.partition("-")[0]
    assert differing_parts(before, after) == (PARTS[part],)


def test_steps_that_follow_from_another_difference_are_not_named() -> None:
    """Other modules are loaded, so the steps begin with other modules: one cause, said once."""
    after = plan_id(PARTS_NOW | {"live": "other", "steps": "other", "hop": "other"})
    assert differing_parts(plan_id(PARTS_NOW), after) == (PARTS["hop"], PARTS["live"])


@pytest.mark.parametrize("foreign", ["", "0" * 32, f"{'0' * 32}-{'0' * 12}"])
def test_what_is_no_id_of_ours_tells_nothing(foreign: str) -> None:
    """Mistyped, or of a relup with other parts."""
    assert differing_parts(foreign, plan_id(PARTS_NOW)) == ()


def test_instructions_and_callbacks_of_the_test_are_real_ones() -> None:
    """The hops above pass through the reader of the catalog."""
    found = hop("{load_module, a}", "[{f, [1]}]")
    assert isinstance(found.instructions[0], AnyInstruction)
    assert found.callbacks == (Callback(function="f", arguments=(1,), line=2),)
