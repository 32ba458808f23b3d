"""Whether a target may follow what runs: each check red and green, under the official name."""

import shutil
from pathlib import Path

import pytest

from engine.errors import Refusal
from engine.release.compatibility import check_trees, check_versions, require
from engine.release.errors import (
    AlreadyUpgraded,
    CannotReadRelease,
    Downgrade,
    DuplicatePendingTarget,
    EditionMismatch,
    OsArchMismatch,
    OtherMinorVersion,
    OtpCompatibleMismatch,
    OtpMajorMismatch,
)
from engine.release.tree import ReleaseTree
from engine.release.version import parse_version

BUILD = {"arch": "x86_64", "wordsize": "64", "os": "debian12", "erlang": "26.2.5-3", "elixir": "none"}


def tree(
    folder: Path, version: str, *, enterprise: str = "yes", mnesia: str | None = None, **build: str
) -> ReleaseTree:
    """A tree that says of itself what the checks read.

    Args:
        mnesia: `own` or `plain` OTP's; None for a release without it.
    """
    own = folder / "releases" / version
    own.mkdir(parents=True)
    (folder / "releases" / "emqx_vars").write_text(f'REL_VSN="{version}"\nIS_ENTERPRISE={enterprise}\n')
    lines = (BUILD | build).items()
    (own / "BUILD_INFO").write_text("".join(f'{key}: "{value}"\n' for key, value in lines))
    applications = '{mnesia, "4.1"}' if mnesia else ""
    (own / "emqx.rel").write_text(
        f'{{release, {{"emqx", "{version}"}}, {{erts, "14"}}, [{applications}]}}.\n'
    )
    if mnesia:
        ebin = folder / "lib" / "mnesia-4.1" / "ebin"
        ebin.mkdir(parents=True)
        (ebin / ("mnesia_hook.beam" if mnesia == "own" else "mnesia.beam")).touch()
    return ReleaseTree.read(folder)


@pytest.mark.parametrize(
    ("live", "target", "pending", "error"),
    [
        ("5.10.4", "5.10.5", None, None),
        ("5.10.5", "5.10.6", "5.10.5", None),
        ("5.10.4", "5.10.4", None, AlreadyUpgraded),
        ("5.10.5", "5.10.5", "5.10.5", DuplicatePendingTarget),
        ("5.10.5", "5.10.4", None, Downgrade),
        ("5.10.4", "5.11.0", None, OtherMinorVersion),
        ("5.10.4", "6.10.5", None, OtherMinorVersion),
        ("5.10.4", "5.10.4-rc.1", None, Downgrade),
    ],
)
def test_only_a_newer_patch_that_is_not_there_yet_may_follow(
    live: str, target: str, pending: str | None, error: type[Refusal] | None
) -> None:
    """Versions against what runs and what boots next."""
    check = check_versions(
        live=parse_version(live),
        target=parse_version(target),
        pending=parse_version(pending) if pending else None,
    )
    assert check.evidence == f"{live} -> {target}"
    assert type(check.refusal) is (error or type(None))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, None),
        ({"erlang": "26.2.6"}, None),
        ({"arch": "x86_64-pc-linux-gnu"}, None),
        ({"erlang": "27.0"}, OtpMajorMismatch),
        ({"wordsize": "32"}, OtpCompatibleMismatch),
        ({"os": "ubuntu22.04"}, OsArchMismatch),
        ({"arch": "aarch64"}, OsArchMismatch),
        ({"enterprise": "no"}, EditionMismatch),
        ({"elixir": "1.15"}, EditionMismatch),
    ],
)
def test_a_target_built_for_another_system_is_refused(
    tmp_path: Path, changes: dict[str, str], error: type[Refusal] | None
) -> None:
    """One difference at a time, under the official name."""
    checks = check_trees(
        live=tree(tmp_path / "a", "5.10.4"), target=tree(tmp_path / "b", "5.10.5", **changes)
    )
    assert [type(check.refusal) for check in checks if check.refusal] == ([error] if error else [])
    if error:
        with pytest.raises(error):
            require(checks)
    else:
        require(checks)


@pytest.mark.parametrize(
    ("live", "target", "refused"),
    [
        ("own", "own", False),
        ("plain", "plain", False),
        ("own", "plain", True),
        ("plain", "own", True),
        (None, "own", False),
    ],
)
def test_emqx_own_otp_and_a_plain_one_do_not_mix(
    tmp_path: Path, live: str | None, target: str, refused: bool
) -> None:
    """They are told apart by a module of mnesia that only EMQX's has."""
    checks = check_trees(
        live=tree(tmp_path / "a", "5.10.4", mnesia=live), target=tree(tmp_path / "b", "5.10.5", mnesia=target)
    )
    assert any(isinstance(check.refusal, OtpCompatibleMismatch) for check in checks) is refused


def test_the_vm_own_word_counts_more_than_a_file(tmp_path: Path) -> None:
    """The running OTP is asked from the VM where one runs."""
    checks = check_trees(
        live=tree(tmp_path / "a", "5.10.4"), target=tree(tmp_path / "b", "5.10.5"), otp_release="25"
    )
    assert any(isinstance(check.refusal, OtpMajorMismatch) for check in checks)


def test_a_build_info_that_does_not_say_is_refused(tmp_path: Path) -> None:
    """No silent pass where the official file is incomplete."""
    live, target = tree(tmp_path / "a", "5.10.4"), tree(tmp_path / "b", "5.10.5", os="")
    with pytest.raises(CannotReadRelease, match="does not say os"):
        check_trees(live=live, target=target)


def test_the_live_tree_need_not_be_the_base(tmp_path: Path) -> None:
    """After a hop without a restart the checks compare with relup/B; its BUILD_INFO lies there, not in the base."""
    base = tree(tmp_path / "root", "5.10.4")
    live = tree(tmp_path / "root" / "relup" / "5.10.5", "5.10.5")
    target = tree(tmp_path / "root" / "relup" / ".staging-1", "5.10.6")
    shutil.rmtree(base.release_folder)
    require(check_trees(live=live, target=target))
