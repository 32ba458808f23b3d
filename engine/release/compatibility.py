"""Whether a target may follow what runs: pure checks of two release trees, each with its evidence.

What runs is the live tree (after A→B without a restart that is relup/B), not only the base: its BUILD_INFO is
what the VM's code came from. Source: the checks of the official tool, under its names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.errors import Refusal
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
from engine.release.version import Version, is_newer_patch, is_same_minor

_RIGHT_PACKAGE = "Get the package of the target version that was built for this system, edition and OTP."
_ARCH_NAMES = {"amd64": "x86_64", "x86-64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True)
class Check:
    """One check of a plan.

    Attributes:
        name: Short, for people: `OTP major`.
        evidence: What was compared: `26 and 26`.
        refusal: None when it holds.
    """

    name: str
    evidence: str
    refusal: Refusal | None = None


def check_versions(*, live: Version, target: Version, pending: Version | None) -> Check:
    """The version rules: a newer patch of the same minor version, and not the one that is already there.

    Args:
        live: What the VM runs.
        pending: What relup/current names; None without a marker.
    """
    evidence = f"{live} -> {target}"
    return Check("version", evidence, _version_refusal(live, target, pending))


def _version_refusal(live: Version, target: Version, pending: Version | None) -> Refusal | None:
    if target == live and target == pending:
        return DuplicatePendingTarget(
            f"the node was hot-upgraded to {target} already and boots it at its next restart",
            next="Nothing has to be done; restart the node when it suits you.",
        )
    if target == live:
        return AlreadyUpgraded(
            f"the node runs {target} already", next="See with 'relup status' what its next restart boots."
        )
    if not is_same_minor(target, live):
        return OtherMinorVersion(
            f"{live} -> {target} is no patch hop: major and minor version must stay the same",
            next="Upgrade to this version with a restart, as its release notes say.",
        )
    if not is_newer_patch(target, than=live):
        return Downgrade(
            f"the target {target} is older than {live}, which runs",
            next="'relup rollback' undoes the last hop; there is no hop to an older release.",
        )
    return None


def check_trees(
    *, live: ReleaseTree, target: ReleaseTree, otp_release: str | None = None
) -> tuple[Check, ...]:
    """OTP, word size, OTP build, operating system, architecture, edition, Elixir.

    Args:
        live: The tree whose code the VM runs.
        otp_release: The VM's own word ("26"), which counts more than a file.

    Raises:
        CannotReadRelease: BUILD_INFO or emqx.rel of one of them is missing.
    """
    return (
        _otp_major(live, target, otp_release),
        _wordsize(live, target),
        _otp_build(live, target),
        _same_system(live, target),
        _edition(live, target),
        _elixir(live, target),
    )


def require(checks: tuple[Check, ...]) -> None:
    """Raise the first refusal among the checks.

    Raises:
        Refusal: A check does not hold.
    """
    for check in checks:
        if check.refusal is not None:
            raise check.refusal


def _otp_major(live: ReleaseTree, target: ReleaseTree, otp_release: str | None) -> Check:
    runs = otp_release or _major(_said(live, "erlang"))
    needs = _major(_said(target, "erlang"))
    return _compared(
        "OTP major version",
        runs,
        needs,
        OtpMajorMismatch,
        f"the VM runs OTP {runs}, the target is built for {needs}",
    )


def _wordsize(live: ReleaseTree, target: ReleaseTree) -> Check:
    runs, needs = live.build.get("wordsize"), target.build.get("wordsize")
    return _compared(
        "word size",
        runs or needs,
        needs or runs,
        OtpCompatibleMismatch,
        f"the running release is built for {runs} bits, the target for {needs}",
    )


def _otp_build(live: ReleaseTree, target: ReleaseTree) -> Check:
    """EMQX builds its own OTP, whose mnesia has a module more; the two kinds do not mix."""
    runs, needs = _is_own_otp(live), _is_own_otp(target)
    if runs is None or needs is None:
        return Check("OTP build", "not told apart without mnesia")
    words = {True: "EMQX's own OTP", False: "a plain OTP"}
    happened = f"the running release stands on {words[runs]}, the target on {words[needs]}"
    return _compared("OTP build", words[runs], words[needs], OtpCompatibleMismatch, happened)


def _is_own_otp(tree: ReleaseTree) -> bool | None:
    mnesia = tree.applications.get("mnesia")
    return None if mnesia is None else "mnesia_hook" in mnesia.modules


def _same_system(live: ReleaseTree, target: ReleaseTree) -> Check:
    runs = f"{_said(live, 'os')} {_arch(_said(live, 'arch'))}"
    needs = f"{_said(target, 'os')} {_arch(_said(target, 'arch'))}"
    return _compared(
        "operating system and architecture",
        runs,
        needs,
        OsArchMismatch,
        f"the running release is built for {runs}, the target for {needs}",
    )


def _edition(live: ReleaseTree, target: ReleaseTree) -> Check:
    runs, needs = live.is_enterprise, target.is_enterprise
    words: Mapping[bool | None, str] = {True: "Enterprise", False: "open source", None: "unsaid"}
    return _compared(
        "edition",
        words[runs],
        words[needs],
        EditionMismatch,
        f"the running release is the {words[runs]} edition, the target the {words[needs]} one",
    )


def _elixir(live: ReleaseTree, target: ReleaseTree) -> Check:
    runs, needs = (tree.build.get("elixir", "none") != "none" for tree in (live, target))
    words = {True: "with Elixir", False: "without Elixir"}
    return _compared(
        "Elixir",
        words[runs],
        words[needs],
        EditionMismatch,
        f"the running release is built {words[runs]}, the target {words[needs]}",
    )


def _compared(
    name: str, runs: str | None, needs: str | None, kind: Callable[..., Refusal], happened: str
) -> Check:
    refusal = None if runs == needs else kind(happened, next=_RIGHT_PACKAGE)
    return Check(name, f"{runs} and {needs}", refusal)


def _said(tree: ReleaseTree, key: str) -> str:
    value = tree.build.get(key)
    if not value:
        raise CannotReadRelease(
            f"BUILD_INFO of {tree.version} in {tree.root} does not say {key}",
            next="Check that the release tree is whole.",
        )
    return value


def _major(otp: str) -> str:
    return otp.partition(".")[0].removeprefix("OTP-")


def _arch(name: str) -> str:
    """One name for an architecture; BUILD_INFO may hold a GNU triplet such as `x86_64-pc-linux-gnu`."""
    machine = name.lower().partition("-")[0] if name.lower() != "x86-64" else name.lower()
    return _ARCH_NAMES.get(machine, machine)
