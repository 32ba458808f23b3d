"""Every code that relup can print can be explained."""

import pytest

from engine.explain import all_errors, codes, explanation_of
from engine.release.explanations import FINDINGS


@pytest.mark.parametrize("code", codes())
def test_every_error_and_finding_says_what_it_means_what_was_seen_and_what_to_do(code: str) -> None:
    """Three parts, none empty, all sentences."""
    found = explanation_of(code)
    assert found is not None
    for part in (found.means, found.seen, found.next):
        assert part.endswith(".")
        assert part.strip() == part


def test_errors_of_every_room_are_known() -> None:
    """Files, node and engine; the walk finds classes nobody lists."""
    names = {error.name for error in all_errors()}
    assert {"sha256_mismatch", "hard_link", "no_relup_entry", "wrong_cookie", "between_releases"} <= names


def test_a_finding_is_explained_by_its_whole_key_too() -> None:
    """People paste what the plan printed."""
    assert explanation_of("record_changed:emqx_channel:session") == FINDINGS["record_changed"]


def test_a_code_nobody_knows_has_no_explanation() -> None:
    """The command line then lists those there are."""
    assert explanation_of("no_such_code") is None
    assert "no_such_code" not in codes()
