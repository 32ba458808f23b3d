"""A hop file examined by itself."""

from pathlib import Path

import pytest

from engine.release.hop import read_hop
from engine.release.lint import lint


def said(
    folder: Path, changes: str, *, end: str = "5.10.5", name: str = "5.10.4-to-5.10.5.relup"
) -> list[str]:
    """What lint says of a hop with these code changes."""
    file = folder / name
    file.write_text(f'#{{from_version => "5.10.4", target_version => "{end}", code_changes => [{changes}]}}.')
    return [f"{finding.severity} {finding.key}" for finding in lint(read_hop(file))]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ("{load_module, a}, {update, b, {advanced, []}}, {apply, a, f, []}", []),
        ("", ["warning hop_is_empty:5.10.4-to-5.10.5.relup"]),
        ("{load_module, a}, {update, a, {advanced, []}}", ["note module_named_twice:a"]),
        ("{restart_application, a}, {restart_application, a}", ["warning application_named_twice:a"]),
        ("{restart_application, kernel}", ["note never_restarted:kernel"]),
        (
            "{apply, a, f, []}, {load_module, a}, {load_module, b}, {apply, a, g, []}",
            ["warning apply_before_code_changes:a:f"],
        ),
    ],
)
def test_each_fault_of_a_hop_file_is_found(tmp_path: Path, changes: str, expected: list[str]) -> None:
    """Each once, and nothing where nothing is wrong."""
    assert said(tmp_path, changes) == expected


@pytest.mark.parametrize("end", ["5.11.0", "5.10.4", "5.10.3"])
def test_a_hop_that_is_no_patch_hop_is_an_error(tmp_path: Path, end: str) -> None:
    """The upgrade would refuse it anyway; whoever writes it learns it earlier."""
    name = f"5.10.4-to-{end}.relup"
    assert said(tmp_path, "{load_module, a}", end=end, name=name) == [f"error hop_not_a_patch:5.10.4->{end}"]


def test_an_unusual_file_name_is_only_a_note(tmp_path: Path) -> None:
    """Contents count, names do not."""
    assert said(tmp_path, "{load_module, a}", name="x.relup") == ["note hop_file_name:x.relup"]
