"""The boot rehearsal: does the staged tree start on this machine, and does its config check pass?

It runs the tree's own programs in child processes that end before anything is changed: shared libraries,
a noexec mount or a config the target refuses are found now and not at the restart. No node is started and
none is talked to.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.errors import BadRelease
from engine.release.folders import Folders

DEADLINE_S = 120
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
_SHOWN_LINES = 5
_START_AND_END = (
    "case application:ensure_all_started(crypto) of "
    '{ok, _} -> halt(0); {error, Reason} -> io:format(standard_error, "~0p~n", [Reason]), halt(1) end.'
)


class BootRehearsalFailed(BadRelease):
    """The staged runtime does not start here."""

    name = "boot_rehearsal_failed"


class CheckConfigFailed(BadRelease):
    """The target's own check_config refuses the node's configuration."""

    name = "check_config_failed"


def rehearse(tree: Path, *, version: str, erts_version: str, root: Path, folders: Folders) -> None:
    """Start and end the tree's VM with crypto, then run its `check_config` where it has one.

    Args:
        tree: The staged tree.
        version: Its release version.
        erts_version: The version in the name of its erts folder.
        root: RootDir.
        folders: Where its etc, which is checked, lies, and its data and log.

    Raises:
        BootRehearsalFailed, CheckConfigFailed: With the last lines the program printed.
    """
    _start_vm(tree, version, erts_version)
    wrapper = tree / "bin" / "emqx"
    if _has_check_config(wrapper):
        _check_config(wrapper, root, folders)


def _start_vm(tree: Path, version: str, erts_version: str) -> None:
    binaries = tree / f"erts-{erts_version}" / "bin"
    ebins = [str(ebin) for ebin in sorted(tree.glob("lib/*/ebin"))]
    command = [
        *(str(binaries / "erl"), "-noshell", "-noinput"),
        *("-boot", str(_boot_file(tree, version)), "-pa", *ebins, "-eval", _START_AND_END),
    ]
    places = {"ROOTDIR": str(tree), "BINDIR": str(binaries), "EMU": "beam", "PROGNAME": "erl"}
    ended = _run(command, places, BootRehearsalFailed, "the target's Erlang VM does not start")
    if ended:
        raise BootRehearsalFailed(
            f"the target's Erlang VM does not start on this machine: {ended}",
            next="Get the package that is made for this operating system; nothing was changed.",
        )


def _boot_file(tree: Path, version: str) -> Path:
    """The smallest boot file the release carries, without its suffix."""
    for name in ("no_dot_erlang", "start_clean"):
        for folder in (tree / "releases" / version, tree / "bin"):
            if (folder / f"{name}.boot").is_file():
                return folder / name
    raise BootRehearsalFailed(
        f"the target has neither no_dot_erlang.boot nor start_clean.boot in releases/{version} or bin",
        next="Fetch the package again from the publisher; nothing was changed.",
    )


def _has_check_config(wrapper: Path) -> bool:
    try:
        return b"check_config" in wrapper.read_bytes()
    except FileNotFoundError:
        return False


def _check_config(wrapper: Path, root: Path, folders: Folders) -> None:
    """In the surroundings that the wrapper of the base root makes for it at the next start."""
    places = {**_settings(os.environ), "BASE_RUNNER_ROOT_DIR": str(root), **folders.exported()}
    said = _run(
        [str(wrapper), "check_config"], places, CheckConfigFailed, "the target's check_config does not run"
    )
    if said:
        raise CheckConfigFailed(
            f"the target refuses the node's configuration: {said}",
            next=f"Correct the configuration in {folders.etc} for the target release; nothing was changed.",
        )


def _settings(environ: Mapping[str, str]) -> dict[str, str]:
    """EMQX's settings by environment count for its config check too."""
    return {name: value for name, value in environ.items() if name.startswith("EMQX_")}


def _run(command: list[str], places: Mapping[str, str], refusal: type[BadRelease], what: str) -> str:
    """What the program said when it failed; the empty text when it ended well."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    try:
        ended = subprocess.run(
            command,
            env={**environment, **places},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise refusal(f"{what}: it did not end within {DEADLINE_S} s", next="Nothing was changed.") from None
    except OSError as fault:
        raise refusal(
            f"{what}: {fault.strerror} ({command[0]})",
            next="Look whether the filesystem of RootDir is mounted noexec; nothing was changed.",
        ) from fault
    if ended.returncode == 0:
        return ""
    said = list(_last_lines(ended.stderr + b"\n" + ended.stdout))
    return " / ".join(said) or f"exit code {ended.returncode}"


def _last_lines(output: bytes) -> Iterator[str]:
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    yield from lines[-_SHOWN_LINES:]
