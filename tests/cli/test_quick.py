"""A plain `status` is recognised without typer, and reads its words exactly as typer does."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

import cli.status
from cli.app import app_for
from cli.context import Context
from cli.output import Output
from cli.quick import context_of_status
from fixtures.build import Built
from tests.engine.scene import FRONT_DOOR

WORDS = st.sampled_from(
    (
        *("--root", "--node", "--cookie-file", "--catalog", "--journal"),
        *("--root=/a", "--node=emqx@127.0.0.1", "--catalog=", "--journal=b=c"),
        *("--json", "--verbose", "-v", "--json=yes", "-vv"),
        *("status", "upgrade", "/opt/emqx", "a b", "", "-", "--", "--help", "--no-such"),
    )
)
SWITCHES = st.sampled_from((("--json",), ("-v",), ("--verbose",)))
VALUES = st.tuples(
    st.sampled_from(("--root", "--node", "--cookie-file", "--catalog", "--journal")),
    st.sampled_from(("/opt/emqx", "a b", "emqx@127.0.0.1", "status", "=")),
)
PLAIN = st.lists(SWITCHES | VALUES | VALUES.map("=".join).map(lambda word: (word,))).map(
    lambda groups: [word for group in groups for word in group]
)


@given(
    words=(PLAIN | st.lists(WORDS, max_size=5)).map(lambda words: [*words, "status"]),
    root=st.sampled_from(("", "/env", "rel")),
)
@example(words=["upgrade"], root="")
@example(words=["--root", "/a", "--root", "/b", "status"], root="/env")
@example(words=["--json", "-v", "status"], root="/env")
@example(words=["status"], root="")
@example(words=["--node", "status"], root="")
def test_what_is_recognised_means_what_typer_says(words: list[str], root: str) -> None:
    """Every option, given or from the environment; what typer refuses is never recognised."""
    quick = context_of_status(words, {"RELUP_ROOT": root})
    if quick is not None:
        assert comparable(quick) == comparable(read_by_typer(words, root))


@pytest.mark.parametrize(
    "words",
    [["status"], ["--json", "status"], ["--root", "/a", "status"], ["--root=/a", "-v", "status"]],
    ids=" ".join,
)
def test_the_plain_forms_are_recognised(words: list[str]) -> None:
    """Those that operators and their monitoring use all day."""
    assert context_of_status(words) is not None


def test_a_plain_status_imports_no_command_line_library(releases: Built) -> None:
    """Its quarter of a second would be gone with the import."""
    code = (
        "import sys, relup; sys.argv = ['relup', '--root', sys.argv[1], 'status']\n"
        "try: relup.main()\n"
        "finally: print('typer' in sys.modules, 'click' in sys.modules, 'rich' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(releases.tree("5.10.4"))],
        cwd=FRONT_DOOR.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[0] == "idle"
    assert ran.stdout.splitlines()[-1] == "False False False"


def read_by_typer(words: list[str], root: str) -> Context:
    """The context that typer hands to `status` for these words."""
    seen: list[Context] = []

    def command(context: typer.Context) -> None:
        seen.append(context.obj)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cli.status, "command", command)
        result = CliRunner().invoke(app_for(words), words, env={"RELUP_ROOT": root})
    assert seen, result.output
    return seen[0]


def comparable(context: Context) -> tuple[Any, bool]:
    """Its fields; an Output compares by identity, so it stands aside."""
    output = Output()
    return replace(context, output=output).__dict__ | {"output": None}, context.output.json
