"""Compiles the agent outside the node, for nodes that run without OTP's compiler.

A child process of ours runs the `erl` of a tree that has the compiler on disk: the node's own tree (an
embedded node carries applications that it has not loaded), else the machine's. Nothing here talks to a node.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.errors import UnfitNode

TIMEOUT_S = 120
_COMPILE = (
    "Options = [report, no_copt, no_ssa_opt, no_bsm_opt, no_postopt], "
    'Results = [compile:file(File, Options) || File <- filelib:wildcard("*.erl")], '
    "halt(case [R || R <- Results, element(1, R) =/= ok] of [] -> 0; _ -> 1 end)."
)


class NoCompiler(UnfitNode):
    """Neither the node nor this machine can compile the agent."""

    name = "no_compiler"


def compile_outside(modules: Mapping[str, tuple[str, ...]], *, tree: Path) -> dict[str, bytes]:
    """The beams of `modules` (forms by module name).

    Args:
        tree: The tree that the node runs; its OTP fits the node for certain.

    Raises:
        NoCompiler: No runtime with a compiler was found.
    """
    with tempfile.TemporaryDirectory(prefix="relup-agent-") as name:
        folder = Path(name)
        for module, forms in modules.items():
            (folder / f"{module}.erl").write_text("\n\n".join(forms) + "\n", encoding="utf-8")
        for command, places in _runtimes(tree):
            ended = subprocess.run(
                [*command, "-noshell", "-noinput", "-eval", _COMPILE],
                cwd=folder,
                env={**os.environ, **places},
                capture_output=True,
                check=False,
                timeout=TIMEOUT_S,
                stdin=subprocess.DEVNULL,
            )
            if ended.returncode == 0:
                return {module: (folder / f"{module}.beam").read_bytes() for module in modules}
    raise NoCompiler(
        f"The node runs without OTP's compiler, and neither {tree} nor this machine has one on disk.",
        next="Install Erlang/OTP of the node's version beside it, then try again.",
    )


def _runtimes(tree: Path) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Commands that start a VM with the compiler on its path, the best fitting first."""
    boots = [
        boot.with_suffix("")
        for pattern in ("bin/*.boot", "releases/*/*.boot")
        for boot in sorted(tree.glob(pattern))
        if boot.stem in ("no_dot_erlang", "start_clean")
    ]
    compiler = sorted(tree.glob("lib/compiler-*/ebin/compile.beam"))
    for erl in sorted(tree.glob("erts-*/bin/erl")):
        if boots and compiler:
            ebins = [str(ebin) for ebin in sorted(tree.glob("lib/*/ebin"))]
            places = {"ROOTDIR": str(tree), "BINDIR": str(erl.parent), "EMU": "beam", "PROGNAME": "erl"}
            yield [str(erl), "-boot", str(boots[0]), "-pa", *ebins], places
    if (machine := shutil.which("erl")) is not None:
        yield [machine], {}
