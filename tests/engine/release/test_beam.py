"""Beams: their module md5 against OTP's own, what they import and export, damaged ones."""

import gzip
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.release.beam import module_md5, parse_beam, read_beam, scanned
from engine.release.errors import CorruptBeam
from engine.release.forms import read_forms
from fixtures.otp import installed

ASK_OTP = """
Lib = hd(init:get_plain_arguments()) ++ "/lib",
Files = filelib:wildcard("{kernel,stdlib,compiler,crypto,asn1,ssl}-*/ebin/*.beam", Lib),
Hex = fun(Md5) -> [io_lib:format("~2.16.0b", [B]) || <<B>> <= Md5] end,
OnLoad = fun(File) ->
    {beam_file, _, _, _, _, Code} = beam_disasm:file(File),
    lists:any(fun({function, _, _, _, Is}) -> lists:member(on_load, Is) end, Code) end,
[begin
    {ok, {M, Md5}} = beam_lib:md5(File),
    {ok, {M, [{exports, Exports}, {imports, Imports}]}} = beam_lib:chunks(File, [exports, imports]),
    io:format("~ts ~s ~s ~w ~w ~w~n", [File, M, Hex(Md5), length(Exports), length(Imports), OnLoad(File)])
 end || Name <- Files, File <- [filename:join(Lib, Name)]],
halt(0, [{flush, true}]).
"""


def test_otp_own_word_on_hundreds_of_beams_is_ours() -> None:
    """Module md5, module name, exports, imports and on_load as beam_lib and beam_disasm say."""
    command = ["erl", "-noshell", "-eval", ASK_OTP, "-extra", str(installed().root)]
    lines = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120
    ).stdout.splitlines()
    assert len(lines) > 200
    with_on_load = 0
    for line in lines:
        file, module, md5, exports, imports, on_load = line.split(" ")
        beam = read_beam(Path(file))
        said = (beam.module, beam.md5, len(beam.exports), len(beam.imports), str(beam.has_on_load).lower())
        assert said == (module, md5, int(exports), int(imports), on_load), file
        assert module_md5(Path(file)) == md5
        assert beam.imported_modules == {call[0] for call in beam.imports}
        with_on_load += on_load == "true"
    assert with_on_load >= 2


@pytest.fixture(scope="module")
def lists_beam() -> Path:
    (file,) = installed().root.glob("lib/stdlib-*/ebin/lists.beam")
    return file


def test_a_compressed_beam_has_the_md5_of_the_plain_one(lists_beam: Path, tmp_path: Path) -> None:
    """The compiler's option `compressed` writes gzip."""
    file = tmp_path / "lists.beam"
    file.write_bytes(gzip.compress(lists_beam.read_bytes()))
    assert module_md5(file) == module_md5(lists_beam)


def test_what_is_no_code_does_not_change_the_md5(lists_beam: Path) -> None:
    """Debug information, line numbers and compile times differ between builds of the same source."""
    beam = read_beam(lists_beam)
    kept = {
        name: chunk for name, chunk in beam.chunks.items() if name not in (b"Dbgi", b"CInf", b"Line", b"Docs")
    }
    assert len(kept) < len(beam.chunks)
    assert parse_beam(assembled(kept), source="lists").md5 == beam.md5


def assembled(chunks: dict[bytes, bytes]) -> bytes:
    """A beam of these chunks."""
    body = b"BEAM" + b"".join(
        name + struct.pack(">I", len(chunk)) + chunk + b"\0" * (-len(chunk) % 4)
        for name, chunk in chunks.items()
    )
    return b"FOR1" + struct.pack(">I", len(body)) + body


def test_each_significant_chunk_counts(lists_beam: Path) -> None:
    """A changed byte in any of them is another module; the old uniq of a fun is none."""
    beam = read_beam(lists_beam)
    for name in (b"AtU8", b"Code", b"ImpT", b"ExpT", b"LitT", b"FunT"):
        changed = bytes([beam.chunks[name][0] ^ 1]) + beam.chunks[name][1:]
        assert parse_beam(assembled({**beam.chunks, name: changed}), source="x").md5 != beam.md5
    funs = beam.chunks[b"FunT"]
    assert parse_beam(assembled({**beam.chunks, b"FunT": funs[:-1] + b"\xff"}), source="x").md5 == beam.md5


@pytest.mark.parametrize("keep", [0, 1, 4, 11, 12, 15, 100, -1, -100])
def test_a_truncated_beam_is_refused(lists_beam: Path, keep: int) -> None:
    """Also when the cut falls between two chunks."""
    content = lists_beam.read_bytes()
    with pytest.raises(CorruptBeam):
        parse_beam(content[:keep], source="cut")
    with pytest.raises(CorruptBeam):
        parse_beam(gzip.compress(content)[:keep], source="cut")


@pytest.mark.parametrize("missing", [b"Code", b"AtU8"])
def test_a_beam_without_code_or_atoms_is_refused(lists_beam: Path, missing: bytes) -> None:
    """It could not be loaded."""
    chunks = {name: chunk for name, chunk in read_beam(lists_beam).chunks.items() if name != missing}
    with pytest.raises(CorruptBeam):
        parse_beam(assembled(chunks), source="x")


def test_a_table_that_names_atoms_beyond_the_last_is_refused(lists_beam: Path) -> None:
    """Damage inside a chunk is seen when the table is read."""
    chunks = dict(read_beam(lists_beam).chunks)
    chunks[b"ExpT"] = struct.pack(">IIII", 1, 60_000, 0, 0)
    with pytest.raises(CorruptBeam, match="names atom 60000"):
        _ = parse_beam(assembled(chunks), source="x").exports
    chunks[b"ExpT"] = struct.pack(">IIII", 2, 1, 0, 0)
    with pytest.raises(CorruptBeam, match="not the size"):
        _ = parse_beam(assembled(chunks), source="x").exports
    chunks[b"AtU8"] = chunks[b"AtU8"][:20]
    with pytest.raises(CorruptBeam, match="atom table"):
        _ = parse_beam(assembled(chunks), source="x").atoms


def test_atoms_with_tagged_lengths_are_read(lists_beam: Path) -> None:
    """From OTP 28 on a negative count tells that lengths are compact terms."""
    chunks = dict(read_beam(lists_beam).chunks)
    long = "a" * 200
    chunks[b"AtU8"] = struct.pack(">i", -2) + b"\x50lists" + bytes([0x08, 200]) + long.encode()
    assert parse_beam(assembled(chunks), source="x").atoms == ("lists", long)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """With the file's name."""
    with pytest.raises(CorruptBeam, match="gone"):
        module_md5(tmp_path / "gone.beam")


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_bytes_are_a_beam_or_refused(lists_beam: Path, data: st.DataObject) -> None:
    """Garbage in a real beam ends in our error, never in another exception."""
    content = bytearray(lists_beam.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    md5 = None
    try:
        beam = parse_beam(bytes(content), source="x")
        md5 = beam.md5
        _ = beam.exports, beam.imports, beam.module, beam.has_on_load
        forms = read_forms(beam)
        if forms is not None:
            _ = forms.records, forms.functions, forms.types
    except CorruptBeam:
        return
    assert md5 is not None


def test_modules_with_the_callbacks_of_a_process_are_told(lists_beam: Path) -> None:
    """Those are the ones a plan asks the node about."""
    files = {file.stem: file for file in lists_beam.parent.glob("*.beam")}
    _, processes = scanned({name: files[name] for name in ("lists", "maps", "supervisor", "timer")})
    assert processes == {"supervisor", "timer"}
