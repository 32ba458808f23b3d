"""What `relup plan` prints last is pasted into a shell, and does what was planned."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from cli.context import Context
from cli.output import Output
from cli.plan import search_for_funs, upgrade_words
from engine.node.door import HeldFun, HeldFuns
from engine.options import Options
from engine.prospect import Prospect
from engine.release.findings import Judgement
from fixtures.build import Built
from fixtures.node import RunningNode
from fixtures.package import write_sidecar
from journal.events import PlanResolved
from tests.engine.scene import FRONT_DOOR, Scene
from tests.engine.witness import assert_runs

REMEMBERS = '_ = persistent_term:put(scripts_run, ["{name}" | persistent_term:get(scripts_run, [])]),\n'
RAN = "persistent_term:get(scripts_run, [])"


@dataclass
class Desk:
    """A folder with an awkward name beside the node: a package, a cookie, a catalog of two hops that are scripts."""

    node: RunningNode
    folder: Path
    tarball: str

    def said(self, *words: str) -> str:
        """What `relup --catalog "the hops" …` prints, started in the folder with paths that are relative to it."""
        command = [sys.executable, str(FRONT_DOOR), "--root", f"../{self.node.root.name}"]
        given = ["--cookie-file", "the cookie", "--catalog", "the hops"]
        return self._run([*command, *given, *words], self.folder)

    def paste(self, line: str) -> str:
        """What the line does in a shell that finds relup and is in another folder."""
        shell = 'relup() { "$0" "$1" "${@:3}"; }; eval "$2"'
        pasted = shell.replace('"$0" "$1" "${@:3}"', f'"{sys.executable}" "{FRONT_DOOR}" "$@"')
        return self._run(["bash", "-c", pasted, "bash", "", line], Path("/"))

    def _run(self, command: list[str], folder: Path) -> str:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            env=self.node.environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def desk(releases: Built, tmp_path: Path) -> Iterator[Desk]:
    """A running 5.10.4."""
    folder = tmp_path / "it's $HOME"
    (folder / "the hops").mkdir(parents=True)
    for file in releases.catalog.glob("*.relup"):
        text = REMEMBERS.format(name=file.stem) + file.read_text()
        (folder / "the hops" / file.name).write_text(text)
    tarball = folder / releases.tarball("5.10.5").name
    shutil.copy(releases.tarball("5.10.5"), tarball)
    write_sidecar(tarball)
    with RunningNode.install(releases.tree("5.10.4"), tmp_path / "node") as node:
        (folder / "the cookie").write_text(node.cookie)
        yield Desk(node.start(), folder, tarball.name)


def test_the_last_line_of_a_plan_can_be_pasted_and_upgrades_by_it(desk: Desk, releases: Built) -> None:
    """In any folder, with the global options and those of the plan. Only the script of this hop was ever run."""
    last = desk.said("plan", desk.tarball, "--trust-script").splitlines()[-1]
    words = json.loads(desk.said("--json", "plan", desk.tarball, "--trust-script"))["upgrade_words"]
    assert desk.node.eval(RAN) == '["5.10.4-to-5.10.5","5.10.4-to-5.10.5"]'

    _, _, line = last.partition(": ")
    assert words[1:7:2] == ["--root", "--cookie-file", "--catalog"]
    assert all(Path(word).is_absolute() for word in (*words[2:8:2], words[-1]))
    assert shlex.split(line) == words
    assert desk.paste(line).startswith("upgrade complete\n")
    assert set(desk.node.eval(RAN)[1:-1].split(",")) == {'"5.10.4-to-5.10.5"'}
    assert_runs(desk.node, "5.10.5", built=releases, connections=0)
    events = [entry.event for entry in Scene(node=desk.node).entries()]
    (planned,) = [event for event in events if isinstance(event, PlanResolved)]
    assert planned.plan_id == words[words.index("--plan") + 1]


def context(**given: Path | str) -> Context:
    """Global options; those that are not given are None."""
    fields = dict.fromkeys(("root", "node", "cookie_file", "catalog", "journal")) | given
    return Context(**fields, output=Output(), verbose=False, tool_version="test")  # type: ignore[arg-type]


def test_every_option_that_led_to_the_plan_is_repeated() -> None:
    """And none that was not given."""
    assert upgrade_words(context(), Path("/a.tar.gz"), plan_id="p", options=Options()) == [
        *("relup", "upgrade", "--plan", "p", "/a.tar.gz")
    ]
    given = context(root=Path("/r"), node="n@h", cookie_file=Path("/c"), catalog=Path("/k"))
    options = Options(
        force=True, strict=True, waivers=("a:b c", "d:e"), blocker_timeout_ms=1500, max_lost=3, plan_id="old"
    )
    assert upgrade_words(given, Path("/-a.tar.gz"), plan_id="p", options=options) == [
        *("relup", "--root", "/r", "--node", "n@h", "--cookie-file", "/c", "--catalog", "/k"),
        *("upgrade", "--plan", "p", "--force", "--blocker-timeout", "1.5", "--max-lost", "3", "--strict"),
        *("--allow", "a:b c", "--allow", "d:e", "/-a.tar.gz"),
    ]


def test_every_option_that_is_repeated_is_one_that_upgrade_has() -> None:
    """Each field of the options, changed from its default, is understood by the command line."""
    others = {bool: True, int: 7, tuple: ("code:subject",), type(None): None}
    fields = {field.name: others[type(field.default)] for field in msgspec.structs.fields(Options)}
    changed = Options.from_record(fields)
    words = upgrade_words(context(), Path("a"), plan_id="p", options=changed)
    known = subprocess.run(
        [sys.executable, str(FRONT_DOOR), "upgrade", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200", "TERM": "dumb"},
    ).stdout
    flags = [word for word in words if word.startswith("--")]
    assert len(flags) == len(msgspec.structs.fields(Options))
    assert [flag for flag in flags if f" {flag} " not in known] == []


@pytest.mark.parametrize("late", [False, True])
def test_a_search_for_funs_whose_time_ran_out_says_so(late: bool) -> None:
    """Nothing found in time is not the same as nothing there."""
    held = HeldFun(module="m", where="ETS table t", is_old=True, count=3)
    prospect = Prospect(
        checks=(),
        judgement=Judgement(),
        blockers=(),
        held_funs=HeldFuns(found=(held,), time_ran_out=late),
        processes={},
        disk_bytes=0,
    )
    line = search_for_funs(prospect)
    assert "3 found, by a search of a sample that is never complete" in line
    assert ("its time ran out" in line) == late
