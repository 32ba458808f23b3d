"""Where etc, data and log of an installation lie, as its emqx_vars says."""

from pathlib import Path

import pytest

from engine.release.folders import Folders, folders_of


def found(root: Path, variables: str | None, **environment: str) -> Folders:
    if variables is not None:
        (root / "releases").mkdir()
        (root / "releases" / "emqx_vars").write_text(variables)
    return folders_of(root, environment=environment)


@pytest.mark.parametrize(
    ("assigned", "environment", "log"),
    [
        ('RUNNER_LOG_DIR="/var/log/emqx"', {"RUNNER_LOG_DIR": "/mine"}, "/var/log/emqx"),
        ("RUNNER_LOG_DIR=/var/log/emqx # a package's", {}, "/var/log/emqx"),
        ('RUNNER_LOG_DIR="${RUNNER_LOG_DIR:-/var/log/emqx}"', {}, "/var/log/emqx"),
        ('RUNNER_LOG_DIR="${RUNNER_LOG_DIR:-/var/log/emqx}"', {"RUNNER_LOG_DIR": "/mine"}, "/mine"),
        ('RUNNER_LOG_DIR="$BASE_RUNNER_ROOT_DIR/log"', {"RUNNER_LOG_DIR": "/mine"}, "log"),
        ('RUNNER_LOG_DIR="${RUNNER_LOG_DIR:-${BASE_RUNNER_ROOT_DIR:-$RUNNER_ROOT_DIR}/log}"', {}, "log"),
        ('RUNNER_LOG_DIR=""', {}, "log"),
        ("", {"RUNNER_LOG_DIR": "/mine"}, "log"),
        (None, {}, "log"),
    ],
)
def test_a_folder_is_where_the_shell_would_put_it(
    tmp_path: Path, assigned: str | None, environment: dict[str, str], log: str
) -> None:
    """A literal stands, a default gives way to the environment, and what expands is RootDir's own."""
    assert found(tmp_path, assigned, **environment).log == tmp_path / log


def test_each_folder_has_its_own_variable(tmp_path: Path) -> None:
    """Those that bin/emqx reads, and hands on to a deployed tree."""
    variables = 'EMQX_ETC_DIR="/etc/emqx"\nRUNNER_DATA_DIR="/var/lib/emqx"\nRUNNER_LOG_DIR="/var/log/emqx"\n'
    folders = found(tmp_path, variables)
    assert folders == Folders(etc=Path("/etc/emqx"), data=Path("/var/lib/emqx"), log=Path("/var/log/emqx"))
    assert folders.exported() == {
        "EMQX_ETC_DIR": "/etc/emqx",
        "RUNNER_DATA_DIR": "/var/lib/emqx",
        "RUNNER_LOG_DIR": "/var/log/emqx",
        "EMQX_LOG_DIR": "/var/log/emqx",
    }
