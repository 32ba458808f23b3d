"""Two release trees of thousands of beams for the bench of the plan: real beams of the machine's OTP, renamed.

A beam becomes another module by writing another first atom into its atom table; it becomes another version of the
module by one more atom behind the last. Debug information stays, so that there is as much to read as in a release.
"""

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

from fixtures.otp import installed

MODULES_PER_APP = 25
CHANGED_EVERY = 25
"""One module in so many differs between the two trees: a patch release of EMQX changes about a hundred."""


def make_trees(folder: Path, *, modules: int) -> tuple[Path, Path, Path]:
    """Old tree, new tree and a hop that loads every module that differs.

    Args:
        modules: In each tree.
    """
    old, new, hop = folder / "old", folder / "new", folder / "hop.relup"
    changed = []
    applications = (modules + MODULES_PER_APP - 1) // MODULES_PER_APP
    beams = _real_beams()
    for number in range(modules):
        name = f"bench_{number:05}"
        ebin = Path("lib", f"app{number // MODULES_PER_APP:03}-1.0.0", "ebin")
        for tree in (old, new):
            (tree / ebin).mkdir(parents=True, exist_ok=True)
        chunks = next(beams)
        (old / ebin / f"{name}.beam").write_bytes(_beam(chunks, name))
        if number % CHANGED_EVERY == 0:
            changed.append(name)
            (new / ebin / f"{name}.beam").write_bytes(_beam(chunks, name, more_atoms=("another",)))
        else:
            shutil.copy(old / ebin / f"{name}.beam", new / ebin)
    for tree, version in ((old, "5.10.4"), (new, "5.10.5")):
        _write_release(tree, version, [f"app{number:03}" for number in range(applications)])
    loads = ",\n".join(f"{{load_module, {name}}}" for name in changed)
    hop.write_text(
        f'#{{from_version => "5.10.4", target_version => "5.10.5",\ncode_changes => [\n{loads}],\n'
        "post_upgrade_callbacks => []}.\n"
    )
    return old, new, hop


def _real_beams() -> Iterator[list[tuple[bytes, bytes]]]:
    """The chunks of OTP's beams, over and over."""
    files = sorted(installed().root.glob("lib/*/ebin/*.beam"))
    while True:
        for file in files:
            yield _chunks(file.read_bytes())


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 12
    while at < len(content):
        name, size = struct.unpack_from(">4sI", content, at)
        found.append((name, content[at + 8 : at + 8 + size]))
        at += 8 + (size + 3) // 4 * 4
    return found


def _beam(chunks: list[tuple[bytes, bytes]], module: str, *, more_atoms: tuple[str, ...] = ()) -> bytes:
    body = b"BEAM"
    for name, chunk in chunks:
        kept = _renamed(chunk, module, more_atoms) if name == b"AtU8" else chunk
        body += name + struct.pack(">I", len(kept)) + kept + b"\0" * (-len(kept) % 4)
    return b"FOR1" + struct.pack(">I", len(body)) + body


def _renamed(table: bytes, module: str, more_atoms: tuple[str, ...]) -> bytes:
    (count,) = struct.unpack_from(">I", table)
    rest = table[5 + table[4] :]
    added = b"".join(bytes([len(atom)]) + atom.encode() for atom in more_atoms)
    first = bytes([len(module)]) + module.encode()
    return struct.pack(">I", count + len(more_atoms)) + first + rest + added


def _write_release(tree: Path, version: str, applications: list[str]) -> None:
    own = tree / "releases" / version
    own.mkdir(parents=True)
    (tree / "erts-13.1.5" / "bin").mkdir(parents=True)
    (tree / "releases" / "emqx_vars").write_text(f'REL_VSN="{version}"\nIS_ENTERPRISE="yes"\n')
    (own / "BUILD_INFO").write_text('arch: "x86_64"\nwordsize: "64"\nos: "debian12"\nerlang: "25.2.3"\n')
    listed = ",\n".join(f'{{{name}, "1.0.0"}}' for name in applications)
    (own / "emqx.rel").write_text(f'{{release, {{"emqx", "{version}"}}, {{erts, "13.1.5"}}, [{listed}]}}.\n')
    for name in applications:
        ebin = tree / "lib" / f"{name}-1.0.0" / "ebin"
        modules = ", ".join(sorted(beam.stem for beam in ebin.glob("*.beam")))
        (ebin / f"{name}.app").write_text(
            f'{{application, {name}, [{{vsn, "1.0.0"}}, {{modules, [{modules}]}}, {{env, []}},\n'
            "  {applications, [kernel, stdlib]}]}.\n"
        )
