"""The published corpus against the real unpacking."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine.errors import RelupError
from engine.release.errors import InvalidSidecar
from engine.release.limits import Limits
from engine.release.package import open_package
from engine.release.vars import read_emqx_vars
from fixtures.hostile.case import Case
from fixtures.hostile.corpus import BY_NAME, CASES
from tests.engine.release.packages import STAGING, snapshot
from tests.in_memory import folder_in_memory

_ROOT_ONLY_SEES_THROUGH = {"sidecar-unreadable"}


def _canaries(place: Path) -> None:
    """Files that a package could reach by climbing, by a link, or by name."""
    for name in ("relup-hostile", "x", "bin/emqx", "lib/x", "releases/emqx_vars", "etc/emqx.conf", "relup/x"):
        canary = place / name
        canary.parent.mkdir(parents=True, exist_ok=True)
        canary.write_text(f"canary at {name}")


def _refusal(case: Case, tarball: Path, staging: Path) -> RelupError:
    with pytest.raises(RelupError) as refused:  # noqa: PT012 - any of the three may be the one that refuses
        with open_package(tarball) as package:
            package.verify()
            package.unpack(staging, limits=Limits(**case.limits), low_priority=False)
        read_emqx_vars(staging / "releases" / "emqx_vars")
    return refused.value


@pytest.fixture
def street() -> Iterator[Path]:
    """Where everything lies; two hundred thousand files wait for no disk there."""
    with folder_in_memory() as folder:
        yield folder


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name not in _ROOT_ONLY_SEES_THROUGH], ids=lambda case: case.name
)
def test_a_hostile_case_is_refused_with_its_own_error_and_leaves_nothing(case: Case, street: Path) -> None:
    """Every case of the corpus gives its error name; beside, above and in RootDir not a byte is another."""
    tarball = case.write(street / "upgrade")
    root = street / "above" / "root"
    for place in (street / "above", root):
        _canaries(place)
    before = snapshot(street)
    refused = _refusal(case, tarball, root / STAGING)
    assert refused.name == case.error, refused
    if isinstance(refused, InvalidSidecar):
        assert refused.reason == case.reason
    assert refused.happened
    assert refused.next
    if case.kind != "emqx_vars":
        assert snapshot(street) == before


def test_a_sidecar_without_permission_is_refused_for_a_user_who_is_not_root(tmp_path: Path) -> None:
    """EACCES on the sidecar gives cannot_read_sha256_sidecar."""
    case = BY_NAME["sidecar-unreadable"]
    tarball = case.write(tmp_path / "upgrade")
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from engine.errors import RelupError\n"
        "from engine.release.package import open_package\n"
        "os.chdir(Path(sys.argv[2]).parent)\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "try: open_package(Path(Path(sys.argv[2]).name))\n"
        "except RelupError as refused: print(refused.name)\n"
    )
    repository = Path(__file__).resolve().parents[3]
    found = subprocess.run(
        [sys.executable, "-c", script, str(repository), str(tarball)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert found.stdout.strip() == case.error


def test_the_corpus_has_at_least_sixty_cases_each_named_once() -> None:
    """The published size of the corpus, and names that are safe as folders."""
    assert len(CASES) >= 60
    assert len(BY_NAME) == len(CASES)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in BY_NAME)


def test_the_corpus_can_be_written_for_other_projects(tmp_path: Path) -> None:
    """`python -m fixtures.hostile` writes each case and an index that names its error."""
    out = tmp_path / "corpus"
    repository = Path(__file__).resolve().parents[3]
    subprocess.run(
        [sys.executable, "-m", "fixtures.hostile", "--out", str(out)],
        cwd=repository,
        capture_output=True,
        check=True,
        timeout=120,
    )
    index = msgspec.json.decode((out / "index.json").read_bytes())
    assert [case["name"] for case in index["cases"]] == [case.name for case in CASES]
    assert {case["name"] for case in index["cases"]} == {path.name for path in out.iterdir()} - {"index.json"}
    assert all(case["error"] == BY_NAME[case["name"]].error for case in index["cases"])
