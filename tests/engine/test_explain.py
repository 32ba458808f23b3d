"""Every code that relup can print can be explained."""

import pytest

from engine.errors import StepFailure
from engine.explain import all_errors, codes, explanation_of
from engine.failures import FAILURES, advice_of
from engine.hands import judged
from engine.node.door import StepNotDone
from engine.release.explanations import FINDINGS
from journal.errors import GROUPS
from tests.engine.stories import state_after


@pytest.mark.parametrize("code", codes())
def test_every_error_and_finding_says_what_it_means_what_is_so_and_what_to_do(code: str) -> None:
    """Three parts, none empty, all sentences: a finding says what was seen, an error what runs."""
    found = explanation_of(code)
    assert found is not None
    assert bool(found.seen) == (code in FINDINGS)
    assert bool(found.runs) == (code not in FINDINGS)
    for part in (found.means, found.seen or found.runs, found.next):
        assert part.endswith(".")
        assert part.strip() == part


def test_errors_of_every_room_are_known() -> None:
    """Files, node and engine; the walk finds classes nobody lists."""
    names = {error.name for error in all_errors()}
    assert {"sha256_mismatch", "hard_link", "no_relup_entry", "wrong_cookie", "between_releases"} <= names


def test_a_name_with_two_meanings_is_explained_by_both() -> None:
    """Before the plan a missing .app is a bad release; in the VM it is a step that failed."""
    found = explanation_of("app_not_found")
    assert found is not None
    step = FAILURES["app_not_found"]
    for part, within in ((found.means, step.means), (found.runs, step.runs), (found.next, step.next)):
        before, said, rest = part.partition(" In a running upgrade: ")
        assert before
        assert said
        assert rest[1:] == within[1:]


@pytest.mark.parametrize("name", FAILURES)
def test_a_step_that_failed_in_the_vm_advises_what_explain_does(name: str) -> None:
    """There is one text: who reads the error need not ask for its explanation too."""
    with pytest.raises(StepFailure) as failed:
        judged(StepNotDone(name=name, detail="It failed.", reverted=True), state_after())
    assert failed.value.next == FAILURES[name].next


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lingering_processes", ("--blocker-timeout", "--kill-blockers", "client")),
        ("suspend_timeout", ("--suspend-timeout-ms",)),
    ],
)
def test_a_failure_that_an_option_would_have_prevented_names_the_option(
    name: str, options: tuple[str, ...]
) -> None:
    """It is the operator's to weigh, and nobody reads the help in the middle of a night."""
    assert all(option in advice_of(name) for option in options)


def test_a_name_of_a_newer_agent_has_advice_too() -> None:
    """An error is never without a next step."""
    assert advice_of("no_such_name").endswith(".")


def test_every_group_of_the_journals_errors_says_for_itself_what_to_do() -> None:
    """A full journal is no damaged one."""
    advice = [found.next for name in GROUPS if (found := explanation_of(name)) is not None]
    assert len(set(advice)) == len(GROUPS)


def test_a_finding_is_explained_by_its_whole_key_too() -> None:
    """People paste what the plan printed."""
    assert explanation_of("record_changed:emqx_channel:session") == FINDINGS["record_changed"]


def test_a_code_nobody_knows_has_no_explanation() -> None:
    """The command line then lists those there are."""
    assert explanation_of("no_such_code") is None
    assert "no_such_code" not in codes()
