"""Golden journals replay for ever: the first format's bytes give the answers that they gave when written."""

import shutil
from pathlib import Path

import msgspec
import pytest

from fixtures.journals.write import NAMES, answers
from journal.opening import create_or_open
from journal.portable import open_export
from journal.reader import read
from journal.verify import verify
from tests.journal.stories import Ticking, success, told, write

GOLDEN = Path(__file__).resolve().parents[2] / "fixtures" / "journals" / "format-1"


def known(name: str) -> object:
    return msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_of_the_first_format_gives_the_same_answers(name: str, tmp_path: Path) -> None:
    """Entries, head, status, logs, steps and modules."""
    folder = Path(shutil.copytree(GOLDEN / name, tmp_path / name))
    assert answers(read(folder)) == known(name)
    assert verify(folder).damage is None


@pytest.mark.parametrize("name", NAMES)
def test_the_portable_file_of_the_first_format_gives_the_same_answers(name: str) -> None:
    """The same, without LMDB."""
    assert answers(open_export(GOLDEN / f"{name}.relup-journal")) == known(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_journal_of_the_first_format_can_be_continued(name: str, tmp_path: Path) -> None:
    """An update of relup goes on where the older one ended."""
    folder = Path(shutil.copytree(GOLDEN / name, tmp_path / name))
    folder.chmod(0o700)
    with create_or_open(folder, clock=Ticking(), node="emqx@127.0.0.1", root="/opt/emqx") as store:
        write(store, told(success))
    assert verify(folder).damage is None
