"""What a `.sha256` sidecar says. Pure: bytes in, one digest out; who opened the file is no matter here.

Forms (GNU coreutils' sha256sum, BSD's sha256, OpenSSL's dgst, and a bare digest):

    <digest>
    <digest>  <name>            text mode
    <digest> *<name>            binary mode
    SHA256 (<name>) = <digest>
    SHA2-256(<name>)= <digest>

in any letter case, with LF or CRLF, blank lines ignored. One digest line counts whatever name it carries,
since files are renamed; of several lines the one for this tarball counts.
"""

import re
from typing import NamedTuple

from engine.release.errors import InvalidSidecar

SIDECAR_LIMIT_BYTES = 64 << 10

_BARE = re.compile(r"(?P<digest>[0-9a-fA-F]+)")
_SHA256SUM = re.compile(r"(?P<digest>[0-9a-fA-F]+) [ *](?P<name>.+)")
_BSD = re.compile(r"(?i:sha(?:2-)?256) ?\((?P<name>.+)\) ?= ?(?P<digest>[0-9a-fA-F]+)")
_OTHER_DIGEST_DIGITS = {8, 32, 40, 56, 96, 128}
_DIGEST_DIGITS = 64
_NEXT = "Fetch the .sha256 file again, or write one with: sha256sum <tarball> > <tarball>.sha256"


class DigestLine(NamedTuple):
    digest: str
    name: str | None


def digest_for(tarball_name: str, content: bytes) -> str:
    """The digest that a sidecar gives for a tarball: 64 lower-case hexadecimal digits.

    Args:
        tarball_name: File name of the tarball, without folders.
        content: The whole sidecar.

    Raises:
        InvalidSidecar: Empty, too long, another digest, unreadable, for another file, or ambiguous.
    """
    if len(content) > SIDECAR_LIMIT_BYTES:
        raise _invalid("too_long", f"is longer than {SIDECAR_LIMIT_BYTES} bytes")
    lines = [_digest_line(line) for line in _text_lines(content)]
    if not lines:
        raise _invalid("empty", "is empty")
    if len(lines) == 1:
        return lines[0].digest
    return _chosen(lines, tarball_name)


def _text_lines(content: bytes) -> list[str]:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise _invalid("malformed", "is not text") from None
    return [line for raw in text.split("\n") if (line := raw.rstrip("\r \t"))]


def _digest_line(line: str) -> DigestLine:
    for form in (_BARE, _SHA256SUM, _BSD):
        if found := form.fullmatch(line):
            digest = found["digest"].lower()
            if len(digest) in _OTHER_DIGEST_DIGITS:
                raise _invalid("other_digest_length", f"holds a digest of {len(digest) * 4} bits, not of 256")
            if len(digest) == _DIGEST_DIGITS:
                return DigestLine(digest, found.groupdict().get("name"))
    raise _invalid("malformed", "has a line that is no SHA-256 digest")


def _chosen(lines: list[DigestLine], tarball_name: str) -> str:
    named = {line.digest for line in lines if line.name is not None and _last_part(line.name) == tarball_name}
    candidates = named or {line.digest for line in lines if line.name is None}
    if not candidates:
        raise _invalid("names_another_file", f"has several lines and none for {tarball_name}")
    if len(candidates) > 1:
        raise _invalid("ambiguous", "gives different digests for the same tarball")
    return candidates.pop()


def _last_part(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1]


def _invalid(reason: str, what: str) -> InvalidSidecar:
    return InvalidSidecar(reason, f"the tarball's .sha256 file {what}", next=_NEXT)
