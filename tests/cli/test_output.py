"""Words out: what is said where, and that nothing foreign can steer a terminal."""

import io
import json
import os
import pty
from pathlib import Path

import pytest

from cli.output import NodeVersions, Output, is_plain, printable
from engine.errors import BadRequest
from journal.errors import JournalDamaged

VERSIONS = NodeVersions(base="5.10.4", live="5.10.5", next_boot="5.10.5")


def captured(*, as_json: bool = False) -> tuple[Output, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Output(json=as_json, out=out, err=err, environ={}), out, err


def refusal() -> BadRequest:
    error = BadRequest(
        "the sidecar is missing", next="copy it beside the tarball", name="missing_sha256_sidecar"
    )
    error.runs_now = "5.10.4, untouched"
    return error


def test_an_error_has_three_parts_on_stderr_and_stdout_stays_clean() -> None:
    """What happened, what runs now, what to do next; a pipe that reads stdout gets none of it."""
    output, out, err = captured()
    output.fail(refusal())
    assert out.getvalue() == ""
    assert err.getvalue().splitlines() == [
        "error: the sidecar is missing (missing_sha256_sidecar)",
        "  runs now: 5.10.4, untouched",
        "  next: copy it beside the tarball",
    ]


def test_what_runs_now_is_left_out_where_nobody_knows() -> None:
    """An unknown is not printed as None."""
    output, _, err = captured()
    output.fail(BadRequest("no such command", next="see --help"))
    assert "runs now" not in err.getvalue()
    assert "None" not in err.getvalue()


def test_a_json_answer_is_one_object_with_the_schema_and_the_three_versions() -> None:
    """A script finds `schema_version` and `node` {base, live, next_boot} in every answer."""
    output, out, _ = captured(as_json=True)
    output.line("for people")
    output.answer({"status": "idle", "root": Path("/opt/emqx")}, node=VERSIONS)
    assert json.loads(out.getvalue()) == {
        "schema_version": 1,
        "node": {"base": "5.10.4", "live": "5.10.5", "next_boot": "5.10.5"},
        "status": "idle",
        "root": "/opt/emqx",
    }
    assert out.getvalue().count("\n") == 1


def test_a_failure_in_json_is_one_object_with_its_error() -> None:
    """The error's name and its three parts are fields; people still read them on stderr."""
    output, out, err = captured(as_json=True)
    output.fail(refusal(), node=VERSIONS, fields={"upgrade_id": "u1"})
    answer = json.loads(out.getvalue())
    assert answer["error"] == {
        "name": "missing_sha256_sidecar",
        "happened": "the sidecar is missing",
        "runs_now": "5.10.4, untouched",
        "next": "copy it beside the tarball",
    }
    assert answer["upgrade_id"] == "u1"
    assert answer["node"]["live"] == "5.10.5"
    assert "the sidecar is missing" in err.getvalue()


def test_an_error_of_the_journal_is_told_like_any_other() -> None:
    """The journal's errors have the same three parts, though they know nothing of the engine's."""
    output, out, _ = captured(as_json=True)
    output.fail(JournalDamaged("record 7 does not continue the chain", next="see relup journal verify"))
    answer = json.loads(out.getvalue())
    assert answer["error"]["name"] == "journal_damaged"
    assert answer["node"] is None


def test_records_are_json_lines_each_with_the_schema() -> None:
    """`logs --json` and `--follow` can be read line by line."""
    output, out, _ = captured(as_json=True)
    output.record({"seq": 1})
    output.record({"seq": 2})
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"schema_version": 1, "seq": 1},
        {"schema_version": 1, "seq": 2},
    ]


def test_a_name_from_a_foreign_package_cannot_steer_the_terminal() -> None:
    """Escape sequences, carriage returns and file-name bytes that are no text come out as text."""
    assert printable("a\x1b[2Jb\rc\x9bd\u2028e") == "a\\x1b[2Jb\\rc\\x9bd\\u2028e"
    assert printable("tab\tand\nnewline") == "tab\tand\nnewline"
    assert printable(os.fsdecode(b"lib/\xff.beam")) == "lib/\\udcff.beam"
    output, out, err = captured()
    output.line("\x1b]0;owned\x07")
    output.fail(BadRequest("\x1b[31mred", next="\x1b[0m"))
    assert "\x1b" not in out.getvalue() + err.getvalue()


def test_a_file_name_that_is_no_text_does_not_break_the_json() -> None:
    """The object stays valid JSON whatever the name of the tarball is."""
    output, out, _ = captured(as_json=True)
    output.answer({"tarball": os.fsdecode(b"/tmp/\xff.tar.gz"), "control": "\x1b\x9b"}, node=None)
    answer = json.loads(out.getvalue())
    assert answer["control"] == "\x1b\x9b"
    assert os.fsencode(answer["tarball"]) == b"/tmp/\xff.tar.gz"
    assert "\x9b" not in out.getvalue()


def test_colours_are_for_terminals_without_no_color() -> None:
    """A pipe, a dumb terminal and NO_COLOR each get plain text; a terminal gets a marked heading."""
    main, side = pty.openpty()
    with open(side, "w") as terminal, open(main, "rb", buffering=0) as screen:  # noqa: PTH123 - descriptors
        assert is_plain(terminal, {"NO_COLOR": "1"})
        assert is_plain(terminal, {"TERM": "dumb"})
        assert not is_plain(terminal, {"TERM": "xterm"})
        Output(err=terminal, environ={"TERM": "xterm"}).fail(refusal())
        terminal.flush()
        assert b"\x1b[1;31merror:\x1b[0m" in screen.read(4096)
    assert is_plain(io.StringIO(), {"TERM": "xterm"})


def test_answers_follow_a_redirected_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """Where stdout goes is looked up when it is used."""
    Output().line("idle")
    assert capsys.readouterr().out == "idle\n"
