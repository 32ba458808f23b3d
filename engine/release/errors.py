"""Errors of the files' room, grouped by whom they concern: the tarball and its sidecar, the place it is
unpacked to, release trees, beams, the catalog. Those of the archive's own form are in `archive_errors`.
"""

from engine.errors import BadPlace, BadRelease, BadRequest

FETCH_AGAIN = "Fetch the tarball and its .sha256 again from the publisher; do not use this file."


def shown(name: str | bytes) -> str:
    """A member's name, safe to print: escaped and at most 120 characters long."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    escaped = text.encode("unicode_escape").decode("ascii")
    return f"'{escaped}'" if len(escaped) <= 120 else f"'{escaped[:80]}…{escaped[-30:]}'"


# ---------------------------------------------------------------- the tarball and its sidecar


class TarballNotFound(BadRequest):
    """No file lies at the tarball's path."""

    name = "target_tarball_not_found"


class TarballNotRegular(BadRequest):
    """The tarball's path is a symlink, a folder, a pipe or a device."""

    name = "target_tarball_not_regular"


class CannotReadTarball(BadRequest):
    """The tarball could not be opened or read."""

    name = "cannot_read_target_tarball"


class MissingSidecar(BadRequest):
    """No `<tarball>.sha256` beside the tarball."""

    name = "missing_sha256_sidecar"


class CannotReadSidecar(BadRequest):
    """The sidecar is there but cannot be read: permissions, a pipe, a folder, a symlink loop."""

    name = "cannot_read_sha256_sidecar"


class InvalidSidecar(BadRelease):
    """The sidecar holds no digest for this tarball, or more than one.

    Attributes:
        reason: `empty`, `too_long`, `other_digest_length`, `malformed`, `names_another_file` or `ambiguous`.
    """

    name = "invalid_sha256_sidecar"

    def __init__(self, reason: str, happened: str, *, next: str) -> None:  # noqa: A002 - the word users see
        super().__init__(happened, next=next)
        self.reason = reason


class Sha256Mismatch(BadRelease):
    """The tarball is not the one the sidecar speaks of."""

    name = "sha256_mismatch"


class PackageChanged(BadRelease):
    """The tarball was swapped, rewritten, truncated or grown while it was being used."""

    name = "package_changed"


# ---------------------------------------------------------------- the place


class StagingExists(BadPlace):
    """The staging folder of this upgrade is already there."""

    name = "staging_exists"


class NotEnoughSpace(BadPlace):
    """The filesystem of RootDir has no room for the tree and what is needed beside it."""

    name = "not_enough_disk_space"


class NotEnoughInodes(BadPlace):
    """The filesystem of RootDir cannot hold as many more files."""

    name = "not_enough_inodes"


class CannotWriteTree(BadPlace):
    """A file operation of the unpacking or the deploying failed."""

    name = "cannot_write_tree"


class StagingDamaged(BadPlace):
    """A staging folder that was left by an earlier run is not what was unpacked into it."""

    name = "staging_damaged"


class TargetTreeExists(BadPlace):
    """A tree of the target version is there and must not be replaced."""

    name = "target_tree_exists"


class UnsafeRelupFolder(BadPlace):
    """`relup/` is a symlink or no folder."""

    name = "unsafe_relup_folder"


class CannotWriteMarker(BadPlace):
    """A file operation of writing relup/current failed."""

    name = "cannot_write_marker"


class CannotReadManifest(BadPlace):
    """The manifest beside a deployed tree is there and cannot be read."""

    name = "cannot_read_manifest"


# ---------------------------------------------------------------- the release tree


class CannotReadEmqxVars(BadRelease):
    """`releases/emqx_vars` is missing, unreadable or no text."""

    name = "cannot_read_emqx_vars"


class RelVsnNotFound(BadRelease):
    """`releases/emqx_vars` assigns no REL_VSN, or an empty one."""

    name = "rel_vsn_not_found"


class DuplicateRelVsn(BadRelease):
    """`releases/emqx_vars` assigns REL_VSN more than once."""

    name = "duplicate_rel_vsn"


class InvalidRelVsn(BadRelease):
    """REL_VSN is no plain version: it would be used in paths, so nothing else is let through."""

    name = "invalid_rel_vsn"


class CannotReadRelease(BadRelease):
    """The tree lacks `emqx.rel`, BUILD_INFO or an application's `.app`, or they contradict each other."""

    name = "cannot_read_release"


class InvalidVersion(BadRequest):
    """A text that is no EMQX version."""

    name = "invalid_version"


# ---------------------------------------------------------------- beams


class CorruptBeam(BadRelease):
    """A `.beam` file that is not one, or not a whole one."""

    name = "corrupt_beam"


# ---------------------------------------------------------------- fitness of a target


class OtherMinorVersion(BadRequest):
    """Major or minor of target and running version differ: only patch hops are hot."""

    name = "not_a_patch_hop"


class Downgrade(BadRequest):
    """The target is older than what runs."""

    name = "target_is_older"


class AlreadyUpgraded(BadRequest):
    """The node runs this version already."""

    name = "already_upgraded_to_target_vsn"


class DuplicatePendingTarget(BadRequest):
    """The node was hot-upgraded to this target already and has not been restarted since."""

    name = "duplicate_pending_target"


class OtpMajorMismatch(BadRelease):
    """The target is built for another major version of OTP than the VM runs."""

    name = "otp_major_vsn_mismatch"


class OtpCompatibleMismatch(BadRelease):
    """One of the two releases stands on EMQX's own OTP, the other does not, or their word sizes differ."""

    name = "otp_compatible_mismatch"


class OsArchMismatch(BadRelease):
    """The two releases are built for different operating systems or processors."""

    name = "os_arch_mismatch"


class EditionMismatch(BadRelease):
    """One release is the Enterprise edition, the other is not; or only one of them is built with Elixir."""

    name = "edition_mismatch"


# ---------------------------------------------------------------- the catalog and its hops


class TermError(BadRelease):
    """Erlang text that is not one plain term.

    Attributes:
        source: The file, or what else the text is.
        line, column: Where, from 1.
    """

    name = "malformed_term"

    def __init__(self, source: str, line: int, column: int, problem: str, *, next: str) -> None:  # noqa: A002
        super().__init__(f"{source}:{line}:{column}: {problem}", next=next)
        self.source, self.line, self.column, self.problem = source, line, column, problem


class MalformedTerm(TermError):
    """The text is no Erlang term."""


class ScriptTerm(TermError):
    """The text is a script: it has variables, matches, funs, operators or calls, and is no plain data."""

    name = "script_term"


class MalformedHop(TermError):
    """A term that is well-formed Erlang but no hop."""

    name = "malformed_hop"


class InvalidInstruction(TermError):
    """A hop with an instruction relup does not know, or a known one of the wrong shape."""

    name = "invalid_instr"


class CannotReadCatalog(BadRequest):
    """A folder or file of the catalog cannot be read."""

    name = "cannot_read_catalog"


class NoHop(BadRequest):
    """The catalog has no hop from the running version to the target."""

    name = "no_relup_entry"


class AmbiguousHop(BadRelease):
    """Two files describe the same hop differently."""

    name = "ambiguous_hop"


class HopExists(BadRequest):
    """The catalog describes this hop already, and differently."""

    name = "hop_exists"


class NoHopsInPackage(BadRelease):
    """An archive that is no hot-upgrade package."""

    name = "no_hops_in_package"


class ModuleNotFound(BadRelease):
    """A hop names a module that neither the target nor the hop's package has."""

    name = "module_not_found"


class ApplicationNotFound(BadRelease):
    """A hop restarts an application that the target does not have."""

    name = "app_not_found"


class CallbackNotFound(BadRelease):
    """No module that will be loaded by then has the hop's callback."""

    name = "post_upgrade_module_not_loaded"
