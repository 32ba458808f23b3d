"""`relup hop lint` as it is typed."""

import subprocess
import sys
from pathlib import Path

from fixtures.build import Built
from tests.engine.scene import FRONT_DOOR


def test_what_the_hop_and_its_releases_both_show_is_told_once(releases: Built, tmp_path: Path) -> None:
    """The file alone shows a module that is named twice, and so does the file between its releases."""
    name = "5.10.4-to-5.10.5.relup"
    text = (releases.reversible_catalog / name).read_text()
    line = "{load_module, emqx_topic},"
    assert text.count(line) == 1
    (tmp_path / name).write_text(text.replace(line, line * 2))
    trees = ["--from", str(releases.tree("5.10.4")), "--to", str(releases.tree("5.10.5"))]
    command = [sys.executable, str(FRONT_DOOR), "hop", "lint", str(tmp_path / name), *trees]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.count("module_named_twice:emqx_topic") == 1
