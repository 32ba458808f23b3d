"""What a tar archive holds, member by member, refused at the first thing that is not plain.

Decides what a member is and whether it may be there; writes nothing. Read are ustar, PAX (path, linkpath,
size) and GNU long names; regular files, folders and symlinks. Extended and plain header must not
contradict each other, since another reader might believe the other one.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from engine.release import tar
from engine.release.archive_errors import (
    BodyNotAllowed,
    DeviceMember,
    EmptyName,
    FifoMember,
    FileAsFolder,
    HardLink,
    HeaderOutOfPlace,
    HeaderTooLarge,
    PaxDisagrees,
    SizeOverflow,
    SparseMember,
    TooManyMembers,
    TrailingArchiveBytes,
    UnknownMemberType,
)
from engine.release.limits import Limits
from engine.release.links import Links
from engine.release.names import Census, is_runtime_path, path_of, text_of
from engine.release.stream import Stream

Kind = Literal["file", "folder", "symlink"]


class Member(msgspec.Struct, gc=False):
    """One member that may be written.

    Attributes:
        path: Relative, normal (see engine.release.names).
        size: Bytes of contents; 0 for folders and symlinks.
        mode: Permission bits as stored.
        target: Of a symlink; else "".
    """

    path: str
    kind: Kind
    size: int
    mode: int
    target: str = ""


class _Extension(msgspec.Struct):
    """What the extended headers before a member say of it."""

    name: bytes | None = None
    link: bytes | None = None
    size: int | None = None
    seen: bytes = b""

    def note(self, kind: bytes, member: bytes) -> None:
        if kind in self.seen or (self.seen and b"x" in self.seen + kind):
            raise HeaderOutOfPlace(member)
        self.seen += kind


_KINDS: dict[bytes, Kind] = {b"0": "file", b"5": "folder", b"2": "symlink"}
_REFUSED_KINDS = {
    b"1": HardLink,
    b"3": DeviceMember,
    b"4": DeviceMember,
    b"6": FifoMember,
    b"S": SparseMember,
}
_EXTENSIONS = b"LKx"
_LONGEST_PLAIN_NAME = 100


def members(stream: Stream, limits: Limits) -> Iterator[Member]:
    """Every member of the archive; all of them are looked at, also those outside the runtime folders.

    After each one the stream stands at its contents, of which the caller takes as much as it wants.

    Raises:
        BadArchive, BadMember: One of their kinds.
    """
    census, links = Census(), Links()
    for header in _headers(stream, limits):
        member = _member(header, limits)
        _take_in(member, census, links)
        end = stream.position + header.size
        yield member
        stream.skip_to(end + -end % tar.BLOCK)
    links.refuse_loops()


def _headers(stream: Stream, limits: Limits) -> Iterator[tar.Header]:
    """The headers with what their extensions say filled in; ends behind the end mark."""
    extension = _Extension()
    count = 0
    while (block := stream.take(tar.BLOCK)) != tar.ZERO_BLOCK:
        count += 1
        if count > limits.members:
            raise TooManyMembers(f"more than {limits.members}")
        header = tar.parse_header(block)
        if header.kind == b"g":
            _refuse_weighty_defaults(_extension_body(stream, header, limits), header)
        elif header.kind in _EXTENSIONS:
            extension.note(header.kind, header.name)
            _extend(extension, header, _extension_body(stream, header, limits))
        else:
            yield _completed(header, extension, limits)
            extension = _Extension()
    if extension.seen:
        raise HeaderOutOfPlace(b"", "at the end of the archive")
    _require_end(stream)


def _require_end(stream: Stream) -> None:
    if stream.take(tar.BLOCK) != tar.ZERO_BLOCK:
        raise TrailingArchiveBytes("the end mark is a single block")
    for part in stream.rest():
        if bytes(part).strip(b"\x00"):
            raise TrailingArchiveBytes


def _extension_body(stream: Stream, header: tar.Header, limits: Limits) -> bytes:
    if header.size > limits.extension_bytes:
        raise HeaderTooLarge(header.name, f"{header.size} bytes")
    body = stream.take(header.size)
    stream.skip_to(stream.position + -header.size % tar.BLOCK)
    return body


def _extend(extension: _Extension, header: tar.Header, body: bytes) -> None:
    if header.kind == b"L":
        extension.name = body.removesuffix(b"\x00")
    elif header.kind == b"K":
        extension.link = body.removesuffix(b"\x00")
    else:
        records = tar.parse_pax(body, header.name)
        _refuse_sparse(records, header)
        extension.name = records.get("path")
        extension.link = records.get("linkpath")
        if (size := records.get("size")) is not None:
            extension.size = tar.decimal(size, header.name)


def _refuse_weighty_defaults(body: bytes, header: tar.Header) -> None:
    records = tar.parse_pax(body, header.name)
    _refuse_sparse(records, header)
    for key in ("path", "linkpath", "size"):
        if key in records:
            raise PaxDisagrees(header.name, f"{key} is set for all members at once")


def _refuse_sparse(records: dict[str, bytes], header: tar.Header) -> None:
    if any(key.startswith("GNU.sparse.") or key == "SCHILY.realsize" for key in records):
        raise SparseMember(header.name)


def _completed(header: tar.Header, extension: _Extension, limits: Limits) -> tar.Header:
    if extension.seen:
        _require_agreement("name", header.name, extension.name, header)
        _require_agreement("link target", header.link, extension.link, header)
        if extension.size is not None and extension.size != header.size:
            raise PaxDisagrees(header.name, f"sizes {extension.size} and {header.size}")
        if extension.name is not None:
            header.name = extension.name
        if extension.link is not None:
            header.link = extension.link
    if header.size > limits.stream_bytes:
        raise SizeOverflow(header.name, f"{header.size} bytes")
    return header


def _require_agreement(what: str, plain: bytes, extended: bytes | None, header: tar.Header) -> None:
    """A name that the plain header can hold whole must stand there; every writer cuts only longer ones."""
    if extended is None or extended == plain:
        return
    if extended == b"" or (len(extended) <= _LONGEST_PLAIN_NAME and extended.isascii()):
        raise PaxDisagrees(header.name, f"its extended {what} is another")


def _member(header: tar.Header, limits: Limits) -> Member:
    kind = _KINDS.get(header.kind)
    if kind is None:
        refusal = _REFUSED_KINDS.get(header.kind, UnknownMemberType)
        raise refusal(header.name)
    if kind != "file" and header.size:
        raise BodyNotAllowed(header.name, f"{header.size} bytes")
    if not header.name:
        raise EmptyName(header.name)
    path = path_of(header.name, folder=kind == "folder", limits=limits)
    target = text_of(header.link) if kind == "symlink" and header.link else ""
    return Member(path, kind, header.size, header.mode, target)


def _take_in(member: Member, census: Census, links: Links) -> None:
    if member.kind == "folder":
        census.add_folder(member.path)
        return
    if "/" not in member.path and is_runtime_path(member.path):
        raise FileAsFolder(member.path)
    census.add_other(member.path)
    if member.kind == "symlink":
        links.add(member.path, member.target)
