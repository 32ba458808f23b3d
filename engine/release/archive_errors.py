"""Why an archive is refused: as a whole, or for one of its members. Each refusal has a name of its own."""

from typing import ClassVar

from engine.errors import BadRelease
from engine.release.errors import FETCH_AGAIN, shown

# ---------------------------------------------------------------- the archive as a whole


class BadArchive(BadRelease):
    """The bytes are not one gzip member holding one whole tar archive."""

    name = "bad_archive"
    reason: ClassVar[str] = "it is not a gzip-compressed tar archive"

    def __init__(self, detail: str = "") -> None:
        more = f" ({detail})" if detail else ""
        super().__init__(f"the tarball is refused: {self.reason}{more}", next=FETCH_AGAIN)


class UnsupportedCompression(BadArchive):
    name = "unsupported_compression"
    reason = "only gzip is read"


class CorruptGzip(BadArchive):
    name = "corrupt_gzip"
    reason = "its gzip stream is damaged"


class TruncatedGzip(BadArchive):
    name = "truncated_gzip"
    reason = "its gzip stream ends in the middle"


class ConcatenatedGzip(BadArchive):
    name = "concatenated_gzip"
    reason = "a second gzip member follows the first"


class TrailingGzipBytes(BadArchive):
    name = "trailing_gzip_bytes"
    reason = "something other than zero padding follows the gzip stream"


class TruncatedArchive(BadArchive):
    name = "truncated_archive"
    reason = "the archive ends in the middle, or without its end mark"


class TrailingArchiveBytes(BadArchive):
    name = "trailing_archive_bytes"
    reason = "something other than zero padding follows the end of the archive"


class NotATar(BadArchive):
    name = "not_a_tar_archive"
    reason = "a header has no ustar mark"


class BadHeaderChecksum(BadArchive):
    name = "bad_header_checksum"
    reason = "a header's checksum is wrong"


class TooManyMembers(BadArchive):
    name = "too_many_members"
    reason = "it has more members than allowed"


class TooManyBytes(BadArchive):
    name = "too_many_bytes"
    reason = "it is larger than allowed when unpacked"


class RatioTooHigh(BadArchive):
    name = "compression_ratio_too_high"
    reason = "it grows by more than allowed when unpacked"


class NoReleaseTree(BadArchive):
    name = "no_release_tree"
    reason = "it holds none of bin/, erts-*/, lib/ and releases/"


# ---------------------------------------------------------------- one member


class BadMember(BadRelease):
    """One member of the archive is refused, and with it the package.

    Attributes:
        member: Its name, safe to print.
    """

    name = "bad_member"
    reason: ClassVar[str] = "it is not allowed"

    def __init__(self, member: str | bytes, detail: str = "") -> None:
        more = f" ({detail})" if detail else ""
        self.member = shown(member)
        super().__init__(
            f"the tarball's member {self.member} is refused: {self.reason}{more}", next=FETCH_AGAIN
        )


class AbsoluteName(BadMember):
    name = "absolute_name"
    reason = "its name is absolute"


class ParentInName(BadMember):
    name = "parent_in_name"
    reason = "its name climbs with '..'"


class EmptyName(BadMember):
    name = "empty_name"
    reason = "its name is empty"


class UnnormalisedName(BadMember):
    name = "unnormalised_name"
    reason = "its name has an empty or '.' part, or a slash at the end of a file"


class ControlInName(BadMember):
    name = "control_character_in_name"
    reason = "its name has a control or formatting character"


class NameNotUtf8(BadMember):
    name = "name_not_utf8"
    reason = "its name is not UTF-8"


class NameTooLong(BadMember):
    name = "name_too_long"
    reason = "its name is longer than allowed"


class NameTooDeep(BadMember):
    name = "name_too_deep"
    reason = "it lies deeper than allowed"


class HardLink(BadMember):
    name = "hard_link"
    reason = "it is a hard link"


class DeviceMember(BadMember):
    name = "device_member"
    reason = "it is a device"


class FifoMember(BadMember):
    name = "fifo_member"
    reason = "it is a named pipe"


class SparseMember(BadMember):
    name = "sparse_member"
    reason = "it is a sparse file"


class UnknownMemberType(BadMember):
    name = "unknown_member_type"
    reason = "its type is not a file, folder or symlink"


class DuplicateMember(BadMember):
    name = "duplicate_member"
    reason = "the archive holds it twice"


class CollidingNames(BadMember):
    name = "colliding_names"
    reason = "its name differs from another one only in case or Unicode form"


class FileAsFolder(BadMember):
    name = "file_used_as_folder"
    reason = "one name is both a folder and something else"


class SymlinkAbsolute(BadMember):
    name = "symlink_absolute"
    reason = "it is a symlink to an absolute path"


class SymlinkEscapes(BadMember):
    name = "symlink_escapes"
    reason = "it is a symlink that leads out of the tree"


class SymlinkIndirect(BadMember):
    name = "symlink_indirect"
    reason = "it is a symlink whose target is empty or climbs after descending"


class SymlinkLoop(BadMember):
    name = "symlink_loop"
    reason = "it is a symlink that leads back to itself"


class NegativeSize(BadMember):
    name = "negative_size"
    reason = "its size is negative"


class SizeOverflow(BadMember):
    name = "size_overflow"
    reason = "its size is beyond what the archive may hold"


class BadNumber(BadMember):
    name = "bad_number"
    reason = "a number in its header is not one"


class BodyNotAllowed(BadMember):
    name = "body_not_allowed"
    reason = "its type has no contents, yet a size is given"


class HeaderTooLarge(BadMember):
    name = "header_too_large"
    reason = "its extended header is larger than allowed"


class HeaderOutOfPlace(BadMember):
    name = "header_out_of_place"
    reason = "its extended headers are doubled, mixed, or belong to nothing"


class PaxMalformed(BadMember):
    name = "pax_malformed"
    reason = "its PAX records cannot be read"


class PaxDisagrees(BadMember):
    name = "pax_disagrees"
    reason = "its extended and its plain header name different things"
