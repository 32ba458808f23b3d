"""Versions: which texts are one, which is newer, which may follow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.release.errors import InvalidVersion
from engine.release.version import is_newer_patch, is_version, parse_version

GOOD = ["5.10.4", "5.6.1+patch.A", "5.10.4-rc.3", "5.10.4-g1a2b3c4d", "0.0.1", "6.0.0-beta.1+build-7"]
BAD = [
    "", "5.10", "5.10.4.1", "../x", "5.10.4/..", "5.10.4 ", " 5.10.4", "$(id)", "5.10.4;ls", "5.10.4\n", "v5.10.4",
    "05.1.1", "5.10.4-", "5.10.4+", "5.10.4-a..b", "5.10.٤", "5.10.4-é", "5.10.4\0", "5.10.4-" + "a" * 80, "-1.2.3",
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_a_version_is_read_and_written_back(text: str) -> None:
    """EMQX's versions with their suffixes."""
    assert str(parse_version(text)) == text


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_version_is_refused(text: str) -> None:
    """A version becomes a folder's name; nothing that could climb, run or hide is one."""
    assert not is_version(text)
    with pytest.raises(InvalidVersion):
        parse_version(text)


@given(st.text(alphabet=st.sampled_from("0159.+-/ ~$`ab\n\\"), max_size=12))
def test_whatever_is_a_version_is_one_safe_part_of_a_path(text: str) -> None:
    """No text that is let through has a slash, a dot at its ends, or a sign a shell would read."""
    if is_version(text):
        assert not set(text) & set("/\\ $`~\n")
        assert ".." not in text
        assert text[0].isdigit()


def test_versions_are_in_order() -> None:
    """Numbers count as numbers; a release candidate comes before its release, a patched one after."""
    order = [
        "5.9.12",
        "5.10.4-rc.3",
        "5.10.4-rc.10",
        "5.10.4",
        "5.10.4+patch.A",
        "5.10.4+patch.B",
        "5.10.5",
        "6.0.0",
    ]
    versions = [parse_version(text) for text in order]
    assert sorted(versions, reverse=True) == versions[::-1]


@pytest.mark.parametrize(
    ("start", "end", "may"),
    [
        ("5.10.4", "5.10.5", True),
        ("5.10.4", "5.10.4+patch.A", True),
        ("5.10.4-rc.1", "5.10.4", True),
        ("5.10.4", "5.10.4", False),
        ("5.10.5", "5.10.4", False),
        ("5.10.4", "5.11.0", False),
        ("5.10.4", "6.10.5", False),
    ],
)
def test_only_a_newer_patch_of_the_same_minor_version_may_follow(start: str, end: str, may: bool) -> None:
    """Hot upgrades are for the third digit."""
    assert is_newer_patch(parse_version(end), than=parse_version(start)) is may
