"""A `.beam` file: its chunks, its module md5, what it imports and exports. Bytes in, values out.

Source: the chunks of OTP's beam_lib manual. The module md5 is the one of `beam_lib:md5/1` and
`M:module_info(md5)`: MD5 over the significant chunks, with the part of FunT that varies between builds zeroed.
"""

import functools
import hashlib
import os
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from struct import Struct

import msgspec

from engine.release.errors import CorruptBeam

MAX_BYTES = 256 * 1024 * 1024
_GZIP = b"\x1f\x8b"
_SIGNIFICANT = (b"Atom", b"AtU8", b"Code", b"StrT", b"ImpT", b"ExpT", b"FunT", b"LitT", b"Meta")
_FUN_ENTRY_BYTES = 24
_HEADER = Struct(">4sI").unpack_from
_COUNT = Struct(">I").unpack_from
_TRIPLE = Struct(">III")


def _compact(tag: int) -> bytes:
    """Pattern of a compact term: 4 bits of value in one byte, 11 bits in two, 16 or 24 bits behind a length."""
    one = re.escape(bytes(value << 4 | tag for value in range(16)))
    two = re.escape(bytes(value << 5 | 0x08 | tag for value in range(8)))
    return rb"(?:[%b]|[%b].|%b..|%b...)" % (one, two, bytes([0x18 | tag]), bytes([0x38 | tag]))


_TAG_U, _TAG_ATOM = 0, 2
_ON_LOAD = rb"\x02" + _compact(_TAG_ATOM) * 2 + rb"\x00\x01" + _compact(_TAG_U) + rb"\x98?\x95"
_PROCESS_ATOMS = rb"\x0bhandle_call|\x0chandle_event|\x0dcallback_mode|\x0fsystem_continue|\x0bcode_change"
"""Names of the callbacks of gen_server, gen_event, gen_statem and sys, each behind its length."""
_BUILD_AGAIN = "Get the package again; this file cannot be loaded."

Function = tuple[str, int]
"""Name and arity."""
Import = tuple[str, str, int]
"""Module, name and arity."""


class Beam(msgspec.Struct, frozen=True, dict=True):
    """One beam, its chunks as they stand in the file.

    Attributes:
        source: The file, for messages.
        chunks: Name to contents.
    """

    source: str
    chunks: Mapping[bytes, bytes]

    @property
    def md5(self) -> str:
        """The module md5, lower-case hex."""
        return _md5_of(self.chunks, self.source)

    @functools.cached_property
    def atoms(self) -> tuple[str, ...]:
        """The atom table, atom 1 first.

        Raises:
            CorruptBeam: It does not hold what it announces.
        """
        utf8 = self.chunks.get(b"AtU8")
        return _atom_table(utf8 if utf8 is not None else self._chunk(b"Atom"), utf8 is not None, self.source)

    @property
    def module(self) -> str:
        """The module's name: its first atom."""
        if not self.atoms:
            raise _corrupt(self.source, "the atom table is empty")
        return self.atoms[0]

    @functools.cached_property
    def exports(self) -> frozenset[Function]:
        """What it exports, `module_info` included."""
        return frozenset((self._atom(name), arity) for name, arity, _ in self._triples(b"ExpT"))

    @functools.cached_property
    def imports(self) -> frozenset[Import]:
        """The functions of other modules that it calls by name."""
        return frozenset(
            (self._atom(module), self._atom(name), arity) for module, name, arity in self._triples(b"ImpT")
        )

    @property
    def imported_modules(self) -> frozenset[str]:
        """The modules whose functions it calls by name."""
        table = self._chunk(b"ImpT")
        words = memoryview(table)[4 : 4 + (len(table) - 4) // 12 * 12]
        indexes = {int.from_bytes(words[at : at + 4]) for at in range(0, len(words), 12)}
        return frozenset(map(self._atom, indexes))

    @functools.cached_property
    def has_on_load(self) -> bool:
        """Whether the VM runs a function of it when it is loaded.

        The compiler drops the attribute and puts the instruction `on_load` (opcode 149) right behind the entry
        label of a function without arguments, perhaps with `nif_start` (152) between; that sequence is looked
        for: func_info (2) of arity 0, label (1), on_load.
        """
        return re.search(_ON_LOAD, self.chunks[b"Code"], re.DOTALL) is not None

    def _atom(self, index: int) -> str:
        atoms = self.atoms
        if not 1 <= index <= len(atoms):
            raise _corrupt(self.source, f"it names atom {index} of {len(atoms)}")
        return atoms[index - 1]

    def _chunk(self, name: bytes) -> bytes:
        chunk = self.chunks.get(name)
        if chunk is None:
            raise _corrupt(self.source, f"the chunk {name.decode()} is missing")
        return chunk

    def _triples(self, name: bytes) -> Iterable[tuple[int, int, int]]:
        chunk = self._chunk(name)
        if len(chunk) < 4 or len(chunk) != 4 + _COUNT(chunk)[0] * _TRIPLE.size:
            raise _corrupt(self.source, f"the chunk {name.decode()} has not the size it announces")
        return _TRIPLE.iter_unpack(chunk[4:])


def read_beam(file: Path) -> Beam:
    """The beam in a file, gzip-compressed or not.

    Raises:
        CorruptBeam: It cannot be read, or is no whole beam.
    """
    return parse_beam(_contents(str(file)), source=str(file))


def module_md5(file: Path) -> str:
    """The module md5 of a beam file, lower-case hex.

    Raises:
        CorruptBeam: It cannot be read, or is no whole beam.
    """
    source = str(file)
    return _md5_of(_chunks_in(source), source)


def _chunks_in(source: str) -> dict[bytes, bytes]:
    return _chunks(_plain(_contents(source), source), source)


def _contents(source: str) -> bytes:
    """The file's bytes, in one read of the size it has: this runs for thousands of files."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            if size > MAX_BYTES:
                raise _corrupt(source, f"it is larger than {MAX_BYTES} bytes")
            return os.read(descriptor, size)
        finally:
            os.close(descriptor)
    except OSError as fault:
        raise _corrupt(source, f"it cannot be read: {fault.strerror}") from None


def _md5_of(chunks: Mapping[bytes, bytes], source: str) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for name in _SIGNIFICANT:
        chunk = chunks.get(name)
        if chunk is not None:
            digest.update(_without_old_uniq(chunk, source) if name == b"FunT" else chunk)
    return digest.hexdigest()


def parse_beam(content: bytes, *, source: str) -> Beam:
    """The beam that the bytes are.

    Raises:
        CorruptBeam: They are none, or not a whole one.
    """
    return Beam(source, _chunks(_plain(content, source), source))


def _plain(content: bytes, source: str) -> bytes:
    """The bytes of the form itself, its header checked."""
    if content.startswith(_GZIP):
        content = _inflated(content, source)
    if len(content) > MAX_BYTES:
        raise _corrupt(source, f"it is larger than {MAX_BYTES} bytes")
    if len(content) < 12 or not content.startswith(b"FOR1") or content[8:12] != b"BEAM":
        raise _corrupt(source, "it does not begin as a beam does")
    end = 8 + _COUNT(content, 4)[0]
    if end > len(content):
        raise _corrupt(source, f"it ends after {len(content)} of {end} bytes")
    return content if end == len(content) else content[:end]


def _chunks(content: bytes, source: str) -> dict[bytes, bytes]:
    chunks: dict[bytes, bytes] = {}
    at, end = 12, len(content)
    while at < end:
        if at + 8 > end:
            raise _corrupt(source, f"a chunk header is cut off at byte {at}")
        name, size = _HEADER(content, at)
        at += 8
        if at + size > end:
            raise _corrupt(source, f"the chunk {name.decode('latin-1')} is cut off")
        chunks.setdefault(name, content[at : at + size])
        at += (size + 3) & ~3
    if not (b"Code" in chunks and (b"AtU8" in chunks or b"Atom" in chunks)):
        raise _corrupt(source, "it has no code or no atoms")
    return chunks


def _inflated(content: bytes, source: str) -> bytes:
    """The gzip member's contents, never more than a beam may have."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(content, MAX_BYTES + 1)
    except zlib.error:
        raise _corrupt(source, "its gzip stream is damaged") from None
    if not inflater.eof and len(plain) <= MAX_BYTES:
        raise _corrupt(source, "its gzip stream ends in the middle")
    return plain


def _without_old_uniq(chunk: bytes, source: str) -> bytes:
    """FunT with the last word of each entry zeroed, as beam_lib does before it takes the md5."""
    if len(chunk) < 4 or (len(chunk) - 4) % _FUN_ENTRY_BYTES:
        raise _corrupt(source, "the chunk FunT has not the size it announces")
    kept = bytearray(chunk)
    zero = b"\0\0\0\0"
    for at in range(4 + _FUN_ENTRY_BYTES, len(chunk) + 1, _FUN_ENTRY_BYTES):
        kept[at - 4 : at] = zero
    return bytes(kept)


def _atom_table(chunk: bytes, is_utf8: bool, source: str) -> tuple[str, ...]:
    """Atoms with a one-byte length; from OTP 28 on a negative count tells that lengths are tagged integers."""
    if len(chunk) < 4:
        raise _corrupt(source, "the atom table is cut off")
    count = int.from_bytes(chunk[:4], signed=True)
    encoding = "utf-8" if is_utf8 else "latin-1"
    try:
        atoms = _long_atoms(chunk, -count) if count < 0 else _short_atoms(chunk, count)
        return tuple([atom.decode(encoding) for atom in atoms])
    except (IndexError, UnicodeDecodeError):
        raise _corrupt(source, "the atom table is damaged") from None


def _short_atoms(chunk: bytes, count: int) -> list[bytes]:
    """Atoms behind one byte of length."""
    atoms, at = [], 4
    for _ in range(count):
        end = at + 1 + chunk[at]
        atoms.append(chunk[at + 1 : end])
        at = end
    if at > len(chunk):
        raise IndexError
    return atoms


def _long_atoms(chunk: bytes, count: int) -> list[bytes]:
    """Atoms behind a tagged length."""
    atoms, at = [], 4
    for _ in range(count):
        size, at = _tagged_size(chunk, at)
        atoms.append(chunk[at : at + size])
        at += size
    if at > len(chunk):
        raise IndexError
    return atoms


def _tagged_size(chunk: bytes, at: int) -> tuple[int, int]:
    """A compact term of tag u (four bits, or eleven in two bytes) and the place after it."""
    first = chunk[at]
    if not first & 0x08:
        return first >> 4, at + 1
    if not first & 0x10:
        return (first >> 5) << 8 | chunk[at + 1], at + 2
    raise IndexError


def _corrupt(source: str, problem: str) -> CorruptBeam:
    return CorruptBeam(f"{source} is no whole beam: {problem}", next=_BUILD_AGAIN)


def scanned(files: Mapping[str, Path]) -> tuple[dict[str, str], frozenset[str]]:
    """The module md5 of each file, by the same names, and which of them have the callbacks of a process.

    0.1 ms a file, and threads only make it slower.

    Raises:
        CorruptBeam: One of them is no whole beam.
    """
    md5s: dict[str, str] = {}
    processes = []
    has_callbacks = re.compile(_PROCESS_ATOMS).search
    for name, file in files.items():
        source = str(file)
        chunks = _chunks_in(source)
        md5s[name] = _md5_of(chunks, source)
        if has_callbacks(chunks.get(b"AtU8") or chunks[b"Atom"]):
            processes.append(name)
    return md5s, frozenset(processes)


def file_md5s(files: Mapping[str, Path]) -> dict[str, str]:
    """The module md5 of each file, by the same names.

    Raises:
        CorruptBeam: One of them is no whole beam.
    """
    return {name: module_md5(file) for name, file in files.items()}
